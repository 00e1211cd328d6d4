"""Mutants that remember: what one call leaves behind reaches the next, or its results change afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


class _Buffers:
    """One array a shape, which every result of that shape is written to."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Any, ...], Array] = {}

    def __call__(self, name: str, x: Array) -> Array:
        buffer = self.kept.setdefault((name, x.shape, x.dtype.str), np.empty_like(x))
        buffer[...] = x
        return buffer


class _OutputInBuffer(Honest):
    def __init__(self) -> None:
        self.buffer = _Buffers()

    def __call__(self, *, return_last_state: bool = False, **inputs: Any) -> Any:
        y, last = super().__call__(return_last_state=True, **inputs)
        y = self.buffer("y", y)
        return (y, last) if return_last_state else y


class _GradientsInBuffers(Honest):
    def __init__(self) -> None:
        self.buffer = _Buffers()

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: Problem | None, **inputs: Any
    ) -> dict[str, Any]:
        found = super().vjp(cotangents, wrt, saved, **inputs)
        return {name: self.buffer(name, x) for name, x in found.items()}


class _StateInBuffer(Dual):
    def __init__(self) -> None:
        self.buffer = _Buffers()

    def __call__(self, *, return_final_states: bool = False, **given: Any) -> Any:
        y, final = super().__call__(return_final_states=True, **given)
        final = self.buffer("final", final)
        return (y, final) if return_final_states else y


class _ModesOfObject(Honest):
    """exp(A) and its like are made once for each array; it is kept, so that its id is never another's."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Any, Array]] = {}

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        A = inputs["A"]
        inputs["A"] = self.kept.setdefault(id(A), (A, np.array(A)))[1]
        return super().prepare(*args, **inputs)


class _OffsetsOfShape(Honest):
    def __init__(self) -> None:
        self.kept: dict[tuple[int, ...], Array] = {}

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        offsets = inputs.get("cu_seqlens")
        if offsets is not None:
            key = (len(offsets), *inputs["u"].shape)
            inputs["cu_seqlens"] = self.kept.setdefault(key, np.array(offsets))
        return super().prepare(*args, **inputs)


class _SlotsOfObject(Step):
    def __init__(self) -> None:
        super().__init__(Honest())
        self.plans: dict[int, tuple[Any, Array]] = {}

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None:
            held = (state_indices, state_indices.copy())
            state_indices = self.plans.setdefault(id(state_indices), held)[1]
        return super().rows_and_slots(state_indices, b)


class _KernelOfObject(Convolution):
    """The transform of a kernel is made once for each array."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Any, Array]] = {}

    def __call__(self, *, u: Any, K: Any) -> Any:
        return super().__call__(u=u, K=self.kept.setdefault(id(K), (K, np.array(K)))[1])


class _WritesSingleStep(Honest):
    """In decoding's path delta_bias is added in place."""

    def biased(self, delta: Any, bias: Array | None, compute: str) -> Array:
        if bias is None or delta.shape[2] != 1:
            return super().biased(delta, bias, compute)
        delta += bias[:, None]
        return super().biased(delta, None, compute)


def _mutant(name: str, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, None, summary, rejected_by, kernel, only=("float32",))


LASTING: Final = (
    _mutant(
        "output-in-buffer",
        "y is a buffer of the implementation, which the next call of that shape writes over.",
        "robustness/reused-typical",
        _OutputInBuffer(),
    ),
    _mutant(
        "gradients-in-buffers",
        "Gradients are buffers of the implementation, which the next call writes over.",
        "robustness/reused-typical",
        _GradientsInBuffers(),
    ),
    _mutant(
        "ssd-state-in-buffer",
        "The final states are a buffer of the implementation, which the next call writes over.",
        "robustness/reused-typical",
        _StateInBuffer(),
    ),
    _mutant(
        "modes-of-object",
        "What is made of A is kept for that array, whatever is written into it later.",
        "robustness/reused-typical",
        _ModesOfObject(),
    ),
    _mutant(
        "offsets-of-shape",
        "A plan for cu_seqlens is kept for as many sequences of the same total length.",
        "robustness/reused-offsets",
        _OffsetsOfShape(),
    ),
    _mutant(
        "slots-of-object",
        "What is made of state_indices is kept for that array, whatever is written into it later.",
        "robustness/reused-pool",
        _SlotsOfObject(),
    ),
    _mutant(
        "convolution-kernel-of-object",
        "What is made of K is kept for that array, whatever is written into it later.",
        "robustness/reused-typical",
        _KernelOfObject(),
    ),
    _mutant(
        "writes-delta-of-one-step",
        "Where l = 1, delta_bias is added to the caller's delta in place.",
        "robustness/single",
        _WritesSingleStep(),
    ),
)
"""Defects of what lasts."""
