"""A question that asks nothing does not pass: it is not asked, with the reason, or the suite is at fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ssm_backends import Backend, claims_as_data
from ssm_conformance.case import Case
from ssm_conformance.cases import RECIPES, find_case
from ssm_conformance.checks import perform
from ssm_conformance.checks.accuracy import summary
from ssm_conformance.checks.vacuous import Vacuous, some
from ssm_conformance.judge import measure
from ssm_conformance.mutants import backend
from ssm_conformance.planning import plan_cases

from . import wrong

SCAN = "selective_scan/{}/float32/{}"


def of(recipe: str, method: str, **options: Any) -> Case:
    """A question to a recipe of the scan that the catalogue does not put to it."""
    found = next(r for r in RECIPES if r.op == "selective_scan" and r.name == recipe)
    return Case(found, "float32", "robustness", method, options=options)


def claiming(name: str = "sequential", op: str = "selective_scan", **claims: Any) -> Backend:
    """An honest implementation that claims less, or otherwise, than it could."""
    own = backend(name)
    (implementation,) = own.implementations(op)
    return replace(own, ops={op: replace(implementation, **claims)})


@pytest.mark.parametrize(
    ("method", "options", "lacking"),
    [
        ("far", {"array": "u"}, "dimension of two elements"),
        ("layouts_apart", {}, "array of two elements"),
        ("batches", {}, "second row"),
        ("batches_alone", {}, "second row"),
        ("causality", {}, "element that must stay"),
        ("layout", {"layout": "broadcast-inner"}, "array that would lie otherwise"),
        ("gradient_layout", {"layout": "broadcast-inner"}, "array that would lie otherwise"),
    ],
)
def test_where_a_call_has_nothing_to_ask_about_the_suite_says_so(
    method: str, options: dict[str, Any], lacking: str
) -> None:
    found = perform(of("ones", method, **options), wrong.backend())
    assert found.status == "error", found
    assert f"the suite raised Vacuous: this case asks nothing: it has no {lacking}" in found.message


def test_of_several_changes_none_may_be_of_nothing() -> None:
    recipe = next(r for r in RECIPES if (r.op, r.name) == ("causal_conv1d_update", "small-pool"))
    found = perform(Case(recipe, "float32", "property", "skipped"), backend("linear"))
    assert found.status == "error", found
    assert "this case asks nothing: it has no element in skipped rows" in found.message


def test_cotangents_of_one_element_are_not_asked_to_lie_far() -> None:
    found = perform(of("ones", "far_cotangents"), wrong.backend())
    assert found.status == "not_claimed"
    assert found.message == "no cotangent that is claimed has two elements along a dimension"


@pytest.mark.parametrize(
    "method", ["gradient", "far_cotangents", "gradients_apart", "scaled_cotangents", "anticausality"]
)
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"gradients": ("delta_bias",)}, "no gradient of an argument of this call is claimed"),
        ({"cotangents": ("last_state",)}, "no cotangent of an output of this call is claimed"),
    ],
)
def test_a_gradient_that_no_claim_is_about_is_not_asked(
    method: str, claims: dict[str, Any], reason: str
) -> None:
    whole = find_case(SCAN.format("gradient", "typical"))
    given = {x: y for x, y in whole.recipe.inputs.items() if x not in ("delta_bias", "return_last_state")}
    case, subject = (
        replace(whole, method=method, recipe=replace(whole.recipe, inputs=given)),
        claiming(**claims),
    )
    found = perform(case, subject)
    assert (found.status, found.message) == ("not_claimed", reason)
    (planned,) = plan_cases(claims_as_data(subject), [case])
    assert (planned.status, planned.reason) == ("not_claimed", reason)


def test_outputs_are_judged_where_no_claimed_gradient_is_about_the_call() -> None:
    case = of("plain", "guarded")
    given = {name: x for name, x in case.recipe.inputs.items() if name != "return_last_state"}
    case = replace(case, recipe=replace(case.recipe, inputs=given))
    subject = wrong.backend(cotangents=("last_state",), vjp=wrong.gradients(lambda *_: 1 / 0))
    assert perform(case, subject).status == "pass"


@pytest.mark.parametrize(
    ("case_id", "claims", "reason"),
    [
        (
            SCAN.format("property", "anticausality-typical"),
            {"cotangents": ("last_state",)},
            "no cotangent, or no gradient, of what runs in time is claimed",
        ),
        (
            SCAN.format("property", "anticausality-typical"),
            {"gradients": ("A",)},
            "no cotangent, or no gradient, of what runs in time is claimed",
        ),
        (
            SCAN.format("property", "packing-gradients-packed"),
            {"gradients": ("A",)},
            "no gradient of what runs in time is claimed",
        ),
        (
            "causal_conv1d/property/bfloat16/separate-gradients-packed",
            {"gradients": ("weight",)},
            "the gradients that are claimed are sums in 16 bits: rounded parts do not add up to them",
        ),
    ],
)
def test_a_claim_that_leaves_nothing_to_compare_is_not_asked(
    case_id: str, claims: dict[str, Any], reason: str
) -> None:
    op = case_id.partition("/")[0]
    name = "sequential" if op == "selective_scan" else "linear"
    found = perform(find_case(case_id), claiming(name, op, **claims))
    assert (found.status, found.message) == ("not_claimed", reason)


def test_another_process_is_not_asked_where_no_pass_is_claimed_deterministic() -> None:
    case = find_case(SCAN.format("determinism", "processes-typical"))
    claims = {"deterministic": {"forward": False, "backward": True}, "gradients": ("initial_state",)}
    found = perform(case, claiming(**claims), lambda *_: {})
    assert found.status == "not_claimed"
    assert found.message == "no pass of this call is claimed to give the same bits"


def test_nothing_judged_is_nothing_found() -> None:
    with pytest.raises(Vacuous, match="it has no output or gradient"):
        summary({})
    with pytest.raises(Vacuous, match="this case asks nothing: it has no row"):
        some(iter(()), "row")
    assert some(range(2), "row") == [0, 1]


def test_a_case_that_excuses_more_than_one_element_in_twenty_judges_too_little() -> None:
    zeros, ones = np.zeros(20), np.ones(20)
    one, two = (measure(zeros, ones, np.arange(20) >= excused, zeros, zeros) for excused in (1, 2))
    assert summary({"y": one}).details["excused"] == 1
    with pytest.raises(AssertionError, match="2 of 20 elements leave the range of the compute type"):
        summary({"y": two})
