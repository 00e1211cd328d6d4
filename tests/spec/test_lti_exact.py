"""The linear rooms against balls: every value and gradient lies within the oracle's own proven bound."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic
from ssm_spec._kernel import powers

from . import lti_exact as exact

F64 = Arithmetic(compute="float64")
WORST: dict[tuple[str, str], float] = {}
KINDS = [(False, False), (False, True), (True, False), (True, True)]


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    """Print the worst |error| / own of each output and gradient; shown with -s."""
    yield
    for (op, name), ratio in sorted(WORST.items()):
        print(f"{op:20} {name:14} {ratio:.2g}")


def numbers(rng: np.random.Generator, complex_: bool, *shape: int) -> Any:
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if complex_ else x


def check(
    op: str,
    function: exact.Exact,
    arrays: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Hold values and all gradients of one system to the balls, within `own` alone."""
    reference = ssm_spec.REFERENCES[op]
    rng = np.random.default_rng(7)
    with exact.precision(400):
        true = function(**{name: exact.balls(value) for name, value in arrays.items()})
    found = reference.bounds(arithmetic=F64, **arrays, **options)
    cotangents = {k: numbers(rng, np.iscomplexobj(b.value), *b.value.shape) for k, b in found.items()}
    assert reference.vjp is not None
    assert reference.vjp_bounds is not None
    values = reference.vjp(cotangents, **arrays, **options)
    slopes = reference.vjp_bounds(cotangents, arithmetic=F64, **arrays, **options)
    assert values.keys() == slopes.keys() == arrays.keys()
    for name, slope in slopes.items():
        np.testing.assert_array_equal(values[name], slope.value)
        assert slope.value.shape == np.shape(arrays[name])
        true[f"d{name}"] = exact.gradient(function, arrays, cotangents, name)
    for name, bounded in {**found, **{f"d{k}": v for k, v in slopes.items()}}.items():
        assert np.all(bounded.judged)
        error = exact.distance(bounded.value, true[name])
        np.testing.assert_array_less(error, bounded.own + 1e-320, err_msg=name)
        ratio = float(np.max(error / (bounded.own + 1e-320), initial=0.0))
        WORST[op, name] = max(WORST.get((op, name), 0.0), ratio)


@pytest.mark.parametrize(("diagonal", "complex_"), KINDS)
@pytest.mark.parametrize(("n", "m", "delta"), [(1, 1, 0.7), (3, 2, 1.3), (4, 1, 1e-3)])
def test_zero_order_hold(diagonal: bool, complex_: bool, n: int, m: int, delta: float) -> None:
    rng = np.random.default_rng(n)
    A = numbers(rng, complex_, *((n,) if diagonal else (n, n))) * 2
    arrays = {"A": A, "B": numbers(rng, complex_, n, m), "delta": np.array(delta)}
    check("discretize_zoh", exact.zoh, arrays, {"diagonal": diagonal})


@pytest.mark.parametrize(("diagonal", "complex_"), KINDS)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.3, 1.0])
def test_bilinear(diagonal: bool, complex_: bool, alpha: float) -> None:
    rng = np.random.default_rng(3)
    A = numbers(rng, complex_, *((3,) if diagonal else (3, 3)))
    arrays = {"A": A, "B": numbers(rng, complex_, 3, 2), "delta": np.array(0.37)}
    options = {"diagonal": diagonal, "alpha": alpha}
    check("discretize_bilinear", partial(exact.bilinear, alpha=alpha), arrays, options)


@pytest.mark.parametrize("by", ["columns", "rows", "both"])
def test_bilinear_is_solved_however_its_rows_and_columns_are_scaled(by: str) -> None:
    """W = I − A/2 of condition 10³⁹ for its scales alone: [[1.5, −5·10¹⁹], [0, 5·10¹⁹]] is one by columns."""
    scale = np.array([1.0, 5e19, 3e-9])
    W = np.array([[1.5, -1.0, 2.0], [0.0, 1.0, 0.5], [1.0, 0.25, -1.0]])
    W = W * (scale if by != "rows" else 1.0) * (scale[::-1, None] if by != "columns" else 1.0)
    arrays = {
        "A": 2 * (np.eye(3) - W),
        "B": np.array([[1.0, 0.5], [2.0, -1.0], [0.0, 3.0]]),
        "delta": np.array(1.0),
    }
    check("discretize_bilinear", partial(exact.bilinear, alpha=0.5), arrays, {})
    B_bar = ssm_spec.discretize_bilinear_bounds(arithmetic=F64, **arrays)["B_bar"]
    assert np.all(B_bar.own <= 1e-15 * np.abs(B_bar.value))


