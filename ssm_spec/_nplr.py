"""LegS as a normal matrix plus one of rank one, and the diagonal systems that are drawn from it.

    A = N − P Pᵀ,   P_n = √(n + ½),   N = −½ I + S,   S_nk = ∓√((n + ½)(k + ½)) below and above the diagonal

(S4, arXiv:2111.00396, theorem 1 and (6)). N is normal: N = V Λ V*, and A = V (Λ − p p*) V* with
p = V* P. S4D keeps Λ alone (S4D, arXiv:2206.11893, (8) to (10)).

The phase of an eigenvector is free: here it makes p_i, hence (V*B)_i = √2 p_i, real and positive.

The eigenvectors are LAPACK's, corrected once; the eigenvalues are Rayleigh quotients in twice the working
precision, whose error is the square of the eigenvectors'. With H = −iS, H v_j = ω_j v_j, an approximate
v̂_i is Σ_j c_ji v_j, and its residual r_i = (H − ω_i) v̂_i = Σ_j (ω_j − ω_i) c_ji v_j gives

    c_ji = v_j* r_i / (ω_j − ω_i),  j ≠ i;   v_i = v̂_i − Σ_{j≠i} c_ji v̂_j + (ε − iθ) v̂_i

to first order, where ε = ½(1 − |v̂_i|²) mends the length and θ = Im p̂_i / p̂_i the phase. r_i, |v̂_i|² and p̂_i
are sums in twice the precision, so that the correction itself need not be: V is right to a unit or two.

Its second order is bounded by τ_i = ‖r_i‖ / min_j |ω_j − ω_i| >= (Σ_{j≠i} |c_ji|²)^½. Putting v̂_j for v_j, in
c_ji and beside it, costs τ_i ‖τ‖ each, the length ½τ_i²; what that does to p̂_i turns the phase by up to
‖P‖₂ / p_i = n / (√2 p_i) times as much.
"""

from __future__ import annotations

