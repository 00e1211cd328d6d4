"""Numbers known within errors, and what honest products and sums of them lose: a running error analysis.

For x and y known within e_x and e_y, with m for what a sum that made one of them was rounded against:

    x y     e_x(|y| + e_y) + |x|e_y + u(m_x + e_x)(m_y + e_y) + η(1 + |x| + e_x)(1 + |y| + e_y)
    x + y   e_x + e_y + u(m_x + m_y + e_x + e_y) + η
    Σ x     Σ e + (k − 1)u Σ(m + e) + kη, k terms in any order

(Higham, Accuracy and Stability of Numerical Algorithms, sections 2.2, 3.1 and 4.2.) The last two
dimensions of every array are rows and heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._validate import Float


@dataclass(frozen=True, eq=False)
class Near:
    """Exact numbers, with their signs, and how far from them honest ones may lie.

    Attributes
    ----------
    value, error
        (..., b, h).
    mass
        What is rounded where the number is used: |value|, or the moduli of the sum that it is.
    peak
        (b, h): the largest number on the way, for the analysis of range.
    arithmetic
        The facts about the implementation.
    """

    value: Float
    error: Float
    mass: Float
    peak: Float
    arithmetic: Arithmetic

    def __mul__(self, other: Near) -> Near:
        x, y = np.abs(self.value), np.abs(other.value)
        most_x, most_y = x + self.error, y + other.error
        error = self.error * most_y + x * other.error + flushed(self.arithmetic, most_x, most_y)
        error += self.arithmetic.u * (self.mass + self.error) * (other.mass + other.error)
        return self._made(self.value * other.value, error, self.mass * other.mass, other)

    def __add__(self, other: Near) -> Near:
        error = self.error + other.error
        size = self.mass + other.mass
        error = error + self.arithmetic.u * (size + error) + self.arithmetic.eta
        return self._made(self.value + other.value, error, size, other)

    def __neg__(self) -> Near:
        return replace(self, value=-self.value)

    def __getitem__(self, index: Any) -> Near:
        """A part, rows and heads as they are."""
        return replace(self, value=self.value[index], error=self.error[index], mass=self.mass[index])

    def summed(self, *axes: int) -> Near:
        """The sum over some dimensions but rows and heads, in any order."""
        k, arithmetic = prod(self.value.shape[axis] for axis in axes), self.arithmetic
        size = self.mass.sum(axes)
        error = self.error.sum(axes)
        error = error + max(k - 1, 0) * arithmetic.u * (size + error) + k * arithmetic.eta
        value = self.value.sum(axes)
        return self._made(value, error, np.abs(value), self, size)

    def wider(self, error: Float | float) -> Near:
        """The same with an error added."""
        return replace(self, error=self.error + error)

    def _made(self, value: Float, error: Float, mass: Float, other: Near, size: Float | None = None) -> Near:
        """A number made of two."""
        peak = np.maximum(self.peak, other.peak)
        peak = np.maximum(peak, largest((mass if size is None else size) + error))
        return Near(value, error, mass, peak, self.arithmetic)


def near(
    value: Float,
    arithmetic: Arithmetic,
    error: Float | float = 0.0,
    mass: Float | None = None,
    peak: Float | None = None,
) -> Near:
    """Numbers known within an error; exact by default."""
    e = np.broadcast_to(np.asarray(error, dtype=np.float64), value.shape)
    m = np.abs(value) if mass is None else mass
    return Near(value, e, m, largest(m + e if peak is None else peak), arithmetic)


def largest(size: Float) -> Float:
    """The largest of each row and head, (b, h)."""
    most: Float = size.max(axis=tuple(range(size.ndim - 2)), initial=0.0)
    return most
