"""Numbers known within errors, and what honest products and sums of them lose: a running error analysis.

For x and y known within e_x and e_y, with m for what a sum that made one of them was rounded against:

    x y     e_x(|y| + e_y) + |x|e_y + u(m_x + e_x)(m_y + e_y) + ηF_x F_y,   F_xy = F_x F_y,  R_xy = R_x R_y
    x + y   e_x + e_y + u(m_x + m_y + e_x + e_y) + η,                       F_x + F_y,      R_x + R_y
    Σ x     Σ e + (k − 1)u Σ(m + e) + kη, k terms in any order,             ΣF,             ΣR

In one sum with k′ terms of another, k + k′ − 1.

The rule of the factors: F is 1 + |x| + e of what is no product, so that in all F = Σ Π(1 + |f|), and η times
it is lost in any order of the factors, before a sum is taken or after; R = Σ Π(1 + u_m) max(1, |f|) is the
largest number that any order meets.

(Higham, Accuracy and Stability of Numerical Algorithms, sections 2.2, 3.1 and 4.2.) The last two
dimensions of every array are rows and heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import reached
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
    factors, reach
        F and R.
    peak
        (b, h): the largest number on the way, for the analysis of range.
    arithmetic
        The facts about the implementation.
    """

    value: Float
    error: Float
    mass: Float
    factors: Float
    reach: Float
    peak: Float
    arithmetic: Arithmetic

    def __mul__(self, other: Near) -> Near:
        x, y = np.abs(self.value), np.abs(other.value)
        factors, reach = self.factors * other.factors, self.reach * other.reach
        error = self.error * (y + other.error) + x * other.error + self.arithmetic.eta * factors
        error += self.arithmetic.u * (self.mass + self.error) * (other.mass + other.error)
        return self._made(self.value * other.value, error, self.mass * other.mass, factors, reach, other)

    def __add__(self, other: Near) -> Near:
        error = self.error + other.error
        size = self.mass + other.mass
        error = error + self.arithmetic.u * (size + error) + self.arithmetic.eta
        factors, reach = self.factors + other.factors, self.reach + other.reach
        return self._made(self.value + other.value, error, size, factors, reach, other)

    def __neg__(self) -> Near:
        return replace(self, value=-self.value)

    def __getitem__(self, index: Any) -> Near:
        """A part, rows and heads as they are."""
        return replace(self, **{name: getattr(self, name)[index] for name in ARRAYS})

    def summed(self, *axes: int, beside: int = 0) -> Near:
        """The sum over some dimensions but rows and heads, in any order, with so many terms of another."""
        k, arithmetic = prod(self.value.shape[axis] for axis in axes), self.arithmetic
        size = self.mass.sum(axes)
        error = self.error.sum(axes)
        error = error + max(k - 1 + beside, 0) * arithmetic.u * (size + error) + k * arithmetic.eta
        value = self.value.sum(axes)
        factors, reach = self.factors.sum(axes), self.reach.sum(axes)
        return self._made(value, error, np.abs(value), factors, np.maximum(reach, size + error), self)

    def wider(self, error: Float | float) -> Near:
        """The same with an error added."""
        return replace(self, error=self.error + error, factors=self.factors + error, reach=self.reach + error)

    def rounded_against(self, mass: Float) -> Near:
        """The same, m being the mass given, or more."""
        size = mass + self.error
        factors, reach = np.maximum(self.factors, 1.0 + size), np.maximum(self.reach, self._reached(size))
        return replace(self, mass=mass, factors=factors, reach=reach)

    def _reached(self, size: Float) -> Float:
        found: Float = reached(self.arithmetic, size)
        return found

    def _made(
        self, value: Float, error: Float, mass: Float, factors: Float, reach: Float, other: Near
    ) -> Near:
        """A number made of two."""
        reach = np.maximum(reach, mass + error)
        peak = np.maximum(np.maximum(self.peak, other.peak), largest(reach))
        return Near(value, error, mass, factors, reach, peak, self.arithmetic)


ARRAYS = ("value", "error", "mass", "factors", "reach")
"""The fields that have the shape of the numbers."""


def near(
    value: Float,
    arithmetic: Arithmetic,
    error: Float | float = 0.0,
    mass: Float | None = None,
    peak: Float | float = 0.0,
    factors: Float | None = None,
    reach: Float | None = None,
) -> Near:
    """Numbers known within an error, exact by default; `factors` and `reach` of what they are products of."""
    e = np.broadcast_to(np.asarray(error, dtype=np.float64), value.shape)
    m = np.abs(value) if mass is None else mass
    size = np.maximum(np.abs(value), m) + e
    most = reached(arithmetic, size) if reach is None else np.maximum(reach, size)
    lost = 1.0 + size if factors is None else np.broadcast_to(factors, value.shape)
    return Near(value, e, m, lost, most, np.maximum(largest(most), peak), arithmetic)


def largest(size: Float) -> Float:
    """The largest of each row and head, (b, h)."""
    most: Float = size.max(axis=tuple(range(size.ndim - 2)), initial=0.0)
    return most
