"""The honest online memory of HiPPO-LegS, one sample after the other; forward only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Legs
from ssm_conformance.mutants.kernels.discretize import Bilinear, ZeroOrderHold
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel


class Compress(Kernel):
    """c₁ = f₁ e₀, c_k = Ā_k c_{k−1} + B̄_k f_k."""

    op: ClassVar[str] = "hippo_legs_compress"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "features": ("bilinear",),
        "deterministic": True,
    }

    def step(self, k: Array, method: str) -> Array:
        """Δ_k in the time log t."""
        return np.log1p(1 / (k - 1)) if method == "exact" else 1 / (k - 1)

    def discrete(self, n: int, step: Array, method: str) -> tuple[Array, Array]:
        """Ā_k and B̄_k of some steps, made in float64."""
        A, B = Legs()(n=n, dtype="float64")
        rule: Any = ZeroOrderHold() if method == "exact" else Bilinear()
        A_bar, B_bar = rule(A=A, B=B, delta=step)
        return np.asarray(A_bar), np.asarray(B_bar)[..., 0]

    def first(self, f: Array, n: int) -> Array:
        """c₁, (*s, n)."""
        c = np.zeros((*f.shape[:-1], n), f.dtype)
        c[..., 0] = f[..., 0]
        return c

    def __call__(self, *, f: Any, n: int, method: str = "exact", prefixes: bool = False) -> Any:
        """The operator."""
        x = self.load(f, compute_dtype([dtype_name(f)]))
        length = x.shape[-1]
        if length == 0:
            empty = np.zeros((*x.shape[:-1], n, 0)) if prefixes else np.zeros((*x.shape[:-1], n))
            return self.store(empty, dtype_name(f))
        c = self.first(x, n)
        found = [c]
        k = np.arange(2.0, length + 1)
        for t, (A, B) in enumerate(zip(*self.discrete(n, self.step(k, method), method), strict=True), 1):
            c = c @ A.T.astype(c.dtype) + x[..., t, None] * B.astype(c.dtype)
            found.append(c)
        with np.errstate(over="ignore"):
            return self.store(np.stack(found, axis=-1) if prefixes else c, dtype_name(f))
