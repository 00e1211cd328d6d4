"""The catalogue: well-formed, stable, drawn the same everywhere, planned from claims alone."""

import hashlib

import numpy as np
import pytest

from ssm_backends import OPERATORS, ArgumentError, Backend, NumpyArrays, Op, claims_as_data
from ssm_conformance.case import LEVELS
from ssm_conformance.cases import RECIPES, catalogue, find_case
from ssm_conformance.checks import METHODS
from ssm_conformance.planning import plan

FULL = catalogue("full")


def test_levels_contain_the_smaller_ones() -> None:
    ids = [{case.id for case in catalogue(level)} for level in LEVELS]
    assert ids[0] < ids[1] < ids[2]


def test_every_case_is_a_valid_call_and_has_its_method() -> None:
    for case in FULL:
        assert case.call().dtype == case.dtype, case.id
        assert case.method in METHODS, case.id
        assert find_case(case.id) is case
        assert case.id.split("/")[:3] == [case.op, case.check, case.dtype]


def test_every_operator_and_every_feature_of_the_scan_is_asked() -> None:
    asked = {op: set().union(*(c.call().features for c in FULL if c.op == op)) for op in OPERATORS}
    assert asked["selective_scan"] == set(OPERATORS["selective_scan"].features)
    assert all(any(case.op == op for case in FULL) for op in OPERATORS)


def test_unknown_case_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"`case`.*nonsense"):
        find_case("nonsense")


def test_numbers_are_frozen() -> None:
    """The seed's version must change if this does: golden data and verdicts refer to these numbers."""
    digest = hashlib.sha256()
    for recipe in RECIPES:
        if recipe.op == "selective_scan" and recipe.name in ("typical", "complex", "text", "packed"):
            for name, draw in sorted(recipe.inputs.items()):
                if hasattr(draw, "values"):
                    values = draw.values(recipe.op, recipe.name, name)
                    digest.update(
                        np.round(values.view(np.float64), 9).tobytes()
                        if values.dtype.kind in "fc"
                        else values.tobytes()
                    )
    assert digest.hexdigest()[:16] == "5eac537ea9fa02e0"


def scan_backend(**claims) -> dict:
    op = Op(lambda **_: None, **({"dtypes": ("float32",)} | claims))
    return claims_as_data(Backend(name="x", version="0", arrays=NumpyArrays(), ops={"selective_scan": op}))


def statuses(claims: dict, **filters) -> dict[str, str | None]:
    return {p.case.id: p.status for p in plan(claims, level="full", **filters)}


def test_what_is_not_claimed_is_planned_as_such_with_the_reason() -> None:
    found = statuses(scan_backend())
    assert found["selective_scan/value/float32/typical"] is None
    assert found["selective_scan/value/bfloat16/typical"] == "not_claimed"
    assert found["selective_scan/value/float32/complex"] == "not_claimed"
    assert found["selective_scan/gradient/float32/typical"] == "not_claimed"
    assert found["ssm_kernel/value/float32/siso"] == "not_claimed"
    reasons = {p.case.id: p.reason for p in plan(scan_backend(), level="full")}
    assert "complex" in reasons["selective_scan/value/float32/complex"]


def test_a_claim_is_asked_and_an_unclaimed_argument_too() -> None:
    claimed = statuses(scan_backend(features=("initial_state",), gradients="all"))
    assert claimed["selective_scan/value/float32/initial"] is None
    assert claimed["selective_scan/gradient/float32/initial"] is None
    assert claimed["selective_scan/error/float32/unclaimed-initial_state"] == "not_claimed"
    assert statuses(scan_backend())["selective_scan/error/float32/unclaimed-initial_state"] is None


def test_limits_narrow_a_claim() -> None:
    found = statuses(scan_backend(limits={"n": 16}))
    assert found["selective_scan/value/float32/wide-state"] == "not_claimed"
    assert found["selective_scan/value/float32/typical"] is None


def test_filters_keep_only_what_they_name() -> None:
    kept = plan(scan_backend(), level="full", ops=["selective_scan"], dtypes=["float32"], checks=["value"])
    assert kept
    assert {(p.case.op, p.case.dtype, p.case.check) for p in kept} == {("selective_scan", "float32", "value")}
