"""What the first line of a failure leads its reader to, for slips that a first kernel makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_backends import Backend
from ssm_conformance.cases import find_case
from ssm_conformance.checks import perform
from ssm_conformance.reports.matrix import alike
from ssm_conformance.verdict import Verdict, told_apart
from ssm_numpy import selective_scan, selective_scan_vjp

from . import wrong


def failures(subject: Backend, *cases: str) -> list[Verdict]:
    found = [perform(find_case(f"selective_scan/{case}"), subject) for case in cases]
    assert {verdict.status for verdict in found} == {"fail"}
    return found


VALUES = ("value/float32/typical", "value/float32/groups", "value/float32/initial")
GRADIENTS = ("gradient/float32/typical", "gradient/float32/initial")


def test_axes_in_another_order_are_one_finding_of_all_sizes() -> None:
    found = failures(wrong.backend(wrong.outputs(lambda y, _: y.swapaxes(1, 2))), *VALUES)
    assert found[0].message == (
        "`y` must have shape (2, 6, 37); got (2, 37, 6); likely mistake: the axes of `y` are in another order"
    )
    assert len(alike(found)) == 1


def test_another_dtype_is_told_without_the_shape_that_is_right() -> None:
    found = failures(wrong.backend(wrong.outputs(lambda y, _: y.astype("float64"))), *VALUES)
    assert {verdict.message for verdict in found} == {
        "`y` must have dtype float32 in a call of float32; got float64"
    }


def test_a_gradient_that_keeps_the_batch_is_told() -> None:
    def unsummed(found: dict[str, Any], *_: Any) -> None:
        found["delta_bias"] = np.stack([found["delta_bias"]] * 2)

    found = failures(wrong.backend(vjp=wrong.gradients(unsummed)), *GRADIENTS)
    likely = "the gradient of `delta_bias` is not summed over the axes that the argument lacks"
    assert all(verdict.message.endswith(likely) for verdict in found)
    assert len(alike(found)) == 1


def test_a_gradient_that_is_missing_is_named() -> None:
    def without(*given: Any, **inputs: Any) -> Any:
        return {k: g for k, g in selective_scan_vjp(*given, **inputs).items() if k != "delta_bias"}

    found = failures(wrong.backend(vjp=without), *GRADIENTS)
    assert "`wrt` alone and wholly: none came for `delta_bias`" in found[0].message.splitlines()[0]
    assert len(alike(found)) == 1


def test_an_input_that_is_written_is_one_finding() -> None:
    def written(delta: np.ndarray, delta_bias: Any = None, **inputs: Any) -> Any:
        found = selective_scan(delta=delta, delta_bias=delta_bias, **inputs)
        delta += 1
        return found

    found = failures(wrong.backend(written), *VALUES)
    assert all(v.message.endswith("; likely mistake: `delta` is written in place") for v in found)
    assert len(alike(found)) == 1


@pytest.mark.parametrize("case", ["property/float32/causality-typical", "property/float32/packing-packed"])
def test_what_moves_where_nothing_was_changed_says_that_state_is_left(case: str) -> None:
    calls: list[int] = []

    def adds_up(y: np.ndarray, _: dict[str, Any]) -> np.ndarray:
        calls.append(1)
        return y + np.float32(len(calls))

    (found,) = failures(wrong.backend(wrong.outputs(adds_up)), case)
    assert "; so it does where the same call is made again; likely mistake: state is left" in found.message
    (found,) = failures(wrong.backend(wrong.outputs(lambda y, _: y + y.sum())), case)
    assert "likely" not in found.message


def test_of_many_wrong_outputs_the_worst_are_told_and_the_others_named() -> None:
    def doubled(found: dict[str, Any], *_: Any) -> None:
        found.update({name: 2 * x + 1 for name, x in found.items()})

    (found,) = failures(wrong.backend(vjp=wrong.gradients(doubled)), GRADIENTS[0])
    assert found.message.count("times the bound") == 3
    assert found.message.endswith(" are beyond their bounds too")
    assert len(found.outputs) > 4
    assert all(f"gradient of {output.name}"[12:] in found.message for output in found.outputs)


def test_the_likely_mistake_has_a_line_of_its_own() -> None:
    assert told_apart("y[0] = 1; likely mistake: `D` is ignored\nmore") == [
        "y[0] = 1",
        "likely mistake: `D` is ignored",
        "more",
    ]
    assert told_apart("y[0] = 1") == ["y[0] = 1"]
    assert told_apart("") == []
