"""Sums of products of inexact numbers, and what rounding in any order of summation may add to them.

For z = Σ_k x_k y_k with x and y known within e_x and e_y (Higham 2002, (3.5) and (4.4)):

    |error| <= Σ |x| e_y + e_x (|y| + e_y)  +  κ u Σ (|x| + e_x)(|y| + e_y)  +  floor,

κ = k + 1, or max(k + 2√2, 2√2 k) of complex numbers (`roundings`).
The floor lets subnormal products be flushed and subnormal factors be read as zero.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np

from ssm_spec._roundoff import Arithmetic
from ssm_spec._validate import Array, Float


class Inexact(NamedTuple):
    """An array and, for each element, how far from it the number may be that was computed instead."""

    value: Array
    error: Float


def exactly(value: Array) -> Inexact:
    """Return numbers as they are."""
    return Inexact(value, np.zeros(value.shape))


def product_error(subscripts: str, x: Inexact, y: Inexact, arithmetic: Arithmetic) -> Float:
    """Bound the error of `np.einsum(subscripts, x, y)`, every sum in any order."""
    a, b = np.abs(x.value), np.abs(y.value)
    complex_ = np.iscomplexobj(x.value) and np.iscomplexobj(y.value)
    terms = _terms(subscripts, x.value, y.value)
    wider_a, wider_b = a + x.error, b + y.error
    moved = summed(subscripts, a, y.error) + summed(subscripts, x.error, wider_b)
    rounded = roundings(terms, complex_) * arithmetic.u * summed(subscripts, wider_a, wider_b)
    flushed = 2 * terms + summed(subscripts, a, np.ones_like(b)) + summed(subscripts, np.ones_like(a), b)
    return np.asarray(moved + rounded + arithmetic.eta * flushed)


def summed(subscripts: str, x: Array, y: Array) -> Array:
    """Return the sum of products itself."""
    return np.asarray(np.einsum(subscripts, x, y, optimize=True))


def roundings(terms: int, complex_: bool) -> float:
    """Return how many units a sum of so many products may lose, in any order.

    A complex product is one number, wrong by 2√2 u, or two real ones in each part. Those of a part are summed
    apart, 2k of them, and |x'y'| + |x''y''| and |x'y''| + |x''y'| are a vector no longer than √2 |x||y|.
    """
    return max(terms + 2.0 * sqrt(2.0), 2.0 * sqrt(2.0) * terms) if complex_ else terms + 1.0


def step_rounding(through: Float, added: Float, n: int, fan: int, complex_: bool, u: float) -> Float:
    """Return what A h + v rounds where all their terms are one sum, in any order, but for its last addition.

    `through` is |A||h| and `added` |v|, whose own sum of `fan` products is counted where v is. Of A h, n
    products, each may meet the fan terms of v, and they the n: in `parts`, if the numbers are complex. An
    addition loses no more than what it adds.
    """
    parts = 2 if complex_ else 1
    own = roundings(n, complex_)
    of_through = max(sqrt(parts) * (parts * n + fan - 1) - own, 0.0) * u * through
    of_added = max(parts * n - 2, 0) * u * added
    longest = sqrt(parts)
    return np.asarray(
        own * u * through + np.minimum(of_through, longest * added) + np.minimum(of_added, longest * through)
    )


class Met(NamedTuple):
    """How many roundings a term C h, and one D u, of y = Re(C h) + D u meets: of its product, and in sums."""

    read: float
    passing: float


def met(read: int, passing: int, complex_: bool, whole: bool = False) -> Met:
    """Return them where n products C h and some D u are summed in any order, D u first or last.

    A complex product is one number, wrong by 2√2 u, or two real ones that are summed apart: of the real part
    alone, or of both, if y is complex as a `whole`.
    """
    apart = (2 if complex_ else 1) * read + passing
    together = (2.0 * 2.0**0.5 if complex_ else 1.0) + read + max(passing, 1) - 1
    return Met(max(apart * (sqrt(2.0) if complex_ and whole else 1.0), together), float(apart))


def beyond(count: Float | float, M: Array, axis: int, arithmetic: Arithmetic) -> Float:
    """Return what so many roundings add to those of a sum of products over an axis of M by itself."""
    counted = roundings(M.shape[axis], np.iscomplexobj(M))
    return np.asarray(np.maximum(count - counted, 0.0) * arithmetic.u)


def nonzero(M: Array, axis: int) -> int:
    """Return how many products a sum over an axis of M has at most, zeros of M being none."""
    return int(np.max(np.count_nonzero(M, axis=axis), initial=0))


def _terms(subscripts: str, x: Array, y: Array) -> int:
    """Return how many products one element of the result sums."""
    inputs, output = subscripts.split("->")
    left, right = inputs.split(",")
    sizes = {**dict(zip(left, x.shape, strict=True)), **dict(zip(right, y.shape, strict=True))}
    return int(np.prod([size for letter, size in sizes.items() if letter not in output]))
