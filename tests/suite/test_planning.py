"""What a backend is asked follows from its claims, and what it is not asked has the reason."""

from __future__ import annotations

from typing import Any

import pytest

from ssm_backends import Backend, NumpyArrays, Op, claims_as_data
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.planning import GRADIENTS, MANY_KINDS, plan, plan_cases
from ssm_numpy import selective_scan

GRADIENT = "selective_scan/gradient/float32/with-D-z"


def claims(**more: Any) -> dict[str, Any]:
    op = Op(selective_scan, **{"dtypes": ("float32", "float64"), **more})
    backend = Backend(
        name="x", version="0", arrays=NumpyArrays(), ops={"selective_scan": op}, withheld={"ssd": "not here"}
    )
    return claims_as_data(backend)


@pytest.mark.parametrize(("op", "reason"), [("ssd", "not here"), ("h3", "h3 is not claimed")])
def test_of_an_operator_that_is_not_there_nothing_is_asked(op: str, reason: str) -> None:
    planned = plan(claims(), level="full", ops=(op,))
    assert {(item.status, item.reason) for item in planned} == {("not_claimed", reason)}
    assert len(planned) == sum(case.op == op for case in catalogue("full"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"gradients": "all"}, ""),
        ({}, "no gradient is claimed"),
        ({"gradients": "all", "grad_dtypes": ("float64",)}, "no gradient in float32 is claimed"),
        ({"gradients": "all", "grad_dtypes": ("float32",)}, ""),
        ({"gradients": ("initial_state",)}, "no gradient of an argument of this call is claimed"),
        (
            {"gradients": "all", "cotangents": ("last_state",)},
            "no cotangent of an output of this call is claimed",
        ),
    ],
)
def test_a_gradient_is_asked_of_who_claims_it(given: dict[str, Any], reason: str) -> None:
    vjp: dict[str, Any] = {"vjp": lambda *_, **__: {}} if given else {}
    (planned,) = plan_cases(claims(**given, **vjp), [find_case(GRADIENT)])
    assert (planned.status, planned.reason) == ("not_claimed" if reason else None, reason)


def asked_of(case: str, *ops: Op) -> tuple[str | None, str]:
    backend = Backend(name="x", version="0", arrays=NumpyArrays(), ops={"selective_scan": ops})
    (planned,) = plan_cases(claims_as_data(backend), [find_case(f"selective_scan/{case}")])
    return planned.status, planned.reason


def scan(*dtypes: str, **more: Any) -> Op:
    return Op(selective_scan, dtypes=dtypes or ("float32",), **more)


NARROW = scan(limits={"n": 1})
FORWARD, BACKWARD = {"forward": True, "backward": False}, {"forward": False, "backward": True}


@pytest.mark.parametrize(
    ("case", "ops", "reason"),
    [
        ("value/float32/typical", (NARROW, scan()), ""),
        ("value/float32/typical", (NARROW, NARROW), "n = "),
        ("property/float32/split-typical", (scan(),), "features not claimed: initial_state"),
        ("property/float32/split-typical", (scan(features=("initial_state",)),), ""),
        ("property/float32/compiled-typical", (scan(),), "features not claimed: compile"),
        ("determinism/float32/processes-typical", (scan(),), "determinism is not claimed"),
        ("determinism/float32/processes-typical", (scan(deterministic=FORWARD),), ""),
        ("determinism/float32/processes-typical", (scan(deterministic=BACKWARD),), ""),
        (
            "determinism/float32/forward-typical",
            (scan(deterministic=BACKWARD),),
            "determinism is not claimed",
        ),
        ("determinism/float32/forward-typical", (scan(deterministic=FORWARD),), ""),
        ("error/float32/unclaimed-feature-complex", (scan(),), ""),
        ("error/float32/unclaimed-feature-complex", (scan(), scan(features=("complex",))), "it is claimed"),
        ("error/float32/unclaimed-initial_state", (scan(),), ""),
        (
            "error/float32/unclaimed-initial_state",
            (scan(), scan(features=("initial_state",))),
            "feature initial_state is claimed",
        ),
    ],
)
def test_a_case_is_asked_of_who_claims_it_and_a_refusal_of_who_does_not(
    case: str, ops: tuple[Op, ...], reason: str
) -> None:
    status, said = asked_of(case, *ops)
    assert status == ("not_claimed" if reason else None)
    assert said.startswith(reason)
    assert ";" not in said, "one reason of two Ops is told once"


def test_without_gradients_none_is_asked_for() -> None:
    asked = {item.case.id for item in plan(claims(), level="full") if item.status is None}
    assert asked
    about = ("gradient", "cotangent", "anticausality", "backward", "saved")
    assert not [case for case in asked if any(word in case for word in about)]
    assert {case.method for case in catalogue("full") if case.check == "gradient"} <= set(GRADIENTS)


def test_what_compiles_has_time_for_it() -> None:
    methods = {case.method for case in catalogue("full") if case.options.get("claim") == "compile"}
    assert methods
    assert methods <= {*MANY_KINDS}
