"""What a backend is asked follows from its claims, and what it is not asked has the reason."""

from __future__ import annotations

from typing import Any

import pytest

from ssm_backends import Backend, NumpyArrays, Op, claims_as_data
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.planning import plan, plan_cases
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
