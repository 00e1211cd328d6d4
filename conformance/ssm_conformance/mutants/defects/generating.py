"""Mutants of S4's kernel by its generating function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.generating import GeneratingFunction
from ssm_conformance.mutants.mutant import Mutant


class _NotTruncated(GeneratingFunction):
    def truncated(self, step: Array, p: Mapping[str, Array], length: int) -> Array:
        return p["C"]


class _OneStepShort(GeneratingFunction):
    def truncated(self, step: Array, p: Mapping[str, Array], length: int) -> Array:
        return super().truncated(step, p, length - 1)


class _CorrectionAdded(GeneratingFunction):
    def correction(self, c: Array, CP: Array, QB: Array, QP: Array) -> Array:
        return -super().correction(c, CP, QB, QP)


class _CorrectionUnscaled(GeneratingFunction):
    def correction(self, c: Array, CP: Array, QB: Array, QP: Array) -> Array:
        return np.asarray(c * CP * QB / (1 + QP))


class _RightVectorsAsGiven(GeneratingFunction):
    def right(self, Q: Array) -> Array:
        return Q


class _SumsOf48(GeneratingFunction):
    def right(self, Q: Array) -> Array:
        return np.asarray(super().right(Q) * (np.arange(Q.shape[-1]) < 48))


class _RootsConjugated(GeneratingFunction):
    def roots(self, length: int) -> Array:
        return super().roots(length).conj()


class _StepLost(GeneratingFunction):
    def scaled(self, step: Array, found: Array) -> Array:
        return found


class _StepHalved(GeneratingFunction):
    def scaled(self, step: Array, found: Array) -> Array:
        return super().scaled(step / 2, found)


GENERATING: Final = (
    Mutant("s4-function-not-truncated", None, "C stands for C(I − Āˡ).", "value/typical", _NotTruncated()),
    Mutant("s4-function-one-step-short", None, "C̃ has Āˡ⁻¹ for Āˡ.", "value/typical", _OneStepShort()),
    Mutant(
        "s4-function-correction-added", None, "Woodbury's correction is added.", "value/typical",
        _CorrectionAdded(),
    ),
    Mutant(
        "s4-function-correction-unscaled", None, "Its divisor is 1 + k(Q̄, P), without ½Δ(1 + ω).",
        "value/typical", _CorrectionUnscaled(),
    ),
    Mutant(
        "s4-function-not-conjugated", None, "Q is not conjugated.", "value/typical", _RightVectorsAsGiven()
    ),
    Mutant(
        "s4-function-sums-of-48", 7, "Of 64 states the correction sums 48.", "value/layer-pairs", _SumsOf48(),
        only=("float32",),
    ),
    Mutant(
        "s4-function-roots-conjugated", None, "The roots are those of the other transform.", "value/typical",
        _RootsConjugated(),
    ),
    Mutant("s4-function-step-lost", None, "The sums are not multiplied by Δ.", "value/typical", _StepLost()),
    Mutant("s4-function-step-halved", None, "The sums are multiplied by ½Δ.", "value/typical", _StepHalved()),
)  # fmt: skip
"""Defects of the generating function."""
