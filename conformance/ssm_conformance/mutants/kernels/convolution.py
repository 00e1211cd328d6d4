"""The honest long convolution, lag by lag and by transforms, and the HiPPO-LegS matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel


class Convolution(Kernel):
    """y_t = Σ_j K_j u_{t−j}, with du_t = Σ_j K_j r_{t+j} and dK_j = Σ_b Σ_t r_t u_{t−j}."""

    op: ClassVar[str] = "causal_convolution"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "gradients": "all",
        "features": ("mixed_dtypes",),
        "deterministic": True,
    }

    def lags(self, l: int, k: int) -> range:
        """The lags of which something is seen."""
        return range(min(l, k))

    def convolve(self, u: Array, K: Array) -> Array:
        """y, (b, d, l)."""
        y, l = np.zeros_like(u), u.shape[-1]
        for j in self.lags(l, K.shape[-1]):
            y[..., j:] += K[:, j, None] * u[..., : l - j]
        return y

    def correlate(self, r: Array, u: Array, lags: int) -> Array:
        """dK, (d, k)."""
        l = u.shape[-1]
        dK = np.zeros((u.shape[1], lags), u.dtype)
        for j in self.lags(l, lags):
            dK[:, j] = self.over_rows(r[..., j:] * u[..., : l - j])
        return dK

    def over_rows(self, terms: Array) -> Array:
        """Σ over batch and time, (d)."""
        return np.asarray(terms.sum((0, 2)))

    def __call__(self, *, u: Any, K: Any) -> Any:
        """The operator."""
        compute = compute_dtype([dtype_name(u), dtype_name(K)])
        with np.errstate(all="ignore"):
            return self.store(self.convolve(self.load(u, compute), self.load(K, compute)), dtype_name(u))

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, *, u: Any, K: Any
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``."""
        compute = compute_dtype([dtype_name(u), dtype_name(K)])
        with np.errstate(all="ignore"):
            x, kernel = self.load(u, compute), self.load(K, compute)
            r = self.cotangent(cotangents, "y", x, compute)
            du = self.convolve(r[..., ::-1], kernel)[..., ::-1]
            total = {"u": du, "K": self.correlate(r, x, kernel.shape[-1])}
        given = {"u": u, "K": K}
        return {name: self.store(total[name], dtype_name(given[name])) for name in wrt}


class Transformed(Convolution):
    """The same by real transforms of twice the length, so that nothing wraps around."""

    claims: ClassVar[Mapping[str, Any]] = {**Convolution.claims, "arithmetic": {"evaluation": "fft"}}

    def length(self, l: int, k: int) -> int:
        """Of the transforms: no lag of one end reaches the other."""
        return l + k

    def convolve(self, u: Array, K: Array) -> Array:
        """See :class:`Convolution`."""
        from scipy import fft

        size = self.length(u.shape[-1], K.shape[-1])
        product = fft.rfft(u, size) * fft.rfft(K, size)
        return np.asarray(fft.irfft(product, size)[..., : u.shape[-1]]) if u.size else u

    def correlate(self, r: Array, u: Array, lags: int) -> Array:
        """See :class:`Convolution`."""
        from scipy import fft

        size = self.length(u.shape[-1], lags)
        if not u.size:
            return np.zeros((u.shape[1], lags), u.dtype)
        product = (fft.rfft(r, size) * fft.rfft(u, size).conj()).sum(0)
        found = np.array(fft.irfft(product, size))[..., :lags]
        found[:, u.shape[-1] :] = 0
        return found


class Legs(Kernel):
    """A_ik = −√((2i+1)(2k+1)) for i > k, −(i+1) for i = k, 0 above; B_i = √(2i+1), correctly rounded."""

    op: ClassVar[str] = "hippo_legs"
    claims: ClassVar[Mapping[str, Any]] = {"dtypes": DTYPES, "deterministic": True}

    def odd(self, n: int) -> Array:
        """2i + 1."""
        return 2.0 * np.arange(n) + 1

    def below(self, odd: Array) -> Array:
        """√((2i+1)(2k+1)), (n, n): the products are integers, and each root is rounded once."""
        return np.asarray(np.sqrt(np.outer(odd, odd)))

    def diagonal(self, n: int) -> Array:
        """i + 1."""
        return np.arange(1.0, n + 1)

    def assemble(self, below: Array, diagonal: Array) -> Array:
        """A, with zeros above the diagonal."""
        return np.asarray(0.0 - np.tril(below, -1) - np.diag(diagonal))

    def __call__(self, *, n: int, dtype: str = "float64") -> tuple[Any, Any]:
        """The operator: (A, B)."""
        odd = self.odd(n)
        A = self.assemble(self.below(odd), self.diagonal(n))
        return self.store(A, dtype), self.store(np.sqrt(odd)[:, None], dtype)
