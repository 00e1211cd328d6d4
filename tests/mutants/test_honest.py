"""No false failure: the implementations that the mutants are made from pass."""

from __future__ import annotations

import pytest

from ssm_backends import OPERATORS, claims_as_data
from ssm_conformance.checks import perform
from ssm_conformance.mutants import DTYPES, backend
from ssm_conformance.planning import plan


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "level"), [("honest", "quick"), ("honest-chunked", "smoke")])
def test_an_honest_implementation_passes(name: str, level: str, dtype: str) -> None:
    subject = backend(name)
    planned = plan(claims_as_data(subject), level=level, ops=tuple(subject.ops), dtypes=(dtype,))
    verdicts = [perform(item.case, subject) for item in planned if item.status is None]
    assert len(verdicts) > 25
    assert [f"{v.id}: {v.message}" for v in verdicts if v.status != "pass"] == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_chunked_scan_passes_where_there_is_more_than_one_chunk(dtype: str) -> None:
    subject = backend("honest-chunked")
    planned = plan(claims_as_data(subject), level="quick", ops=("selective_scan",), dtypes=(dtype,))
    long = [item.case for item in planned if item.case.recipe.name.startswith(("long", "forget"))]
    verdicts = [perform(case, subject) for case in long]
    assert len(verdicts) >= 8
    assert {v.id for v in verdicts if v.status != "pass"} == set()


def test_the_honest_implementation_claims_every_feature() -> None:
    (scan,) = backend("honest").implementations("selective_scan")
    assert set(scan.features) == set(OPERATORS["selective_scan"].features)
    assert scan.gradients == "all"
    (step,) = backend("honest").implementations("selective_state_update")
    assert set(OPERATORS["selective_state_update"].features) - set(step.features) == {"half_state"}
