"""The scalar functions of the operators, right to a few units in the last place where finite."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Float = NDArray[np.float64]

_SERIES: Final = tuple((j + 1) / math.factorial(j + 2) for j in range(22))
# ψ(x) = Σ (j+1)/(j+2)! x^j; the 23rd term is below 2⁻⁵³ of ψ for |x| <= 1.
_TINY: Final = 2.0**-960
# Below it expm1(p)/A is Δ to the last bit, and p may already have lost bits to underflow.


def softplus(x: Float) -> Float:
    """log(1 + exp(x)), for every x: no threshold, zero at −∞."""
    value: Float = np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))
    return value


def sigmoid(x: Float) -> Float:
    """1/(1 + exp(−x)) = exp(min(x, 0))/(1 + exp(−|x|)), accurate in both tails; exactly 0 at −∞.

    A second exponential is faster than a choice between the first and 1: the whole takes half the time.
    """
    value: Float = np.exp(np.minimum(x, 0.0)) / (1.0 + np.exp(-np.abs(x)))
    return value


def sigmoids(x: Float) -> tuple[Float, Float]:
    """σ(x) and 1 − σ(x) = σ(−x), each accurate in both tails."""
    whole = 1.0 + np.exp(-np.abs(x))
    return np.exp(np.minimum(x, 0.0)) / whole, np.exp(np.minimum(-x, 0.0)) / whole


def expm1_over(p: Array, A: Array, delta: Array) -> Array:
    """φ = expm1(ΔA)/A with the limit Δ at A = 0; `p` is ΔA.

    The integral of exp(sA) over [0, Δ]: the zero-order hold of one mode.
    """
    small = ~(np.abs(p) >= _TINY)
    value: Array = np.where(small, delta, np.expm1(p) / np.where(small, 1.0, A))
    return value


def psi(x: Array) -> Array:
    """ψ(x) = (x exp(x) − expm1(x))/x², ψ(0) = ½: ∂/∂A of expm1(ΔA)/A is Δ² ψ(ΔA).

    By its power series for |x| < 1, where the closed form cancels.
    """
    small = ~(np.abs(x) >= 1.0)
    near = np.where(small, x, 0.0)
    series = np.full_like(near, _SERIES[-1])
    for coefficient in _SERIES[-2::-1]:
        series *= near
        series += coefficient
    far = np.where(small, 1.0, x)
    # exp(x)/x − expm1(x)/x² and not one quotient: x exp(x) − expm1(x) may overflow when ψ does not.
    closed = np.exp(far) / far - np.expm1(far) / far / far
    value: Array = np.where(small, series, closed)
    return value
