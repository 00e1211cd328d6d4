"""The exponential of a matrix, right by entry: scaling and squaring in twice the working precision.

A float64 algorithm is accurate by norm only: where the entries of exp(X) differ by ten
orders of magnitude, as for the state matrix of LegS, it leaves six digits in the small
ones. Here every step is done in double-double, and an error bound for every entry is
carried through the same steps (Higham, Functions of Matrices, section 10.3, gives the
method; the bound is by entry, not by norm). The result is right to the last digit of
float64 wherever cancellation eats fewer than about 2^40, and the bound says where it does not.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ssm_spec._double_double import FLOOR, UNIT, DoubleDouble, add, divide, dot_error, exact, matmul
from ssm_spec._validate import Array, Float

_SCALED_NORM: Final = 2.0**-6
_MOST_TERMS: Final = 64
_INFLATION: Final = 1.0 + 2.0**-20
"""Covers the rounding of the bounds themselves, which are computed in float64."""


class Exponential(NamedTuple):
    """exp(X) and what is known of it.

    `value` is X's exponential, `error` bounds its distance from the exact one, entry by
    entry, and `levels[i]` is exp(X / 2^i), rounded to float64, down to the first fraction of a norm of at
    most 2^-6; below, it is that one again.
    """

    value: DoubleDouble
    error: Float
    levels: list[Float]


def exponential(X: DoubleDouble) -> Exponential:
    """Compute exp(X) for real square matrices (*s, n, n), finite, each scaled for itself.

    exp(X) = exp(X / 2^k)^(2^k) (Higham, Functions of Matrices, (10.3)). A squaring doubles the relative
    error, so that none is done for another matrix of the batch.
    """
    n = X.hi.shape[-1]
    squarings = _squarings(X.hi)[..., None, None]
    reach = reachable(X.hi)
    T, error = _taylor(X.scaled(2.0**-squarings), reach)
    levels = [T.hi]
    for left in range(int(np.max(squarings, initial=0)), 0, -1):
        size, here = np.abs(T.hi), squarings >= left
        squared = _INFLATION * (
            (size + error) @ error + error @ size + dot_error(n) * (size @ size) + n * FLOOR * reach
        )
        error = np.where(here, squared, error)
        T = DoubleDouble(*(np.where(here, new, old) for new, old in zip(matmul(T, T), T, strict=True)))
        levels.append(T.hi)
    return Exponential(T, error, levels[::-1])


def _squarings(X: Float) -> Float:
    """Return, of each matrix, the least k >= 0 that brings the 1-norm of X / 2^k to `_SCALED_NORM`."""
    largest = np.max(np.abs(X), axis=(-2, -1), initial=0.0, keepdims=True)
    above = np.maximum(np.frexp(largest)[1], 0.0)  # the norm itself may be beyond all numbers
    norm = np.max(np.sum(np.abs(X) * 2.0**-above, axis=-2), axis=-1, initial=0.0)
    below = np.ceil(np.log2(np.maximum(norm, _SCALED_NORM) / _SCALED_NORM))
    return np.asarray(above[..., 0, 0] + below)


def reachable(X: Array) -> Float:
    """Return 1.0 where some power of X, I included, can be nonzero, 0.0 where structure forbids it."""
    n = X.shape[-1]
    reach = np.asarray((X != 0) | np.eye(n, dtype=bool), dtype=np.float64)
    for _ in range(max(1, (n - 1).bit_length())):
        reach = np.minimum(reach @ reach, 1.0)
    return reach


def _taylor(Z: DoubleDouble, reach: Float) -> tuple[DoubleDouble, Float]:
    """Sum Z^k / k! until the next term is below u^2 of the sum of moduli in every entry.

    With P_k = |Z|^k / k!, term k is wrong by at most k (dot_error + 4 u^2) P_k, adding it
    costs 3 u^2 of the partial sum, and the terms left out are below P_m (I + |Z| + |Z|^2 + ...).
    """
    n = Z.hi.shape[-1]
    size = np.abs(Z.hi)
    identity = np.broadcast_to(np.eye(n), Z.hi.shape)
    term, total = exact(identity.copy()), exact(identity.copy())
    majorant, majorants, weighted = identity, identity.copy(), np.zeros_like(Z.hi)
    for k in range(1, _MOST_TERMS):
        majorant = majorant @ size / k
        if np.all(majorant <= UNIT**2 * majorants):
            break
        term = divide(matmul(term, Z), float(k))
        total = add(total, term)
        majorants = majorants + majorant
        weighted += k * majorant
    per_term = dot_error(n) + 4 * UNIT**2
    left_out = majorant @ geometric(size)
    error = per_term * weighted + 3 * k * UNIT**2 * majorants + left_out + n * FLOOR * reach
    return total, _INFLATION * error


def geometric(size: Float) -> Float:
    """Return I + |Z| + |Z|^2 + ... as the product of I + |Z|^(2^i): positive, hence right by entry."""
    n = size.shape[-1]
    total, power = np.eye(n) + size, size
    for _ in range(max(3, n.bit_length())):
        power = power @ power
        total = total + total @ power
    return total


def real_form(X: Array) -> Float:
    """Return the real matrix of a complex one: each entry x + iy becomes [[x, -y], [y, x]].

    (*s, i, j) complex -> (*s, 2i, 2j); a homomorphism, triangles stay (block) triangles.
    """
    pairs = np.stack((np.stack((X.real, -X.imag), -1), np.stack((X.imag, X.real), -1)), -2)
    rows, columns = X.shape[-2:]
    return np.swapaxes(pairs, -3, -2).reshape(*X.shape[:-2], 2 * rows, 2 * columns)


def complex_form(X: Float) -> Array:
    """Undo `real_form`, from the first column of each block."""
    return np.asarray(X[..., 0::2, 0::2] + 1j * X[..., 1::2, 0::2])


def modulus_form(error: Float) -> Float:
    """Turn bounds on the real and imaginary parts, laid out as by `real_form`, into bounds on moduli."""
    return np.hypot(error[..., 0::2, 0::2], error[..., 1::2, 0::2])
