"""Numbers that are the same everywhere: short binary fractions from a generator that Python keeps stable."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BITS: Final = {"bfloat16": 8, "float32": 24, "float64": 53}
"""Significant bits of each type."""


class Dice:
    """Numbers of so many significant bits, drawn in order.

    Parameters
    ----------
    name
        What the sequence is drawn from: the same name gives the same numbers.
    exact_in
        The type that holds each number exactly.
    """

    def __init__(self, name: str, exact_in: str = "bfloat16") -> None:
        self.exact_in = exact_in
        self._random = Random(name)
        self._bits = BITS[exact_in]

    def real(self, *shape: int, low: int = -3, high: int = 1) -> Array:
        """Numbers of either sign, their size between 2**low and 2**high."""
        return self.positive(*shape, low=low, high=high) * self._each(shape, lambda: self._below(2) * 2 - 1)

    def positive(self, *shape: int, low: int = -3, high: int = 1) -> Array:
        """Numbers between 2**low and 2**high."""
        half = 2 ** (self._bits - 1)
        mantissa = self._each(shape, lambda: half + self._below(half))
        exponent = self._each(shape, lambda: low + self._below(high - low))
        scaled: Array = np.ldexp(mantissa / half, exponent.astype(np.int64))
        return scaled

    def general(self, *shape: int, complex_: bool, low: int = -3, high: int = 1) -> Array:
        """Real or complex numbers."""
        real = self.real(*shape, low=low, high=high)
        return real + 1j * self.real(*shape, low=low, high=high) if complex_ else real

    def modes(self, *shape: int, complex_: bool) -> Array:
        """Decaying rates, with a frequency each if complex."""
        rates = -self.positive(*shape, low=-4, high=2)
        return rates + 1j * self.real(*shape, low=-2, high=3) if complex_ else rates

    def integers(self, *shape: int, below: int) -> NDArray[np.int64]:
        """Integers from 0 on."""
        return self._each(shape, lambda: self._below(below)).astype(np.int64)

    def _below(self, count: int) -> int:
        # `random()` alone is promised to stay the same from one Python to the next.
        return int(self._random.random() * count)

    def _each(self, shape: tuple[int, ...], make: Any) -> Array:
        return np.array([make() for _ in range(int(np.prod(shape)))], dtype=np.float64).reshape(shape)
