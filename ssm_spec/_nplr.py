"""LegS as a normal matrix plus one of rank one, and the diagonal systems that are drawn from it.

    A = N − P Pᵀ,   P_n = √(n + ½),   N = −½ I + S,   S_nk = ∓√((n + ½)(k + ½)) below and above the diagonal

(S4, arXiv:2111.00396, theorem 1 and (6)). N is normal: N = V Λ V*, and A = V (Λ − p p*) V* with
p = V* P. S4D keeps Λ alone (S4D, arXiv:2206.11893, (8) to (10)).

The eigenvalues are Rayleigh quotients in twice the working precision, whose error is the square of
the eigenvectors'. The eigenvalues of A are −1, ..., −n, so the determinant of s − A over that of
s − N, which is 1 + p* (s − Λ)⁻¹ p, gives p in closed form:

    |p_i|² = ∏_k (λ_i + k) / ∏_{k≠i} (λ_i − λ_k).

The phase of an eigenvector is free: here it makes p_i, hence (V*B)_i = √2 p_i, real and positive.
"""

from __future__ import annotations

from math import pi
from typing import Final

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._double_double import DoubleDouble, add, divide, exact, matmul, multiply, two_product
from ssm_spec._errors import ShapeError
from ssm_spec._hippo import read_order
from ssm_spec._roundoff import UNIT_ROUNDOFF, Arithmetic, Bounded
from ssm_spec._validate import Array, Float

_UNIT: Final = UNIT_ROUNDOFF["float64"]


@operator
def hippo_legs_nplr(n: int, *, dtype: str = "float64") -> tuple[Array, Array, Array, Array]:
    """Return Λ (n), P (n), B (n) and V (n, n) with A = V (diag(Λ) − P P*) V* and V B the B of LegS.

    (C1) Λ = −½ + i ω: first the n/2 modes with ω > 0, ω rising; then their conjugates in the same order.
    (C2) P = V* √(n + ½) is real and positive, which fixes the phase of each column of V; B = √2 P.
    (C3) n is even: an odd one has a real mode, which is nobody's conjugate.
    (C4) V is unitary, and column n/2 + i is the conjugate of column i.

    Returns
    -------
    Lambda, P, B
        (n,), complex128.
    V
        (n, n), complex128.
    """
    frequency, vectors = _spectrum(_read_even(n, dtype))
    p = _low_rank(frequency)
    modes = -0.5 + 1j * frequency.hi
    Lambda = np.concatenate((modes, np.conj(modes)))
    P = np.concatenate((p, p)).astype(np.complex128)
    return Lambda, P, np.sqrt(2.0) * P, np.concatenate((vectors, np.conj(vectors)), axis=1)


@operator
def s4d_legs(n: int, *, dtype: str = "float64") -> tuple[Array, Array]:
    """Return the modes (n/2,) of S4D-LegS and their B (n/2,): Λ and V*B of LegS, one of each pair.

    (C1) Im Λ > 0, rising. (C2) B is real and positive, neither halved nor clipped. (C3) n is even.
    """
    frequency, _ = _spectrum(_read_even(n, dtype))
    return -0.5 + 1j * frequency.hi, (np.sqrt(2.0) * _low_rank(frequency)).astype(np.complex128)


