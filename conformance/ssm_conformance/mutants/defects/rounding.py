"""Mutants whose formats are narrower than they say."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, Bfloat16, rounded
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.mutant import Mutant


class _StateInBfloat16(Honest):
    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        decayed, after = super().advance(p, t, h)
        return decayed, rounded(after, "bfloat16")


class _ModesInBfloat16(Honest):
    def matrix(self, A: Array) -> Array:
        return rounded(A, "bfloat16")


class _StepInBfloat16(Honest):
    def step_size(self, x: Array, softplus: bool) -> Array:
        return rounded(super().step_size(x, softplus), "bfloat16")


class _StateInFloat16(Honest):
    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        decayed, after = super().advance(p, t, h)
        return decayed, rounded(after, "float16")


class _GateInBfloat16(Honest):
    def gate(self, p: Problem, v: Array) -> Array:
        return v if p.z is None else v * rounded(p.z * self.sigmoid(p.z), "bfloat16")


class _FeedthroughInBfloat16(Honest):
    def feed(self, p: Problem, v: Array) -> Array:
        return v if p.D is None else v + rounded(p.D, "bfloat16")[:, None] * p.u


class _OutputInBfloat16(Honest):
    def step_size(self, x: Array, softplus: bool) -> Array:
        return rounded(super().step_size(x, softplus), "bfloat16")

    def contract(self, C: Array, h: Array) -> Array:
        total = np.zeros(np.broadcast_shapes(C.shape, h.shape)[:-1], h.real.dtype)
        for term in np.moveaxis(rounded((C * h).real, "bfloat16"), -1, 0):
            total = rounded(total + term, "bfloat16")
        return total


class _OutputTruncated(Honest):
    def store(self, x: Array, dtype: str) -> Any:
        if dtype != "bfloat16":
            return super().store(x, dtype)
        return Bfloat16((x.real.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))


class _ProductsInTf32(Honest):
    def contract(self, C: Array, h: Array) -> Array:
        return super().contract(rounded(C, "tf32"), rounded(h, "tf32"))


ROUNDING: Final = (
    Mutant(
        "state-in-bfloat16",
        22,
        "The state is kept in bfloat16 from step to step.",
        "value/typical",
        _StateInBfloat16(),
    ),
    Mutant(
        "modes-in-bfloat16",
        21,
        "A is rounded to bfloat16.",
        "extreme/decay-strong-and-weak",
        _ModesInBfloat16(),
    ),
    Mutant(
        "step-in-bfloat16", 12, "Δ is rounded to bfloat16 after softplus.", "value/typical", _StepInBfloat16()
    ),
    Mutant(
        "state-in-float16",
        22,
        "The state is kept in float16 from step to step.",
        "value/typical",
        _StateInFloat16(),
    ),
    Mutant("gate-in-bfloat16", 12, "silu(z) is rounded to bfloat16.", "value/gate-only", _GateInBfloat16()),
    Mutant(
        "feedthrough-in-bfloat16",
        12,
        "D is rounded to bfloat16.",
        "value/feedthrough-only",
        _FeedthroughInBfloat16(),
    ),
    Mutant(
        "output-in-bfloat16",
        12,
        "For 16-bit inputs softplus and the sum over states are done in the input's dtype.",
        "value/typical",
        _OutputInBfloat16(),
        only=("bfloat16",),
    ),
    Mutant(
        "output-truncated",
        None,
        "bfloat16 results are truncated, not rounded to nearest.",
        "value/typical",
        _OutputTruncated(),
        only=("bfloat16",),
    ),
    Mutant(
        "products-in-tf32",
        6,
        "The products of C and h are taken in tf32.",
        "value/typical",
        _ProductsInTf32(),
    ),
)
"""Wrong formats."""
