"""The scalar functions of the operators, accurate wherever they are finite, in the dtype they are given."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

quiet: Final = np.errstate(over="ignore", divide="ignore", invalid="ignore")
"""Decorates every operator: infinities and NaN are results here, not accidents to warn of."""

_PSI: Final = tuple((j + 1) / math.factorial(j + 2) for j in range(20))
# ψ(x) = Σ (j+1)/(j+2)! xʲ; for |x| ≤ 1 the next term is below 2⁻⁶⁰.


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) without a threshold; 0 at −∞."""
    value: Array = np.logaddexp(x, x.dtype.type(0))
    return value


def sigmoid(x: Array) -> Array:
    """1/(1 + exp(−x)), without overflow, relatively accurate in both tails."""
    tail = np.exp(-np.abs(x))
    value: Array = np.where(x < 0, tail, 1) / (1 + tail)
    return value


def silu(x: Array) -> Array:
    """x σ(x)."""
    return x * sigmoid(x)


def expm1(x: Array) -> Array:
    """exp(x) − 1. For complex x = p + iq: expm1(p) cos q − 2 sin²(q/2) + i exp(p) sin q."""
    if not np.iscomplexobj(x):
        return np.asarray(np.expm1(x))
    value = np.empty_like(x)
    value.real = np.expm1(x.real) * np.cos(x.imag) - 2 * np.square(np.sin(x.imag / 2))
    value.imag = np.exp(x.real) * np.sin(x.imag)
    return value


def held_step(delta: Array, A: Array) -> Array:
    """∫₀^Δ exp(sA) ds = expm1(ΔA)/A, whose limit at A = 0 is Δ: the zero-order hold of one mode."""
    p = delta * A
    # There the limit is right to a quarter of a rounding, while ΔA may have lost bits to underflow.
    small = np.abs(p) < np.finfo(p.dtype).eps / 4
    value: Array = np.where(small, delta, expm1(p) / np.where(small, 1, A))
    return value


def psi(x: Array) -> Array:
    """ψ(x) = (x exp(x) − expm1(x))/x², ψ(0) = ½: the slope of expm1(x)/x, by its series where |x| < 1."""
    small = np.abs(x) < 1
    near = np.where(small, x, 0)
    series = np.full_like(x, _PSI[-1])
    for coefficient in reversed(_PSI[:-1]):
        series = series * near + coefficient
    far = np.where(small, 1, x)
    value: Array = np.where(small, series, (np.exp(far) - expm1(far) / far) / far)
    return value
