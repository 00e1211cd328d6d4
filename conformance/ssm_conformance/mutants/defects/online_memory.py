"""Mutants of the online memory of HiPPO-LegS."""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.online_memory import Compress
from ssm_conformance.mutants.mutant import Mutant


class _TimeLags(Compress):
    def step(self, k: Array, method: str) -> Array:
        return super().step(k + 1, method)


class _FirstByInput(Compress):
    def first(self, f: Array, n: int) -> Array:
        return np.asarray(np.sqrt(2 * np.arange(n) + 1).astype(f.dtype) * f[..., :1])


class _InputInBfloat16(Compress):
    """Of more than 16 coefficients, B̄ is kept in bfloat16."""

    def discrete(self, n: int, step: Array, method: str) -> tuple[Array, Array]:
        A_bar, B_bar = super().discrete(n, step, method)
        return A_bar, rounded(B_bar, "bfloat16") if n > 16 else B_bar


class _OtherRule(Compress):
    def discrete(self, n: int, step: Array, method: str) -> tuple[Array, Array]:
        return super().discrete(n, step, "exact")


ONLINE: Final = (
    Mutant("compress-lags", None, "Step k takes the time of step k + 1.", "value/typical", _TimeLags()),
    Mutant("compress-first-by-input", None, "c₁ is f₁ B, not f₁ e₀.", "value/typical", _FirstByInput()),
    Mutant(
        "compress-other-rule", None, "Zero-order hold where Tustin's rule is asked for.", "value/bilinear",
        _OtherRule(),
    ),
    Mutant(
        "compress-input-in-bfloat16", None, "Of more than 16 coefficients, B̄ is kept in bfloat16.",
        "value/rising-of-one-sign", _InputInBfloat16(), only=("float32",),
    ),
)  # fmt: skip
"""Defects of the online memory."""