@pytest.mark.parametrize(("diagonal", "complex_"), KINDS)
@pytest.mark.parametrize("length", [1, 5])
def test_recurrence(diagonal: bool, complex_: bool, length: int) -> None:
    rng = np.random.default_rng(length)
    n, m, p, b = 3, 2, 1, 2
    arrays = {
        "A_bar": numbers(rng, complex_, *((n,) if diagonal else (n, n))),
        "B_bar": numbers(rng, complex_, n, m),
        "C": numbers(rng, complex_, p, n),
        "u": numbers(rng, False, b, m, length),
        "D": numbers(rng, False, p, m),
        "initial_state": numbers(rng, complex_, b, n),
    }
    function = partial(exact.recurrence, paired=diagonal and complex_)
    check("ssm_recurrence", function, arrays, {"diagonal": diagonal})


@pytest.mark.parametrize(("diagonal", "complex_"), KINDS)
@pytest.mark.parametrize("length", [1, 7])
def test_kernel(diagonal: bool, complex_: bool, length: int) -> None:
    rng = np.random.default_rng(length)
    arrays = {
        "A_bar": numbers(rng, complex_, *((3,) if diagonal else (3, 3))),
        "B_bar": numbers(rng, complex_, 3, 2),
        "C": numbers(rng, complex_, 1, 3),
    }
    function = partial(exact.kernel, length=length, paired=diagonal and complex_)
    check("ssm_kernel", function, arrays, {"diagonal": diagonal, "length": length})


@pytest.mark.parametrize(("length", "k"), [(1, 1), (5, 3), (3, 7)])
def test_convolution(length: int, k: int) -> None:
    rng = np.random.default_rng(k)
    arrays = {"u": numbers(rng, False, 2, 3, length), "K": numbers(rng, False, 3, k)}
    check("causal_convolution", exact.convolution, arrays, {})


@pytest.mark.parametrize(("n", "delta"), [(1, 10.0), (17, 1e-4), (64, 1e-4), (64, 0.1), (64, 10.0)])
def test_legs_is_right_in_every_entry(n: int, delta: float) -> None:
    """SciPy's expm loses up to 10 digits here; this must lose none, and know it."""
    A, B = ssm_spec.hippo_legs(n)
    found = ssm_spec.discretize_zoh_bounds(arithmetic=F64, A=A, B=B, delta=delta)
    with exact.precision(600):
        true = exact.zoh(exact.balls(A), exact.balls(B), exact.balls(delta))
    for name, bounded in found.items():
        error, size = exact.distance(bounded.value, true[name]), np.abs(bounded.value)
        assert np.all(error <= bounded.own)
        big = size > 1e-300
        assert np.all(error[big] <= 1.01 * 2.0**-53 * size[big])
        assert np.all(bounded.own[big] <= 2.0**-48 * size[big])
    assert not np.any(np.triu(found["A_bar"].value, 1))


@pytest.mark.parametrize("n", [1, 17, 64])
def test_legs_bilinear_is_right_down_to_entries_of_a_few_units_of_the_norm(n: int) -> None:
    A, B = ssm_spec.hippo_legs(n)
    found = ssm_spec.discretize_bilinear_bounds(arithmetic=F64, A=A, B=B, delta=0.1)
    with exact.precision(600):
        true = exact.bilinear(exact.balls(A), exact.balls(B), exact.balls(0.1), 0.5)
    for name, bounded in found.items():
        error, size = exact.distance(bounded.value, true[name]), np.abs(bounded.value)
        # The balls' own elimination exchanges rows, and leaves radii of 1e-170 where zeros belong.
        assert np.all(error <= bounded.own + 1e-150)
        assert np.all(error <= 1.01 * 2.0**-53 * np.maximum(size, 2.0**-48 * np.max(size)) + 1e-150)
    assert not np.any(np.triu(found["A_bar"].value, 1))


@pytest.mark.parametrize(("turns", "offset"), [(0, 1e-9), (0, 0.7), (1, 1e-9), (1000, 1e-6), (10**6, 1e-3)])
def test_modes_are_right_near_every_zero_of_expm1(turns: int, offset: float) -> None:
    modes = (np.array([1j, -1.0 + 1j, 1.0 - 1j, 1.0, -1.0]) * offset + 2j * np.pi * turns) / 0.7
    inputs = {"A": modes, "B": np.ones((5, 1), dtype=complex), "delta": np.array(0.7)}
    found = ssm_spec.discretize_zoh_bounds(arithmetic=F64, **inputs, diagonal=True)
    with exact.precision(400):
        true = exact.zoh(*(exact.balls(x) for x in inputs.values()))
    for name, bounded in found.items():
        error = exact.distance(bounded.value, true[name])
        assert np.all(error <= bounded.own)
        assert np.max(error / exact.modulus(true[name])) < 8 * 2.0**-53


def test_a_thousand_powers_are_right_to_two_units() -> None:
    modes = np.array([0.999, -0.75, 0.5 + 0.86j, 0.0, 1.01 - 0.1j])
    table = powers(modes[None], 1000)[0]
    with exact.precision(300):
        for mode, row in zip(exact.balls(modes), table, strict=True):
            true = np.array([mode**j for j in range(0, 1000, 37)], dtype=object)
            assert np.all(exact.distance(row[::37], true) <= 2 * 2.0**-53 * exact.modulus(true) + 1e-320)
