"""Twice the working precision: error-free where it says so, and within its bound elsewhere."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from ssm_spec._double_double import (
    UNIT,
    DoubleDouble,
    add,
    divide,
    dot_error,
    exact,
    matmul,
    multiply,
    two_product,
    two_sum,
)


def wild(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape) * 10.0 ** rng.uniform(-12, 12, shape)


def pair(rng: np.random.Generator, *shape: int) -> DoubleDouble:
    return two_sum(wild(rng, *shape), wild(rng, *shape))


def fraction(x: DoubleDouble, i: tuple[int, ...]) -> Fraction:
    return Fraction(float(x.hi[i])) + Fraction(float(x.lo[i]))


def test_sum_and_product_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = wild(rng, 500), wild(rng, 500)
    s, p = two_sum(a, b), two_product(a, b)
    for i in range(500):
        assert fraction(s, (i,)) == Fraction(a[i]) + Fraction(b[i])
        assert fraction(p, (i,)) == Fraction(a[i]) * Fraction(b[i])


def test_arithmetic_is_right_to_a_few_squared_units() -> None:
    rng = np.random.default_rng(1)
    a, b = pair(rng, 300), pair(rng, 300)
    results = {3: add(a, b), 7: multiply(a, b), 4: divide(a, 7.0)}
    for i in range(300):
        x, y = fraction(a, (i,)), fraction(b, (i,))
        for units, true in ((3, x + y), (7, x * y), (4, x / 7)):
            assert abs(fraction(results[units], (i,)) - true) <= units * Fraction(UNIT) ** 2 * abs(true)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 2), (5, 31, 4)])
def test_matrix_product_keeps_its_bound(shape: tuple[int, int, int]) -> None:
    i, k, j = shape
    rng = np.random.default_rng(k)
    a, b = pair(rng, i, k), pair(rng, k, j)
    product = matmul(a, b)
    for row, column in np.ndindex(i, j):
        terms = [fraction(a, (row, q)) * fraction(b, (q, column)) for q in range(k)]
        size = sum(abs(t) for t in terms)
        assert abs(fraction(product, (row, column)) - sum(terms)) <= Fraction(dot_error(k)) * size


def test_what_no_path_reaches_is_exactly_zero() -> None:
    rng = np.random.default_rng(2)
    a, b = np.tril(wild(rng, 2, 9, 9)), np.tril(wild(rng, 2, 9, 9))
    product = matmul(exact(a), exact(b))
    assert not np.any(np.triu(product.hi, 1))
    assert np.all(product.hi[:, np.tri(9, dtype=bool)] != 0)
