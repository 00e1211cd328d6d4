"""Sums of products of inexact numbers, and what rounding in any order of summation may add to them.

For z = Σ_k x_k y_k with x and y known within e_x and e_y (Higham 2002, (3.5) and (4.4)):

    |error| <= Σ |x| e_y + e_x (|y| + e_y)  +  (k u + u_m) Σ (|x| + e_x)(|y| + e_y)  +  floor.

The floor lets subnormal products be flushed and subnormal factors be read as zero.
"""

from __future__ import annotations

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
    u_m = arithmetic.product(np.iscomplexobj(x.value) and np.iscomplexobj(y.value))
    terms = _terms(subscripts, x.value, y.value)
    wider_a, wider_b = a + x.error, b + y.error
    moved = summed(subscripts, a, y.error) + summed(subscripts, x.error, wider_b)
    rounded = (terms * arithmetic.u + u_m) * summed(subscripts, wider_a, wider_b)
    flushed = 2 * terms + summed(subscripts, a, np.ones_like(b)) + summed(subscripts, np.ones_like(a), b)
    return np.asarray(moved + rounded + arithmetic.eta * flushed)


def summed(subscripts: str, x: Array, y: Array) -> Array:
    """Return the sum of products itself."""
    return np.asarray(np.einsum(subscripts, x, y, optimize=True))


class Met(NamedTuple):
    """How many roundings a term C h, and one D u, of y = Re(C h) + D u meets: of its product, and in sums."""

    read: float
    passing: float


def met(read: int, passing: int, complex_: bool) -> Met:
    """Return them where n products C h and some D u are summed in any order, D u first or last.

    A complex product is one number, wrong by 2√2 u, or two real ones that are summed apart.
    """
    apart = (2 if complex_ else 1) * read + passing
    together = (2.0 * 2.0**0.5 if complex_ else 1.0) + read + max(passing, 1) - 1
    return Met(max(float(apart), together), float(apart))


def beyond(roundings: Float | float, M: Array, axis: int, arithmetic: Arithmetic) -> Float:
    """Return what so many roundings add to those of a sum of products over an axis of M by itself."""
    counted = M.shape[axis] * arithmetic.u + arithmetic.product(np.iscomplexobj(M))
    return np.asarray(np.maximum(roundings * arithmetic.u - counted, 0.0))


def nonzero(M: Array, axis: int) -> int:
    """Return how many products a sum over an axis of M has at most, zeros of M being none."""
    return int(np.max(np.count_nonzero(M, axis=axis), initial=0))


def _terms(subscripts: str, x: Array, y: Array) -> int:
    """Return how many products one element of the result sums."""
    inputs, output = subscripts.split("->")
    left, right = inputs.split(",")
    sizes = {**dict(zip(left, x.shape, strict=True)), **dict(zip(right, y.shape, strict=True))}
    return int(np.prod([size for letter, size in sizes.items() if letter not in output]))