from math import pi
from typing import Final, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._double_double import (
    DoubleDouble,
    add,
    exact,
    fast_two_sum,
    matmul,
    multiply,
    two_product,
)
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

    Parameters
    ----------
    n
        The number of states, even.
    dtype
        The type that an implementation was asked for; the oracle returns complex128 always.

    Returns
    -------
    Lambda, P, B
        (n,), complex128.
    V
        (n, n), complex128.
    """
    found = _spectrum(_read_even(n, dtype))
    modes = -0.5 + 1j * found.frequency
    Lambda = np.concatenate((modes, np.conj(modes)))
    P = np.concatenate((found.p, found.p)).astype(np.complex128)
    V = np.concatenate((found.vectors, np.conj(found.vectors)), axis=1)
    return Lambda, P, np.sqrt(2.0) * P, V


@operator
def s4d_legs(n: int, *, dtype: str = "float64") -> tuple[Array, Array]:
    """Return the modes (n/2,) of S4D-LegS and their B (n/2,): Λ and V*B of LegS, one of each pair.

    (C1) Im Λ > 0, rising. (C2) B is real and positive, neither halved nor clipped. (C3) n is even.

    Parameters
    ----------
    n
        The number of states, the full size, even.
    dtype
        The type that an implementation was asked for; the oracle returns complex128 always.

    Returns
    -------
    Lambda, B
        (n/2,), complex128.
    """
    found = _spectrum(_read_even(n, dtype))
    return -0.5 + 1j * found.frequency, (np.sqrt(2.0) * found.p).astype(np.complex128)


@operator
def s4d_inv(n: int, *, dtype: str = "float64") -> tuple[Array, Array]:
    """Return the modes (n/2,) of S4D-Inv, λ_m = −½ + i (n/π)(n/(2m+1) − 1), and B = 1 (n/2,).

    (C1) n is the full size, even; m = 0, ..., n/2 − 1.

    Parameters
    ----------
    n
        The number of states, the full size, even.
    dtype
        The type that an implementation was asked for; the oracle returns complex128 always.

    Returns
    -------
    Lambda, B
        (n/2,), complex128.
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

    Parameters
    ----------
    n
        The number of states, the full size, even.
    dtype
        The type that an implementation was asked for; the oracle returns complex128 always.

    Returns
    -------
    Lambda, B
        (n/2,), complex128.
    """
    size = _read_even(n, dtype)
    return -0.5 + 1j * pi * np.arange(size // 2), np.ones(size // 2, dtype=np.complex128)


@arguments_of(hippo_legs_nplr)
def hippo_legs_nplr_bounds(*, arithmetic: Arithmetic, n: int, dtype: str = "float64") -> dict[str, Bounded]:
    """Return all four outputs with what an honest Hermitian eigensolver may do to each.

    Eigenvalues by norm, n u ‖S‖₂ (LAPACK Users' Guide, section 4.7); a column of V turns by at most
    that over the distance to its nearest neighbour. Here Λ, P and V are right to two units and B to
    four, beside what the second order of the correction leaves, as at the top.
    """
    Lambda, P, B, V = hippo_legs_nplr(n, dtype=dtype)
    modes, rounding, turned = _eigensolver_error(n, Lambda.imag, arithmetic)
    # A turned column meets the whole of √(n + ½), whose 2-norm is n/√2.
    whole = n / np.sqrt(2.0)
    off = turned * whole
    left = _left_by_correction(n, Lambda.imag)
    P_own, V_left = 2.0 * _UNIT * P.real + whole * left, (1.0 + whole / P.real) * left
    V_own = 2.0 * _UNIT * np.abs(V) + V_left
    B_own = np.sqrt(2.0) * P_own + 2.0 * _UNIT * B.real
    return {
        "Lambda": _bounded(Lambda, modes, 2.0 * _UNIT * np.abs(Lambda), arithmetic),
        "P": _bounded(P, off + rounding * np.abs(P), P_own, arithmetic),
        "B": _bounded(B, np.sqrt(2.0) * off + rounding * np.abs(B), B_own, arithmetic),
        "V": _bounded(V, turned + rounding * np.abs(V), V_own, arithmetic),
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


class _Spectrum(NamedTuple):
    """The modes with ω > 0, ω rising: ω (n/2), p (n/2), V's columns (n, n/2), and τ (n/2)."""

    frequency: Float
    p: Float
    vectors: Array
    turned: Float


def _spectrum(n: int) -> _Spectrum:
    """Return what the top of this file says; for an eigenvector x + iy of −iS, ω = 2 xᵀSy / (xᵀx + yᵀy)."""
    S, root = _skew(n), _half_root(np.arange(n, dtype=np.float64) * 4.0 + 2.0)
    _, columns = np.linalg.eigh(-1j * S.hi)
    columns = columns[:, n // 2 :]
    along = root.hi @ columns
    columns = columns * (np.abs(along) / along)
    x, y = exact(np.ascontiguousarray(columns.real)), exact(np.ascontiguousarray(columns.imag))
    Sx, Sy = matmul(S, x), matmul(S, y)
    square = add(_summed(multiply(x, x)), _summed(multiply(y, y)))
    omega = _quotient(_summed(multiply(x, Sy)).scaled(2.0), square)
    r = add(Sy, multiply(x, omega.scaled(-1.0))).hi - 1j * add(Sx, multiply(y, omega)).hi

    others, frequencies = np.concatenate((columns, np.conj(columns)), axis=1), np.append(omega.hi, -omega.hi)
    apart = frequencies[:, None] - omega.hi
    np.fill_diagonal(apart, np.inf)
    shift = -others @ (np.conj(others.T) @ r / apart)
    shift += 0.5 * ((1.0 - square.hi) - square.lo) * columns
    p, aside = _along(root, x, shift.real), _along(root, y, shift.imag)
    shift -= 1j * (aside / p) * columns
    return _Spectrum(omega.hi, p, columns + shift, np.linalg.norm(r, axis=0) / np.min(np.abs(apart), axis=0))


def _quotient(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return a/b = q + (a − q b)/b, in twice the precision."""
    q = a.hi / b.hi
    rest = add(a, multiply(exact(-q), b))
    return fast_two_sum(q, rest.hi / b.hi)


def _along(root: DoubleDouble, columns: DoubleDouble, shift: Float) -> Float:
    """Return √(n + ½) times the shifted columns."""
    row = DoubleDouble(root.hi[None], root.lo[None])
    return np.asarray(add(matmul(row, columns), exact((root.hi @ shift)[None])).hi[0])


def _skew(n: int) -> DoubleDouble:
    """Return S (n, n), S_nk = −√((n+½)(k+½)) for n > k and its negative above, in twice the precision."""
    odd = 2.0 * np.arange(n) + 1.0
    sign = np.triu(np.ones((n, n)), 1) - np.tril(np.ones((n, n)), -1)
    return _half_root(np.outer(odd, odd)).scaled(sign)


def _half_root(square: Float) -> DoubleDouble:
    """Return ½√x in twice the precision."""
    root = np.sqrt(square)
    product, low = two_product(root, root)
    return DoubleDouble(root, ((square - product) - low) / (2.0 * root)).scaled(0.5)


def _summed(terms: DoubleDouble) -> DoubleDouble:
    """Return the sums down the columns."""
    ones = exact(np.ones((1, terms.hi.shape[0])))
    total = matmul(ones, terms)
    return DoubleDouble(total.hi[0], total.lo[0])


def _eigensolver_error(n: int, frequency: Float, arithmetic: Arithmetic) -> tuple[Float, float, Float]:
    """Return the error of each eigenvalue, the relative rounding of coefficients, and each vector's turn."""
    norm = float(np.max(np.abs(frequency)))
    backward = (n + 4.0) * arithmetic.u * norm
    apart = np.abs(frequency[:, None] - frequency) + np.where(np.eye(n, dtype=bool), np.inf, 0.0)
    turned = np.minimum(2.0 * backward / np.min(apart, axis=-1), 2.0)
    return backward + 2.0 * arithmetic.u * np.abs(-0.5 + 1j * frequency), (n + 6.0) * arithmetic.u, turned


def _left_by_correction(n: int, frequency: Float) -> Float:
    """Return what the one correction leaves of each column, (n): its second order, and its own rounding.

    The length and the phase that it mends are of the order of n u, and so below half of what LAPACK's
    column may have turned; so are the residual's u² in twice the precision.
    """
    half = _spectrum(n).turned
    turned = np.concatenate((half, half))
    _, _, may = _eigensolver_error(n, frequency, Arithmetic(compute="float64"))
    return np.asarray(3.0 * turned * np.linalg.norm(turned) + 2.0 * (n + 8.0) * _UNIT * may)


def _diagonal_bounded(Lambda: Array, B: Array, modes: Float, arithmetic: Arithmetic) -> dict[str, Bounded]:
    none = np.zeros(B.shape)
    return {
        "Lambda": _bounded(Lambda, modes, 4.0 * _UNIT * np.abs(Lambda), arithmetic),
        "B": _bounded(B, none, none, arithmetic),
    }


def _bounded(value: Array, bound: Float, own: Float, arithmetic: Arithmetic) -> Bounded:
    return Bounded(value, np.broadcast_to(bound, value.shape).copy(), own, np.abs(value) < arithmetic.largest)