@operator
def s4d_inv(n: int, *, dtype: str = "float64") -> tuple[Array, Array]:
    """Return the modes (n/2,) of S4D-Inv, λ_m = −½ + i (n/π)(n/(2m+1) − 1), and B = 1 (n/2,).

    (C1) n is the full size, even; m = 0, ..., n/2 − 1.
    """
    size = _read_even(n, dtype)
    odd = 2.0 * np.arange(size // 2) + 1.0
    # n/(2m+1) − 1 without the cancellation.
    frequency = size * (size - odd) / (pi * odd)
    return -0.5 + 1j * frequency, np.ones(size // 2, dtype=np.complex128)


@operator
def s4d_lin(n: int, *, dtype: str = "float64") -> tuple[Array, Array]:
    """Return the modes (n/2,) of S4D-Lin, λ_m = −½ + iπm, and B = 1 (n/2,).

    (C1) n is the full size, even; m = 0, ..., n/2 − 1, so that the first mode is real.
    """
    size = _read_even(n, dtype)
    return -0.5 + 1j * pi * np.arange(size // 2), np.ones(size // 2, dtype=np.complex128)


@arguments_of(hippo_legs_nplr)
def hippo_legs_nplr_bounds(*, arithmetic: Arithmetic, n: int, dtype: str = "float64") -> dict[str, Bounded]:
    """Return all four outputs with what an honest Hermitian eigensolver may do to each.

    Eigenvalues by norm, n u ‖S‖₂ (LAPACK Users' Guide, section 4.7); a column of V turns by at most
    that over the distance to its nearest neighbour. In float64 the same holds for V here; Λ is right
    to two units, and P and B to 8 n units.
    """
    Lambda, P, B, V = hippo_legs_nplr(n, dtype=dtype)
    modes, rounding, turned = _eigensolver_error(n, Lambda.imag, arithmetic)
    _, _, own_turned = _eigensolver_error(n, Lambda.imag, Arithmetic(compute="float64"))
    # A turned column meets the whole of √(n + ½), whose 2-norm is n/√2.
    off = turned * n / np.sqrt(2.0)
    P_bound, P_own = off + rounding * np.abs(P), 8.0 * n * _UNIT * np.abs(P)
    B_bound = np.sqrt(2.0) * off + rounding * np.abs(B)
    columns = np.ones(V.shape)
    return {
        "Lambda": _bounded(Lambda, modes, 2.0 * _UNIT * np.abs(Lambda), arithmetic),
        "P": _bounded(P, P_bound, P_own, arithmetic),
        "B": _bounded(B, B_bound, np.sqrt(2.0) * P_own, arithmetic),
        "V": _bounded(V, columns * turned + rounding * np.abs(V), columns * own_turned, arithmetic),
    }


@arguments_of(s4d_legs)
def s4d_legs_bounds(*, arithmetic: Arithmetic, n: int, dtype: str = "float64") -> dict[str, Bounded]:
    """Return both outputs with the bounds of `hippo_legs_nplr_bounds`, one mode of each pair."""
    whole = hippo_legs_nplr_bounds(arithmetic=arithmetic, n=n, dtype=dtype)
    half = slice(0, n // 2)
    return {
        name: Bounded(one.value[half], one.bound[half], one.own[half], one.judged[half])
        for name, one in (("Lambda", whole["Lambda"]), ("B", whole["B"]))
    }


@arguments_of(s4d_inv)
def s4d_inv_bounds(*, arithmetic: Arithmetic, n: int, dtype: str = "float64") -> dict[str, Bounded]:
    """Return both outputs; n/(2m+1) − 1 may cancel, which costs 2 u of n/π times n/(2m+1)."""
    Lambda, B = s4d_inv(n, dtype=dtype)
    largest_term = n / pi * (n / (2.0 * np.arange(n // 2) + 1.0))
    modes = arithmetic.u * (2.0 * largest_term + 5.0 * np.abs(Lambda))
    return _diagonal_bounded(Lambda, B, modes, arithmetic)


@arguments_of(s4d_lin)
def s4d_lin_bounds(*, arithmetic: Arithmetic, n: int, dtype: str = "float64") -> dict[str, Bounded]:
    """Return both outputs with 3 u for each mode: π, its product, and the rounding of the result."""
    Lambda, B = s4d_lin(n, dtype=dtype)
    return _diagonal_bounded(Lambda, B, 3.0 * arithmetic.u * np.abs(Lambda), arithmetic)


def _read_even(n: object, dtype: object) -> int:
    size = read_order(n, dtype)
    if size % 2:
        raise ShapeError(f"`n` must be even, the full number of states in conjugate pairs; got {size}")
    return size


def _spectrum(n: int) -> tuple[DoubleDouble, Array]:
    """Return ω (n/2) > 0, rising, in twice the precision, and V's columns (n, n/2), phases fixed.

    S is real and skew: for an eigenvector x + iy of −iS, ω = 2 xᵀSy / (xᵀx + yᵀy).
    """
    S = _skew(n)
    _, columns = np.linalg.eigh(-1j * S.hi)
    columns = columns[:, n // 2 :]
    x, y = exact(np.ascontiguousarray(columns.real)), exact(np.ascontiguousarray(columns.imag))
    through = _summed(multiply(x, matmul(S, y)))
    square = add(_summed(multiply(x, x)), _summed(multiply(y, y)))
    quotient = 2.0 * through.hi / square.hi
    # One correction: ω = q + (2 xᵀSy − q |v|²)/|v|².
    p = multiply(exact(-quotient), square)
    rest = add(through.scaled(2.0), p)
    low = rest.hi / square.hi
    hi = quotient + low
    frequency = DoubleDouble(hi, low - (hi - quotient))
    along = np.sqrt(np.arange(n) + 0.5) @ columns
    return frequency, columns * (np.abs(along) / along)


def _skew(n: int) -> DoubleDouble:
    """Return S (n, n), S_nk = −√((n+½)(k+½)) for n > k and its negative above, in twice the precision."""
    odd = 2.0 * np.arange(n) + 1.0
    inside = np.outer(odd, odd)
    root = np.sqrt(inside)
    square, low = two_product(root, root)
    below = divide(DoubleDouble(root, ((inside - square) - low) / (2.0 * root)), 2.0)
    sign = np.triu(np.ones((n, n)), 1) - np.tril(np.ones((n, n)), -1)
    return below.scaled(sign)


def _summed(terms: DoubleDouble) -> DoubleDouble:
    """Return the sums down the columns."""
    ones = exact(np.ones((1, terms.hi.shape[0])))
    total = matmul(ones, terms)
    return DoubleDouble(total.hi[0], total.lo[0])


def _low_rank(frequency: DoubleDouble) -> Float:
    """Return p (n/2) by the closed form above; λ = −½ ± iω, every factor right to two units.

    λ_i − λ_k = i (ω_i − ω_k), and with the conjugates i (ω_i + ω_k): their product is ω_k² − ω_i².
    The modulus of ∏ (λ_i + k) is that of ∏ (k − ½ + i ω_i).
    """
    half = frequency.hi.shape[0]
    k = np.arange(1.0, 2.0 * half + 1.0)
    numerator = np.hypot(k - 0.5, frequency.hi[:, None])
    low, high = frequency.lo[:, None] - frequency.lo, frequency.lo[:, None] + frequency.lo
    difference = np.abs((frequency.hi[:, None] - frequency.hi) + low)
    total = (frequency.hi[:, None] + frequency.hi) + high
    others = ~np.eye(half, dtype=bool)
    # Each mode has 2 half factors above and 2 half − 1 below; paired by size they stay near one.
    pairs = np.where(others, difference, 1.0) * total
    ratios = np.sort(numerator[:, 0::2] * numerator[:, 1::2], axis=-1) / np.sort(pairs, axis=-1)
    return np.asarray(np.sqrt(np.prod(np.sort(ratios, axis=-1), axis=-1)))


def _eigensolver_error(n: int, frequency: Float, arithmetic: Arithmetic) -> tuple[Float, float, Float]:
    """Return the error of each eigenvalue, the relative rounding of coefficients, and each vector's turn."""
    norm = float(np.max(np.abs(frequency)))
    backward = (n + 4.0) * arithmetic.u * norm
    apart = np.abs(frequency[:, None] - frequency) + np.where(np.eye(n, dtype=bool), np.inf, 0.0)
    turned = np.minimum(2.0 * backward / np.min(apart, axis=-1), 2.0)
    return backward + 2.0 * arithmetic.u * np.abs(-0.5 + 1j * frequency), (n + 6.0) * arithmetic.u, turned


def _diagonal_bounded(Lambda: Array, B: Array, modes: Float, arithmetic: Arithmetic) -> dict[str, Bounded]:
    none = np.zeros(B.shape)
    return {
        "Lambda": _bounded(Lambda, modes, 4.0 * _UNIT * np.abs(Lambda), arithmetic),
        "B": _bounded(B, none, none, arithmetic),
    }


def _bounded(value: Array, bound: Float, own: Float, arithmetic: Arithmetic) -> Bounded:
    return Bounded(value, np.broadcast_to(bound, value.shape).copy(), own, np.abs(value) < arithmetic.largest)
