"""Arrays of balls: exact from floats, out again with every rounding accounted for.

A real ball (`arb`) is a midpoint and a radius that holds the number; a complex one (`acb`) a rectangle
of two (Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic", 2017).
Arrays of them are NumPy arrays of objects, whose arithmetic is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import copysign, inf, nextafter
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec.certify._flint import acb, arb, ctx

Balls = NDArray[Any]
Float = NDArray[np.float64]

ZERO: Final = arb(0)
_FAR: Final = 2000
"""Binary exponents beyond this are zero or infinity in float64, whatever the mantissa."""


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Work with midpoints of so many bits."""
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


def elementwise(function: Callable[..., Any], *arrays: Balls) -> Balls:
    """Apply a function of balls to each element; the result is an array of objects, 0-d too."""
    result: Balls = np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=object)
    return result


def exact(array: ArrayLike) -> Balls:
    """Exactly the numbers of a float or complex array, as balls of radius zero."""
    numbers = np.asarray(array)
    if numbers.dtype.kind == "c":
        return elementwise(lambda x: acb(x.real, x.imag), numbers.astype(np.complex128).astype(object))
    return elementwise(arb, numbers.astype(np.float64).astype(object))


def filled(shape: tuple[int, ...], ball: Any = ZERO) -> Balls:
    """An array of one ball; balls are immutable, so it may be shared."""
    return np.full(shape, ball, dtype=object)


def total(array: Balls, axis: int | tuple[int, ...]) -> Balls:
    """The sum over some dimensions."""
    result: Balls = np.asarray(np.add.reduce(array, axis=axis, initial=ZERO), dtype=object)
    return result


def conjugate(array: Balls) -> Balls:
    """The complex conjugate; among complex balls there may be real ones, zeros say."""
    return elementwise(lambda x: x.conjugate() if isinstance(x, acb) else x, array)


def real_part(array: Balls) -> Balls:
    """The real part of real or complex balls."""
    return elementwise(lambda x: x.real, array)


def imaginary_part(array: Balls) -> Balls:
    """The imaginary part of real or complex balls."""
    return elementwise(lambda x: x.imag, array)


def farthest(array: Balls, value: NDArray[Any]) -> Float:
    """|value − x| for the x of the ball that is farthest from it, rounded up: an upper bound on the error.

    Zero means: below half of float64's least number, which is as near as float64 can say.
    """
    away = array - exact(value)
    return elementwise(lambda x: _beside(x.abs_upper(), inf), away).astype(np.float64)


def nearest(array: Balls, value: NDArray[Any]) -> Float:
    """|value − x| for the x of the ball that is nearest to it, rounded down: a lower bound on the error."""
    away = array - exact(value)
    return elementwise(lambda x: _beside(x.abs_lower(), -inf), away).astype(np.float64)


def lower_end(array: Balls) -> Float:
    """For real balls: the largest floats below all of each."""
    return elementwise(lambda x: _directed(x.lower(), -inf), array).astype(np.float64)


def upper_end(array: Balls) -> Float:
    """For real balls: the smallest floats above all of each."""
    return elementwise(lambda x: _directed(x.upper(), inf), array).astype(np.float64)


def rounded(array: Balls) -> tuple[Float, NDArray[np.bool_]]:
    """For real balls: the float64 nearest to each, and whether it is that of the whole ball.

    To be called at the balls' own precision or more: at a lower one their ends are rounded outwards.
    """
    low = elementwise(lambda x: to_nearest(x.lower()), array).astype(np.float64)
    high = elementwise(lambda x: to_nearest(x.upper()), array).astype(np.float64)
    return low + 0.0, low == high  # −0 + 0 is 0: the sign of a zero means nothing here


def to_nearest(end: arb) -> float:
    """The float64 nearest to an exact ball, ties to even; subnormals and overflow as IEEE 754 has them."""
    if not end.is_finite():
        return float(end)
    mantissa, exponent = (int(part) for part in end.man_exp())
    size = mantissa.bit_length() + exponent
    if mantissa == 0 or size < -_FAR:
        return 0.0
    if size > _FAR:
        return copysign(inf, mantissa)
    try:
        # Python rounds an integer, and a quotient of two, once and to nearest.
        return float(mantissa << exponent) if exponent >= 0 else mantissa / (1 << -exponent)
    except OverflowError:
        return copysign(inf, mantissa)


def _beside(distance: arb, direction: float) -> float:
    """The float64 next to a distance on one side of it, but zero for what rounds to zero."""
    return _directed(distance, direction) if to_nearest(distance) else 0.0


def _directed(end: arb, direction: float) -> float:
    """The float64 next to an exact ball on one side of it."""
    near = to_nearest(end)
    wrong = arb(near) < end if direction > 0 else arb(near) > end
    return nextafter(near, direction) if wrong else near
