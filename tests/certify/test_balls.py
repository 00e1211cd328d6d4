"""From balls to floats: every rounding in the right direction, and to nearest where that is promised."""

import math
from fractions import Fraction

import numpy as np
import pytest
from flint import arb

from ssm_spec.certify import _balls as balls

TINY, HUGE = 2.0**-1074, 1.7976931348623157e308


def as_ball(x: Fraction) -> arb:
    with balls.precision(4000):
        return arb(x.numerator) / x.denominator


@pytest.mark.parametrize("x", [0.0, 1.0, -1.5, TINY, -3 * TINY, 2.0**-1022, HUGE, -HUGE, math.pi])
def test_a_float_goes_in_and_out_unchanged(x):
    assert balls.to_nearest(balls.exact(x)[()]) == x


@pytest.mark.parametrize(
    ("exact", "nearest"),
    [
        (1 + Fraction(1, 2**53), 1.0),  # a tie goes to even
        (1 + Fraction(3, 2**53), 1 + 2.0**-51),
        (1 + Fraction(1, 2**53) + Fraction(1, 2**900), 1 + 2.0**-52),
        (Fraction(1, 2**1075), 0.0),  # half the least subnormal
        (Fraction(3, 2**1076), TINY),
        (-Fraction(3, 2**1075), -2 * TINY),
        (Fraction(2**1024 - 2**970 - 1), HUGE),
        (Fraction(2**1024 - 2**970), math.inf),
        (-Fraction(2**5000), -math.inf),
        (Fraction(1, 2**3000), 0.0),
    ],
)
def test_to_nearest_is_what_ieee_754_says(exact, nearest):
    assert balls.to_nearest(as_ball(exact)) == nearest


def test_the_ends_are_the_floats_next_to_the_ball():
    with balls.precision(200):
        third = balls.exact(np.array([1.0, -1.0, 0.5])) / 3
        low, high = balls.lower_end(third), balls.upper_end(third)
    exact = [Fraction(1, 3), Fraction(-1, 3), Fraction(1, 6)]
    assert all(Fraction(a) < x < Fraction(b) for a, x, b in zip(low, exact, high, strict=True))
    np.testing.assert_array_equal(np.nextafter(low, np.inf), high)


def test_a_ball_that_holds_a_tie_is_not_rounded():
    with balls.precision(200):
        tie = arb(1) + arb(2.0**-53)
        values, decided = balls.rounded(np.array([arb(1, 2.0**-60), arb(tie, 2.0**-60)], dtype=object))
    assert decided.tolist() == [True, False]
    assert values[0] == 1


def test_distances_lie_on_their_sides():
    found = np.array([1.0, 2.0])
    near = np.array([arb(1 + 2.0**-40, 2.0**-50), arb(2)], dtype=object)
    low, high = balls.nearest(near, found), balls.farthest(near, found)
    assert low[0] <= 2.0**-40 - 2.0**-50 < 2.0**-40 + 2.0**-50 <= high[0] < 1.01 * 2.0**-40
    assert low[1] == high[1] == 0


def test_a_distance_that_is_a_float_is_that_float():
    """So that an error of exactly its bound is inside it: 1 + u rounds to 1, which is u away."""
    with balls.precision(200):
        exact = np.array([arb(1) + arb(2.0**-53)], dtype=object)
        assert balls.farthest(exact, np.array([1.0])) == balls.nearest(exact, np.array([1.0])) == 2.0**-53
