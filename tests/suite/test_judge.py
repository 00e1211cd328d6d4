"""The judge itself, on errors of known size."""

import numpy as np
import pytest

from ssm_conformance.checks.finding import describe, worst_message
from ssm_conformance.judge import judge
from ssm_conformance.storage import store
from ssm_spec import Bounded


def exact(value: object, bound: float, own: float = 0.0, judged: object = True) -> Bounded:
    values = np.asarray(value)
    return Bounded(
        value=values,
        bound=np.full(values.shape, bound),
        own=np.full(values.shape, own),
        judged=np.broadcast_to(np.asarray(judged), values.shape),
    )


@pytest.mark.parametrize(("error", "passes"), [(0.0, True), (1.0, True), (1.5, True), (1.5000001, False)])
def test_an_element_passes_up_to_bound_plus_own(error: float, passes: bool) -> None:
    found = judge(np.array([0.0, error]), "float64", "float64", exact([0.0, 0.0], 1.0, own=0.5))
    assert found.passed is passes
    assert found.ratio == pytest.approx(error / 1.5)


def test_it_names_the_worst_element_and_what_stood_there() -> None:
    actual = np.zeros((3, 5))
    actual[1, 3] = 4.0
    found = judge(actual, "float64", "float64", exact(np.zeros((3, 5)), 0.5))
    assert (found.where, found.value, found.expected, found.ratio) == ((1, 3), 4.0, 0.0, 8.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_passes_where_values_are_judged(bad: float) -> None:
    found = judge(np.array([0.0, bad]), "float64", "float64", exact([0.0, 0.0], 1e300))
    assert not found.passed
    assert found.where == (1,)


def test_a_zero_bound_demands_the_exact_value() -> None:
    assert judge(np.array([2.0]), "float64", "float64", exact([2.0], 0.0)).ratio == 0.0
    assert judge(np.array([2.0 + 2**-50]), "float64", "float64", exact([2.0], 0.0)).ratio == np.inf


def test_what_is_not_judged_is_excused_and_counted() -> None:
    found = judge(np.array([np.nan, 0.0]), "float64", "float64", exact([0.0, 0.0], 1.0, judged=[False, True]))
    assert found.passed
    assert (found.excused, found.size) == (1, 2)


def test_an_infinite_bound_excuses_too() -> None:
    assert judge(np.array([5.0]), "float64", "float64", exact([0.0], np.inf)).excused == 1


def test_storing_a_complex_number_that_was_computed_in_float64_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(1001) + 1j * rng.standard_normal(1001)
    narrow = values.astype(np.complex64)
    assert judge(narrow, "complex64", "float64", exact(values, 1e-12)).ratio == 0.0
    assert judge(narrow, "complex64", "float32", exact(values, 1e-12)).ratio > 1e4
    for part in (1, 1j):
        one_off = narrow.copy()
        one_off[7] += np.complex64(part * 2.0**-20)
        found = judge(one_off, "complex64", "float64", exact(values, 1e-12))
        assert found.where == (7,)
        assert found.ratio > 1e4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_storing_in_sixteen_bits_costs_nothing(dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal(1001)
    assert judge(store(values, dtype), dtype, "float32", exact(values, 1e-12)).ratio == 0.0


def test_sixteen_bits_are_judged_by_distance_to_the_preimage() -> None:
    stored = store(np.array([1.0]), "bfloat16")  # the reals in [1 - 2^-9, 1 + 2^-8] round to it
    found = judge(stored, "bfloat16", "float32", exact([1 + 2.0**-8 + 1e-4], 1e-4))
    assert found.ratio == pytest.approx(1.0)


def test_complex_elements_are_judged_by_modulus() -> None:
    found = judge(np.array([3 + 4j]), "complex128", "float64", exact(np.array([0j]), 5.0))
    assert found.ratio == pytest.approx(1.0)


def test_nothing_to_judge_is_no_failure() -> None:
    found = judge(np.empty((2, 0)), "float64", "float64", exact(np.empty((2, 0)), 1.0))
    assert found.passed
    assert (found.ratio, found.where, found.size) == (0.0, None, 0)


def test_an_angle_is_measured_modulo_its_period() -> None:
    turn = 2 * np.pi
    meant = exact([0.5, 0.5, 0.5], 1e-3)
    found = np.array([0.5 + 3 * turn, 0.5 - turn + 5e-4, 0.5 + turn])
    assert judge(found, "float64", "float64", meant, turn).passed
    assert not judge(found, "float64", "float64", meant).passed
    half = np.array([0.5 + turn / 2, 0.5, 0.5])
    assert not judge(half, "float64", "float64", meant, turn).passed


def test_a_message_counts_what_is_beyond_its_bound() -> None:
    errors = np.array([0.5, 1.0, 3.0, 1.5])
    told = "y[2] = 3; expected 0 ± 1: 3 times the bound (2 of 4 elements are beyond theirs)"
    assert describe("y", judge(errors, "float64", "float64", exact(np.zeros(4), 1.0))) == told
    errors[1] = np.nan
    told = "y[1] is NaN where a finite value was expected, 0 ± 1 (3 of 4 elements are beyond their bounds)"
    assert describe("y", judge(errors, "float64", "float64", exact(np.zeros(4), 1.0))) == told
    told = "y[0] = 0.5; expected exactly 0 (1 of 2 elements are beyond their bounds)"
    found = judge(np.array([0.5, 0.0]), "float64", "float64", exact(np.zeros(2), 0.0))
    assert describe("y", found) == told


@pytest.mark.parametrize(
    ("c", "others"), [(0.5, "a is beyond its bound too"), (1.5, "a, c are beyond their bounds too")]
)
def test_a_message_tells_the_three_worst_and_names_the_others(c: float, others: str) -> None:
    ratios = {"a": 2.0, "b": 9.0, "c": c, "d": np.nan, "e": 5.0}
    found = {
        name: judge(np.array([ratio]), "float64", "float64", exact(np.zeros(1), 1.0))
        for name, ratio in ratios.items()
    }
    *told, last = worst_message(found).split("); ")
    assert [part[:4] for part in told] == ["b[0]", "d[0]", "e[0]"]
    assert last == others
