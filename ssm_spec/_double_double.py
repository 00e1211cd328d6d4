"""Twice the working precision from float64 alone: numbers kept as unevaluated sums of two.

The error-free transformations are those of Dekker (1971) and Knuth (TAOCP 2, 4.2.2), the
matrix product accumulates as Dot2 does (Ogita, Rump and Oishi, SIAM J. Sci. Comput. 26
(2005), algorithm 5.3). u = 2^-53 throughout; u^2 is about 1.2e-32.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Final, NamedTuple

import numpy as np

from ssm_spec._validate import Float

Index = slice | tuple[EllipsisType | slice | int, ...]

UNIT: Final = 2.0**-53
_SPLITTER: Final = 2.0**27 + 1.0
SPLITTABLE: Final = 2.0**996
"""A number below it has halves: taken apart, it does not overflow."""
FLOOR: Final = 2.0**-1021
"""What underflow may cost one operation: beyond it a product's low part is no longer exact."""


class DoubleDouble(NamedTuple):
    """An array of numbers hi + lo with |lo| <= u |hi|; both parts float64, of one shape."""

    hi: Float
    lo: Float

    def part(self, index: Index) -> DoubleDouble:
        """Return the numbers that a NumPy index picks."""
        return DoubleDouble(self.hi[index], self.lo[index])

    def scaled(self, factor: float | Float) -> DoubleDouble:
        """Return the product with powers of two, which is exact."""
        return DoubleDouble(self.hi * factor, self.lo * factor)


def exact(value: Float) -> DoubleDouble:
    """Return float64 numbers as they are."""
    return DoubleDouble(value, np.zeros_like(value))


def two_sum(a: Float, b: Float) -> DoubleDouble:
    """Return s + e = a + b exactly, s = fl(a + b) (Knuth)."""
    s = a + b
    bb = s - a
    return DoubleDouble(s, (a - (s - bb)) + (b - bb))


def fast_two_sum(a: Float, b: Float) -> DoubleDouble:
    """Return s + e = a + b exactly where |a| >= |b| (Dekker)."""
    s = a + b
    return DoubleDouble(s, b - (s - a))


def split(a: Float) -> DoubleDouble:
    """Return two 26-bit halves whose sum is a exactly (Veltkamp)."""
    c = _SPLITTER * a
    high = c - (c - a)
    return DoubleDouble(high, a - high)


def two_product(a: Float, b: Float) -> DoubleDouble:
    """Return p + e = a b exactly, p = fl(a b), short of underflow (Dekker)."""
    return _product_of_split(a, split(a), b, split(b))


def _product_of_split(a: Float, a_halves: DoubleDouble, b: Float, b_halves: DoubleDouble) -> DoubleDouble:
    a_high, a_low = a_halves
    b_high, b_low = b_halves
    p = a * b
    return DoubleDouble(p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low)


def add(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return a + b; relative error below 3 u^2 (Joldes, Muller and Popescu 2017, algorithm 6)."""
    s, s_low = two_sum(a.hi, b.hi)
    t, t_low = two_sum(a.lo, b.lo)
    s, s_low = fast_two_sum(s, s_low + t)
    return fast_two_sum(s, s_low + t_low)


def multiply(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return a b element by element; relative error below 7 u^2 (the same, algorithm 10)."""
    p, e = two_product(a.hi, b.hi)
    return fast_two_sum(p, e + (a.hi * b.lo + a.lo * b.hi))


def divide(a: DoubleDouble, divisor: float) -> DoubleDouble:
    """Return a / divisor for one float64 divisor; relative error below 4 u^2."""
    q = a.hi / divisor
    p, e = two_product(q, np.full_like(q, divisor))
    return fast_two_sum(q, ((a.hi - p) - e + a.lo) / divisor)


def matmul(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return the matrix product a b, (*s, i, k) by (*s, k, j).

    |error| <= dot_error(k) |a||b| element by element, plus k FLOOR where underflow happens.
    Only the block that row k of b and column k of a can reach is touched, so a triangular
    product costs a sixth, and an entry that no path reaches is exactly zero.
    """
    batch = np.broadcast_shapes(a.hi.shape[:-2], b.hi.shape[:-2])
    shape = (*batch, a.hi.shape[-2], b.hi.shape[-1])
    total, tail = np.zeros(shape), np.zeros(shape)
    a_halves, b_halves = split(a.hi), split(b.hi)
    for k in range(a.hi.shape[-1]):
        rows = _extent(a.hi[..., :, k])
        columns = _extent(b.hi[..., k, :])
        left: Index = (..., rows, slice(k, k + 1))
        right: Index = (..., slice(k, k + 1), columns)
        p, p_low = _product_of_split(a.hi[left], a_halves.part(left), b.hi[right], b_halves.part(right))
        block = (..., rows, columns)
        s, s_low = two_sum(total[block], p)
        low = (s_low + p_low) + (a.hi[left] * b.lo[right] + a.lo[left] * b.hi[right])
        total[block], tail[block] = fast_two_sum(s, tail[block] + low)
    return DoubleDouble(total, tail)


def dot_error(k: int) -> float:
    """Return the factor of |a||b| that bounds the error of `matmul` over k terms.

    A step rounds four times among low parts whose sum is at most u (2 |partial sum| + 3 |term|);
    partial sums stay below |a||b|, and the terms add up to it. Dropping lo·lo costs u^2 more.
    """
    return (8.0 * k + 16.0) * UNIT**2


def _extent(values: Float) -> slice:
    """Return the range of the last axis outside which every value is zero."""
    occupied = np.flatnonzero(np.any(values != 0.0, axis=tuple(range(values.ndim - 1))))
    return slice(int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else slice(0, 0)
