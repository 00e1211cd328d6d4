"""The HiPPO systems of a sliding window or an exponential memory: LegT, LagT and FouT.

Each is h' = A h + B u whose state holds the coefficients of the recent input in one basis:
translated Legendre and Laguerre polynomials (HiPPO, arXiv:2008.07669, theorem 1 and appendix D),
and a truncated Fourier basis (How to Train Your HiPPO, arXiv:2206.12037, (10)).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sin
from typing import Final

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._double_double import DoubleDouble, exact, multiply
from ssm_spec._errors import DomainError, DTypeError, ShapeError
from ssm_spec._hippo import read_order
from ssm_spec._roundoff import UNIT_ROUNDOFF, Arithmetic, Bounded
from ssm_spec._validate import Float

_PI: Final = DoubleDouble(np.array(pi), np.array(sin(pi)))
"""π to twice the precision: sin(fl(π)) is π − fl(π) up to its cube."""
_UNITS: Final = 6.0
_OWN_UNITS: Final = 2.0


@operator
def hippo_legt(n: int, *, theta: float = 1.0, dtype: str = "float64") -> tuple[Float, Float]:
    """Return A (n, n) and B (n, 1) of HiPPO-LegT over a window of length θ.

    (C1) A_nk = −√((2n+1)(2k+1))/θ · {1 for k <= n; (−1)^(n−k) for k > n};  B_n = √(2n+1)/θ.
    (C2) Every entry is right to two units of float64, and correctly rounded where θ = 1.
    (C3) θ is a positive finite number.

    Parameters
    ----------
    n
        The number of states, >= 1.
    theta
        The length of the window.
    dtype
        The type that an implementation was asked for; the oracle returns float64 always.

    Returns
    -------
    A, B
        (n, n) and (n, 1), float64.
    """
    size = read_order(n, dtype)
    window = _read_window(theta)
    order = np.arange(size)
    odd = 2.0 * order + 1.0
    sign = np.where((order[:, None] < order) & ((order[:, None] - order) % 2 != 0), 1.0, -1.0)
    return sign * np.sqrt(np.outer(odd, odd)) / window, (np.sqrt(odd) / window)[:, None]


@operator
def hippo_lagt(n: int, *, dtype: str = "float64") -> tuple[Float, Float]:
    """Return A (n, n) and B (n, 1) of HiPPO-LagT, the exponentially fading memory.

    (C1) A_nk = −1 for n >= k, 0 for n < k;  B_n = 1. Every entry is exact.

    Parameters
    ----------
    n
        The number of states, >= 1.
    dtype
        The type that an implementation was asked for; the oracle returns float64 always.

    Returns
    -------
    A, B
        (n, n) and (n, 1), float64.
    """
    size = read_order(n, dtype)
    # A positive zero above the diagonal, not the −0 of the negated triangle.
    return 0.0 - np.tril(np.ones((size, size))), np.ones((size, 1))


@operator
def hippo_fout(n: int, *, dtype: str = "float64") -> tuple[Float, Float]:
    """Return A (n, n) and B (n, 1) of HiPPO-FouT over a window of length 1.

    (C1) The basis is 1, √2 cos 2πkt at 2k, and √2 sin 2πkt at 2k + 1; state 1 is idle. With
         β = (1, 0, √2, 0, √2, 0, ...):  B = 2β,  A = R − 2ββᵀ,  R_{2k,2k+1} = −2πk = −R_{2k+1,2k}.
    (C2) n is even and at least 2. Every entry is right to one unit of float64.

    Parameters
    ----------
    n
        The number of states, even.
    dtype
        The type that an implementation was asked for; the oracle returns float64 always.

    Returns
    -------
    A, B
        (n, n) and (n, 1), float64.
    """
    size = read_order(n, dtype)
    if size % 2:
        raise ShapeError(f"`n` must be even: one cosine and one sine a frequency; got {size}")
    frequency = np.arange(size // 2, dtype=np.float64)
    full_turn = DoubleDouble(*(np.broadcast_to(2.0 * x, frequency.shape) for x in _PI))
    turning = multiply(full_turn, exact(frequency)).hi
    A = np.zeros((size, size))
    even, root = np.arange(0, size, 2), 2.0 * np.sqrt(2.0)
    # −2 β_n β_k: products of 1 and √2, so that 4 is exact where √2 · √2 would not be.
    A[np.ix_(even, even)] = -4.0
    A[0, even] = A[even, 0] = -root
    A[0, 0] = -2.0
    A[even[1:], even[1:] + 1], A[even[1:] + 1, even[1:]] = -turning[1:], turning[1:]
    B = np.zeros((size, 1))
    B[even] = root
    B[0] = 2.0
    return A, B


@arguments_of(hippo_legt)
def hippo_legt_bounds(
    *, arithmetic: Arithmetic, n: int, theta: float = 1.0, dtype: str = "float64"
) -> dict[str, Bounded]:
    """Return both outputs with 6 u for each entry: two roots, a product, a quotient, the rounding of θ."""
    return _bounded(lambda: hippo_legt(n, theta=theta, dtype=dtype), arithmetic)


@arguments_of(hippo_lagt)
def hippo_lagt_bounds(*, arithmetic: Arithmetic, n: int, dtype: str = "float64") -> dict[str, Bounded]:
    """Return both outputs; ones and zeros leave nothing to round."""
    return {
        name: Bounded(bounded.value, 0.0 * bounded.bound, 0.0 * bounded.own, bounded.judged)
        for name, bounded in _bounded(lambda: hippo_lagt(n, dtype=dtype), arithmetic).items()
    }


@arguments_of(hippo_fout)
def hippo_fout_bounds(*, arithmetic: Arithmetic, n: int, dtype: str = "float64") -> dict[str, Bounded]:
    """Return both outputs with 6 u for each entry: π, two roots, and three products."""
    return _bounded(lambda: hippo_fout(n, dtype=dtype), arithmetic)


def _bounded(matrices: Callable[[], tuple[Float, Float]], arithmetic: Arithmetic) -> dict[str, Bounded]:
    return {
        name: Bounded(
            value,
            _UNITS * arithmetic.u * np.abs(value),
            _OWN_UNITS * UNIT_ROUNDOFF["float64"] * np.abs(value),
            np.abs(value) < arithmetic.largest,
        )
        for name, value in zip(("A", "B"), matrices(), strict=True)
    }


def _read_window(theta: object) -> float:
    if isinstance(theta, bool) or not isinstance(theta, float | int | np.floating):
        raise DTypeError(f"`theta` must be a real number; got {theta!r}")
    if not 0.0 < theta < np.inf:
        raise DomainError(f"`theta` must be positive and finite; got {theta}")
    return float(theta)
