"""Mutants of what lies in memory: offsets, neighbours, what was there before; and of how much is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, Bfloat16
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


def _through(x: Any, view: Any) -> Any:
    """A view of an array, of the bits where these are what it has."""
    return Bfloat16(view(x.bits)) if isinstance(x, Bfloat16) else view(x)


def _from_start(x: Array) -> Array:
    """The memory behind an array, read as if the array were contiguous. The storage is never shorter."""
    dense = np.empty(x.shape, x.dtype)
    return np.lib.stride_tricks.as_strided(x, x.shape, dense.strides)


def _in_32_bits(x: Array) -> Array:
    """Elements that lie 2³¹ or more from the first are read as the first: where the wrapped address lies
    would end the process.
    """
    reach = sum(stride // x.itemsize * (size - 1) for stride, size in zip(x.strides, x.shape, strict=True))
    if not x.size or reach < 2**31:
        return x
    offsets = sum(
        np.arange(size).reshape(-1, *[1] * (x.ndim - 1 - i)) * (stride // x.itemsize)
        for i, (size, stride) in enumerate(zip(x.shape, x.strides, strict=True))
    )
    return np.where(np.asarray(offsets) < 2**31, x, x.flat[0])


def _beyond_rows(x: Array) -> Array:
    """Rows with the element after each, which is read and thrown away: times zero."""
    if x.ndim < 2 or x.dtype.kind != "f" or not x.size or x.strides[-1] != x.itemsize:
        return x
    longer = np.lib.stride_tricks.as_strided(x, (*x.shape[:-1], x.shape[-1] + 1), x.strides)
    return np.asarray(x + 0 * longer[..., -1:])


def _unsigned(x: Array) -> Array:
    """Strides without their sign, from the array's lowest address."""
    return np.flip(x, tuple(dim for dim, stride in enumerate(x.strides) if stride < 0))


def _written_over(x: Array, like: Array) -> Array:
    """An array written where another's strides say: along one of stride 0 the last element stays."""
    for dim, stride in enumerate(like.strides):
        if stride == 0 and like.shape[dim]:
            x = np.broadcast_to(np.take(x, [-1], axis=dim), x.shape)
    return np.array(x)


class _StridesUnsigned(Honest):
    def load(self, x: Any, compute: str) -> Array:
        return super().load(_through(x, _unsigned), compute)


class _GradientsByStrides(Honest):
    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any, **inputs: Any) -> dict[str, Any]:
        found = super().vjp(cotangents, wrt, saved, **inputs)
        return {name: _written_over(x, inputs[name]) for name, x in found.items()}


class _StridesAssumed(Honest):
    def load(self, x: Any, compute: str) -> Array:
        return super().load(_through(x, _from_start), compute)


class _StridesOfCotangentAssumed(Honest):
    def cotangent(self, cotangents: Any, name: str, like: Array, compute: str) -> Array:
        given = {key: None if x is None else _through(x, _from_start) for key, x in cotangents.items()}
        return super().cotangent(given, name, like, compute)


class _OffsetsIn32Bits(Honest):
    def load(self, x: Any, compute: str) -> Array:
        return super().load(_through(x, _in_32_bits), compute)


class _ReadsBeyondRows(Honest):
    def load(self, x: Any, compute: str) -> Array:
        return super().load(_through(x, _beyond_rows), compute)


class _SumsFromFreshMemory(Honest):
    def over_rows(self, terms: Array, name: str) -> Array:
        total = np.empty(terms.shape[1], terms.dtype)
        total += super().over_rows(terms, name)
        return total


class _StatesKept(Honest):
    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        yield from list(super().states(p, times, h))


class _StatesSaved(Honest):
    def forward(self, **inputs: Any) -> tuple[Any, Any]:
        p = self.prepare(**{name: x for name, x in inputs.items() if name != "return_last_state"})
        saved = [
            h for times, rows in p.spans() for _, _, h in self.states(p, times, self.begin(p, times, rows))
        ]
        return self(**inputs), saved


class _StepsIntoCopy(Step):
    def target(self, state: Array, inplace: bool) -> Array:
        return state.copy()


class _StepWritesInput(Step):
    def target(self, state: Array, inplace: bool) -> Array:
        return state


MEMORY: Final = (
    Mutant(
        "strides-assumed",
        31,
        "Every input is read as if it were contiguous.",
        "robustness/transposed-typical",
        _StridesAssumed(),
    ),
    Mutant(
        "strides-unsigned",
        None,
        "Strides are read without their sign.",
        "robustness/reversed-typical",
        _StridesUnsigned(),
    ),
    Mutant(
        "gradients-by-strides",
        31,
        "Gradients are written by the strides of their inputs, which may be 0.",
        "robustness/gradient-broadcast-inner-typical",
        _GradientsByStrides(),
        only=("float32",),
    ),
    Mutant(
        "strides-of-cotangent-assumed",
        31,
        "Cotangents are read as if they were contiguous.",
        "robustness/gradient-strided-groups",
        _StridesOfCotangentAssumed(),
    ),
    Mutant(
        "offsets-in-32-bits",
        29,
        "Offsets of elements are counted in 32 bits.",
        "robustness/far-u-small",
        _OffsetsIn32Bits(),
    ),
    Mutant(
        "reads-beyond-rows",
        None,
        "The element after each row is read, and multiplied by zero.",
        "robustness/guarded-typical",
        _ReadsBeyondRows(),
        only=("float64", "float32", "float16"),
    ),
    Mutant(
        "sums-from-fresh-memory",
        8,
        "The gradients of D and delta_bias are added to memory that was not cleared.",
        "robustness/poisoned-typical",
        _SumsFromFreshMemory(),
    ),
    Mutant(
        "states-kept-forward",
        35,
        "The forward pass is claimed fused and keeps every state.",
        "memory/forward-growth",
        _StatesKept(),
        only=("float32",),
    ),
    Mutant(
        "states-kept-backward",
        35,
        "The backward pass is claimed fused and keeps every state.",
        "memory/backward-growth",
        Honest(),
        only=("float32",),
        claims={"memory": "fused"},
    ),
    Mutant(
        "states-saved",
        35,
        "The backward pass is claimed fused, and the forward pass saves every state for it.",
        "memory/saved-growth",
        _StatesSaved(),
        only=("float32",),
        claims={"memory": "fused"},
    ),
    Mutant(
        "step-writes-state",
        None,
        "The state is updated in place where that is not asked for.",
        "robustness/inputs-unchanged-typical",
        _StepWritesInput(Honest()),
    ),
    Mutant(
        "step-into-copy",
        26,
        "Where the state is to be updated in place, a copy is.",
        "property/in-place-inplace",
        _StepsIntoCopy(Honest()),
    ),
)
"""Defects of memory."""
