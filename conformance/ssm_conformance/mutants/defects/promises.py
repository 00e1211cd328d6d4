"""Mutants whose numbers are right and who break a promise: memory, layout, repetition, edges, claims."""

from __future__ import annotations

from itertools import cycle
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest, Saving
from ssm_conformance.mutants.kernels.bits import Array, Bfloat16
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.mutant import Mutant


class _WritesDelta(Honest):
    def biased(self, delta: Any, bias: Array | None, compute: str) -> Array:
        if bias is None:
            return super().biased(delta, bias, compute)
        delta += bias[:, None]
        return super().biased(delta, None, compute)


class _WritesCotangent(Honest):
    def gate(self, p: Problem, v: Array) -> Array:
        if p.z is not None:
            v *= p.z * self.sigmoid(p.z)
        return v

    def cotangent(self, cotangents: Any, name: str, like: Array, compute: str) -> Array:
        given = cotangents.get(name)
        same = given is not None and str(given.dtype) == compute
        return np.asarray(given) if same else super().cotangent(cotangents, name, like, compute)


class _OutputOverInput(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        p.u[...] = super().finish(p, v)
        return p.u

    def load(self, x: Any, compute: str) -> Array:
        same = not isinstance(x, Bfloat16) and x.dtype == compute
        return np.asarray(x) if same else super().load(x, compute)


class _Alternating(Honest):
    def __init__(self) -> None:
        self.directions = cycle((False, True))
        self.reversed = False

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        self.reversed = next(self.directions)
        return super().prepare(*args, **inputs)

    def in_turn(self, terms: Array, axes: tuple[int, ...]) -> Array:
        return np.ascontiguousarray(np.flip(terms, axes)) if self.reversed else terms


class _OrderOfStatesVaries(_Alternating):
    def contract(self, C: Array, h: Array) -> Array:
        return np.asarray(self.in_turn((C * h).real, (-1,)).sum(-1))


class _OrderOfChannelsVaries(_Alternating):
    def add(self, terms: Array, axes: tuple[int, ...]) -> Array:
        return super().add(self.in_turn(terms, axes), axes)


class _SequencesUnclaimed(Honest):
    def resets(self, seq_idx: Array) -> Array:
        return np.zeros(seq_idx.shape, dtype=bool)


class _OneStepFails(Honest):
    def scan(self, p: Problem) -> tuple[Array, Array]:
        if p.u.shape[2] == 1:
            raise IndexError("index 1 is out of bounds for axis 2 with size 1")
        return super().scan(p)


class _NoStepFails(Honest):
    def scan(self, p: Problem) -> tuple[Array, Array]:
        if p.u.shape[2] == 0:
            raise ZeroDivisionError("integer division or modulo by zero")
        return super().scan(p)


class _WiderResults(Honest):
    def store(self, x: Array, dtype: str) -> Any:
        return super().store(x, {"float32": "float64", "bfloat16": "float32"}.get(dtype, dtype))


class _ForwardForgetsFeedthrough(Saving):
    def forward(self, **inputs: Any) -> tuple[Any, Problem]:
        _, saved = super().forward(**inputs)
        return self(**{name: value for name, value in inputs.items() if name != "D"}), saved


_FEATURES: Final = tuple(name for name in Honest.claims["features"] if name != "seq_idx")

PROMISES: Final = (
    Mutant(
        "writes-delta",
        None,
        "delta_bias is added to the caller's delta in place.",
        "robustness/inputs-unchanged-typical",
        _WritesDelta(),
        only=("float64", "float32"),
    ),
    Mutant(
        "writes-cotangent",
        None,
        "The backward pass multiplies the cotangent by the gate in place.",
        "robustness/inputs-unchanged-typical",
        _WritesCotangent(),
        only=("float64", "float32"),
    ),
    Mutant(
        "output-over-input",
        None,
        "y is written over u.",
        "robustness/inputs-unchanged-plain",
        _OutputOverInput(),
        only=("float64", "float32"),
    ),
    Mutant(
        "order-of-states-varies",
        30,
        "The sum over states is claimed deterministic; its order differs from call to call.",
        "determinism/forward-typical",
        _OrderOfStatesVaries(),
        only=("float64", "float32"),
    ),
    Mutant(
        "order-of-channels-varies",
        16,
        "The sum over channels in the gradients of B and C goes on in the order of arrival.",
        "determinism/backward-typical",
        _OrderOfChannelsVaries(),
        only=("float64", "float32"),
    ),
    Mutant(
        "unclaimed-ignored",
        36,
        "seq_idx is in the signature, is not claimed, and is silently ignored.",
        "error/unclaimed-seq_idx",
        _SequencesUnclaimed(),
        only=("float32",),
        claims={"features": _FEATURES},
    ),
    Mutant(
        "one-step-fails",
        23,
        "A length of one takes another path, and raises.",
        "robustness/single",
        _OneStepFails(),
    ),
    Mutant(
        "forward-forgets-feedthrough",
        None,
        "The outputs that come with what is saved for the backward pass lack D u; those of inference do not.",
        "gradient/typical",
        _ForwardForgetsFeedthrough(),
    ),
    Mutant("no-step-fails", 23, "A length of zero raises.", "robustness/empty", _NoStepFails()),
    Mutant(
        "wider-results",
        32,
        "Results come back in a wider dtype than the operator's.",
        "value/typical",
        _WiderResults(),
        only=("float32", "bfloat16"),
    ),
)
"""Broken promises."""
