"""Mutants that are right for the numbers that are usual: modes alike, none that grows, no zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.layers import H3
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel, S4Kernel
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.systems import Recurrence
from ssm_conformance.mutants.mutant import Mutant


class _RealOutputAlone(Honest):
    """A real C beside complex modes is taken for that of real ones."""

    def output(self, p: Problem, t: int, h: Array) -> Array:
        found = super().output(p, t, h)
        return found / 2 if p.gamma == 2 and not np.iscomplexobj(p.C) else found


class _QuotientOfInput(Honest):
    """dB is what b̄ u passes on, divided by B's share of it."""

    def slope_input(self, p: Problem, t: int, adjoint: Array) -> Array:
        u = p.u[:, :, t, None]
        return super().slope_input(p, t, adjoint) * u / u


class _QuotientOfGate(Honest):
    """The output before the gate is recovered from the one after it."""

    def saved(self, p: Problem, v: Array) -> Array:
        gate = 1 if p.z is None else p.z * self.sigmoid(p.z)
        return v * gate / gate


class _ModesOfFirstChannel(Honest):
    """Complex modes are those of the first channel: as S4D-Lin sets them, they are all alike."""

    def matrix(self, A: Array) -> Array:
        return np.repeat(A[:1], len(A), axis=0) if np.iscomplexobj(A) else A


class _OneRateOfDecay(Honest):
    """Complex modes decay at the rate of the first state."""

    def matrix(self, A: Array) -> Array:
        return (A.real[:, :1] + 1j * A.imag).astype(A.dtype) if np.iscomplexobj(A) else A


class _OfFirst:
    """Complex modes of a layer are those of its first channel or head."""

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> Any:
        A = p["A"]
        first = np.repeat(A[:1], len(A), axis=0) if np.iscomplexobj(A) else A
        return super().modes({**p, "A": first}, delta, rule)  # type: ignore[misc]  # of the layer beside it


class _LayerOfFirst(_OfFirst, S4d):
    pass


class _KernelOfFirst(_OfFirst, S4dKernel):
    pass


class _HeadsOfFirst(_OfFirst, H3):
    pass


class _LambdaOfFirst(S4Kernel):
    def __call__(self, *, length: int, paired: bool = False, **inputs: Any) -> Any:
        Lambda = inputs["Lambda"]
        inputs["Lambda"] = np.repeat(Lambda[:1], len(Lambda), axis=0)
        return super().__call__(length=length, paired=paired, **inputs)


class _SystemsOfFirstRow(Recurrence):
    """Systems in two dimensions are read as if there were one: each row of them is the first."""

    def decay(self, A_bar: Array, columns: Array, diagonal: bool) -> Array:
        return super().decay(A_bar[:1] if A_bar.ndim == 4 else A_bar, columns, diagonal)


class _GrowthClamped(Honest):
    def matrix(self, A: Array) -> Array:
        return A if np.iscomplexobj(A) else np.minimum(A, 0)


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


CUSTOMS: Final = (
    _mutant(
        "real-output-of-complex-modes", None, "Beside complex modes a real C loses the factor 2.",
        "value/complex-real-C", _RealOutputAlone(),
    ),
    _mutant(
        "quotient-of-input", 13, "The gradient of B is divided by u: NaN where that is zero.",
        "extreme/gradient-zeros", _QuotientOfInput(),
    ),
    _mutant(
        "quotient-of-gate", 13, "The gradient of z divides the output by silu(z): NaN where that is zero.",
        "extreme/gradient-zeros", _QuotientOfGate(),
    ),
    _mutant(
        "complex-modes-of-first-channel", None, "Complex modes are those of the first channel.",
        "value/complex-modes", _ModesOfFirstChannel(),
    ),
    _mutant(
        "complex-rate-of-first-state", None, "Complex modes decay at the rate of the first state.",
        "value/complex-modes", _OneRateOfDecay(),
    ),
    _mutant(
        "s4d-modes-of-first-channel", None, "Complex modes are those of the first channel.",
        "value/initial-complex", _LayerOfFirst(),
    ),
    _mutant(
        "s4d-kernel-modes-of-first-channel", None, "Complex modes are those of the first channel.",
        "value/real-BC", _KernelOfFirst(),
    ),
    _mutant(
        "h3-modes-of-first-head", None, "Complex modes are those of the first head.",
        "value/bilinear", _HeadsOfFirst(),
    ),
    _mutant(
        "s4-modes-of-first-channel", None, "Λ is that of the first channel.",
        "value/modes", _LambdaOfFirst(),
    ),
    _mutant(
        "recurrence-systems-of-first-row", None, "Of systems in two dimensions every row is the first.",
        "value/systems-in-two", _SystemsOfFirstRow(),
    ),
    _mutant(
        "growth-clamped", 3, "A is clamped to zero from above.", "extreme/growing", _GrowthClamped(),
    ),
)  # fmt: skip
"""Defects that usual numbers hide."""
