"""An honest kernel of S4 by its generating function, as S4 itself computes it; forward only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.modal import S4Kernel


class GeneratingFunction(S4Kernel):
    """K̂(ω) = Δ [k(C̃, B) − c k(C̃, P) k(Q̄, B) / (1 + c k(Q̄, P))] at the roots of unity, and a transform.

    k(x, y) = Σ_n x_n y_n / D_n, D_n = (1 − ω) − c λ_n, c = ½Δ(1 + ω), C̃ = C (I − Āˡ) (Gu, Goel and Ré 2021,
    S4, theorem 5 and algorithm 1). Its order is declared.
    """

    claims: ClassVar[Mapping[str, Any]] = {**S4Kernel.claims, "arithmetic": {"evaluation": "fft"}}

    def kernel(self, step: Array, p: Mapping[str, Array], length: int) -> Array:
        """See :class:`S4Kernel`."""
        if not length:
            return np.zeros((len(step), 0), p["C"].dtype)
        omega, half = self.roots(length).astype(p["C"].dtype), step[:, None] / 2
        c = half * (1 + omega)
        over = 1 / ((1 - omega)[:, None] - c[..., None] * p["Lambda"][:, None])
        C, B, P, Q = self.truncated(step, p, length), p["B"], p["P"], self.right(p["Q"])
        CB, CP, QB, QP = (np.einsum("dn,dln->dl", x * y, over) for x, y in ((C, B), (C, P), (Q, B), (Q, P)))
        found = np.fft.ifft(self.scaled(step, CB - self.correction(c, CP, QB, QP)), axis=-1)
        return np.asarray(found.astype(C.dtype))

    def roots(self, length: int) -> Array:
        """ω, as the transform has them."""
        return np.asarray(np.exp(-2j * np.pi / length * np.arange(length)))

    def right(self, Q: Array) -> Array:
        """Q̄."""
        return np.asarray(Q.conj())

    def truncated(self, step: Array, p: Mapping[str, Array], length: int) -> Array:
        """C̃, what the first l terms alone leave of C."""
        A_bar, _ = self.discrete(step, p)
        return np.asarray(p["C"] - (p["C"][:, None] @ np.linalg.matrix_power(A_bar, length))[:, 0])

    def correction(self, c: Array, CP: Array, QB: Array, QP: Array) -> Array:
        """Woodbury's, of the low rank."""
        return np.asarray(c * CP * QB / (1 + c * QP))

    def scaled(self, step: Array, found: Array) -> Array:
        """Δ times the sums."""
        return step[:, None] * found
