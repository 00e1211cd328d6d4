"""The scalar functions, accurate wherever they are finite, in the dtype that they are given."""

from __future__ import annotations

from math import factorial
from typing import Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array

PSI: Final = tuple(1 / (factorial(j) * (j + 2)) for j in range(20))
"""ψ(x) = Σ_j xʲ / (j! (j + 2)); for |x| < 1 what follows is below 2⁻⁶⁰."""


class Functions:
    """Mixed into every implementation that needs one of them."""

    def exp(self, x: Array) -> Array:
        """exp(x)."""
        return np.asarray(np.exp(x))

    def expm1(self, x: Array) -> Array:
        """exp(x) − 1 = expm1(x_r) cos x_i − 2 sin²(x_i/2) + i exp(x_r) sin x_i, without cancellation."""
        if not np.iscomplexobj(x):
            return np.asarray(np.expm1(x))
        real = np.expm1(x.real) * np.cos(x.imag) - 2 * np.sin(x.imag / 2) ** 2
        return np.asarray(real + 1j * (np.exp(x.real) * np.sin(x.imag)))

    def softplus(self, x: Array) -> Array:
        """log(1 + exp(x)) = max(x, 0) + log1p(exp(−|x|))."""
        return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))

    def sigmoid(self, x: Array) -> Array:
        """1/(1 + exp(−x)), from the exponential that cannot overflow."""
        small = np.exp(-np.abs(x))
        return np.asarray(np.where(x >= 0, 1, small) / (1 + small))

    def exact_hold(self, s: Array, A: Array) -> Array:
        """expm1(ΔA)/A, its limit Δ where ΔA is too small to make a difference."""
        product = s * A
        negligible = np.abs(product) < np.finfo(product.dtype).eps / 8
        return np.where(negligible, s, self.expm1(product) / np.where(negligible, 1, A))

    def psi(self, x: Array) -> Array:
        """ψ(x) = (x exp(x) − expm1(x))/x², by its series near zero."""
        near = np.abs(x) < 1
        inside, outside = np.where(near, x, 0), np.where(near, 1, x)
        series = np.zeros_like(x)
        for coefficient in reversed(PSI):
            series = series * inside + coefficient
        return np.where(near, series, (self.exp(outside) - self.expm1(outside) / outside) / outside)
