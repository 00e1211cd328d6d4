"""HiPPO's matrices beside LegS: LegT, LagT and FouT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel

CLAIMS: Mapping[str, Any] = {"dtypes": DTYPES, "deterministic": True}


class Legt(Kernel):
    """A_ik = −√((2i+1)(2k+1))/θ · {1 for k ≤ i; (−1)^(i−k) for k > i}; B_i = √(2i+1)/θ."""

    op: ClassVar[str] = "hippo_legt"
    claims: ClassVar[Mapping[str, Any]] = CLAIMS

    def signs(self, n: int) -> Array:
        """Those of A, without the minus."""
        i = np.arange(n)
        ahead = i - i[:, None]
        return np.where((ahead > 0) & (ahead % 2 == 1), -1.0, 1.0)

    def window(self, theta: float) -> float:
        """θ."""
        return theta

    def __call__(self, *, n: int, theta: float = 1.0, dtype: str = "float64") -> tuple[Any, Any]:
        """The operator: (A, B)."""
        odd = 2.0 * np.arange(n) + 1
        A = -self.signs(n) * np.sqrt(np.outer(odd, odd)) / self.window(theta)
        return self.store(A, dtype), self.store(np.sqrt(odd)[:, None] / self.window(theta), dtype)


class Lagt(Kernel):
    """A_ik = −1 for i ≥ k, 0 for i < k; B_i = 1."""

    op: ClassVar[str] = "hippo_lagt"
    claims: ClassVar[Mapping[str, Any]] = CLAIMS

    def assemble(self, n: int) -> Array:
        """A."""
        return np.asarray(0.0 - np.tril(np.ones((n, n))))

    def __call__(self, *, n: int, dtype: str = "float64") -> tuple[Any, Any]:
        """The operator: (A, B)."""
        return self.store(self.assemble(n), dtype), self.store(np.ones((n, 1)), dtype)


class Fout(Kernel):
    """β = (1, 0, √2, 0, …): A = R − 2ββᵀ, R_{2k,2k+1} = −2πk = −R_{2k+1,2k}; B = 2β."""

    op: ClassVar[str] = "hippo_fout"
    claims: ClassVar[Mapping[str, Any]] = CLAIMS

    def turns(self, n: int) -> Array:
        """R."""
        R = np.zeros((n, n))
        even = np.arange(0, n, 2)
        R[even, even + 1], R[even + 1, even] = -np.pi * even, np.pi * even
        return R

    def __call__(self, *, n: int, dtype: str = "float64") -> tuple[Any, Any]:
        """The operator: (A, B)."""
        root = 2 * np.sqrt(2.0)
        cosine = np.arange(n) % 2 == 0
        first = np.arange(n) == 0
        B = np.where(first, 2.0, np.where(cosine, root, 0.0))
        weights = np.where(np.outer(cosine, cosine), 4.0, 0.0)  # 2 √2 √2, exactly
        weights[0], weights[:, 0] = B, B
        A = self.turns(n) - weights
        return self.store(A + 0.0, dtype), self.store(B[:, None], dtype)
