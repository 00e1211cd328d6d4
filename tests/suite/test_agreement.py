"""Results of one meaning agree: an angle modulo its period, a state with the argument that takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_backends import OPERATORS, choose_forms
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.checks import perform
from ssm_conformance.checks.agreement import agree, worst_of
from ssm_conformance.checks.perturb import beyond_two_bounds
from ssm_conformance.checks.pieces import carried
from ssm_conformance.checks.subject import Stored
from ssm_conformance.judge import measure
from ssm_conformance.mutants.kernels.mamba3 import Reduced, Siso
from ssm_conformance.mutants.mutant import serving
from ssm_conformance.storage import store
from ssm_spec import Bounded

TURN = 2 * np.pi


def compared(x: float, y: float, period: float | None) -> tuple[float, bool]:
    """Of two numbers with the bound 1e-6: the distance over two bounds, and whether it is beyond them."""
    one, two = (Stored(np.array([value], np.float32), "float32") for value in (x, y))
    exact = Bounded(one.exact, np.array([1e-6]), np.zeros(1), np.array([True]))
    beyond = beyond_two_bounds(one, two, exact, "float32", period)
    return agree(one, two, exact, "float32", period).ratio, bool(beyond[0])


def test_an_angle_is_compared_modulo_its_period() -> None:
    assert compared(1.0, 1.0 + TURN, None) == (pytest.approx(TURN / 2e-6), True)
    ratio, beyond = compared(1.0, 1.0 + 3 * TURN, TURN)
    assert ratio < 1
    assert not beyond
    ratio, beyond = compared(1.0, 1.00001 + TURN, TURN)
    assert ratio > 1
    assert beyond


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_complex_numbers_are_compared_before_they_were_rounded(compute: str) -> None:
    """In a wider type than they are stored in: two neighbours may stand for one number."""
    x = np.array([1 + 0.5j, 1 + 0.5j], np.complex64)
    unit = np.float32(2.0**-23)
    other = x + np.array([unit, 2 * unit * 1j], np.complex64)
    exact = Bounded(x.astype(complex), np.full(2, 1e-12), np.zeros(2), np.full(2, True))
    one, two = Stored(x, "complex64"), Stored(other, "complex64")
    ratio = agree(one, two, exact, compute).ratios
    assert (ratio[0] == 0) == (compute == "float64")
    assert ratio[1] > 1e4


@pytest.mark.parametrize(("dtype", "step"), [("bfloat16", 2.0**-7), ("float16", 2.0**-10)])
def test_numbers_of_16_bits_are_compared_before_they_were_rounded(dtype: str, step: float) -> None:
    one, two = (Stored(store(1 + step * np.arange(3) * k, dtype), dtype) for k in (0, 1))
    exact = Bounded(one.exact, np.full(3, 1e-12), np.zeros(3), np.full(3, True))
    same, next_, second = agree(one, two, exact, "float32").ratios
    assert same == next_ == 0  # neighbours may stand for one number
    assert second == pytest.approx(step / 2e-12)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(0.5, 0.2, 0.5), (0.2, 0.5, 0.5), (0.2, 3.0, 3.0), (2.0, 3.0, 3.0), (3.0, 0.5, 3.0),
     (np.nan, 3.0, np.nan), (3.0, np.nan, np.nan)],
)  # fmt: skip
def test_of_two_judgements_the_greater_is_kept(first: float, second: float, kept: float) -> None:
    one, two = (
        measure(np.array([ratio]), np.ones(1), np.array([True]), np.zeros(1), np.zeros(1))
        for ratio in (first, second)
    )
    found = worst_of({"y": one}, {"y": two, "s": two})
    np.testing.assert_equal([found["y"].ratio, found["s"].ratio], [kept, second])


class BySize(Siso):
    """θ is reduced where there is more than one row, or more than one sequence: both mean the same."""

    def __call__(self, **given: Any) -> Any:
        kernel = Reduced() if len(given["v"]) > 1 or "seq_idx" in given else Siso()
        return kernel(**given)


@pytest.mark.parametrize("name", ["batch-alone-typical", "separate-packed", "batch-reversed-typical"])
def test_another_form_of_an_angle_is_the_same_angle(name: str) -> None:
    found = perform(find_case(f"mamba3_siso/property/float32/{name}"), serving("x", BySize()))
    assert found.status == "pass", found.message


def test_an_angle_may_be_reduced_where_no_step_is_taken() -> None:
    found = perform(find_case("mamba3_siso/robustness/float32/empty"), serving("x", Reduced()))
    assert found.status == "pass", found.message


@pytest.mark.parametrize("op", [name for name, operator in OPERATORS.items() if carried(operator)])
def test_a_state_goes_to_the_argument_of_its_shape(op: str) -> None:
    operator = OPERATORS[op]
    case = next(
        c for c in catalogue("full") if c.op == op and set(carried(operator).values()) <= set(c.draws)
    )
    forms = choose_forms(operator, case.draws | case.plain)
    outputs = {output.name: output for output in operator.outputs}
    for name, given in carried(operator).items():
        assert outputs[name].shape == forms[given].shape
        assert outputs[name].role == forms[given].role == "state"
    assert {output.name for output in operator.outputs if output.role == "state"} == set(carried(operator))
