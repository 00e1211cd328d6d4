"""A declaration that an operator does not have fails; an unclaimed argument may be refused by any error."""

from __future__ import annotations

from typing import Any

import pytest

import ssm_numpy
from ssm_backends import Backend, NumpyArrays, Op
from ssm_conformance.cases import find_case
from ssm_conformance.checks import perform
from ssm_conformance.verdict import Verdict


def judged(case: str, fn: Any = ssm_numpy.selective_scan, **claims: Any) -> Verdict:
    op = Op(fn, dtypes=("float32",), **claims)
    backend = Backend(name="x", version="1", arrays=NumpyArrays(), ops={"selective_scan": op})
    return perform(find_case(f"selective_scan/{case}"), backend)


def test_an_order_of_evaluation_that_the_operator_does_not_have_is_a_failure() -> None:
    found = judged("value/float32/plain", arithmetic={"evaluation": "fft"})
    assert found.status == "fail"
    assert "what it declares has no meaning here: `arithmetic.evaluation`" in found.message


@pytest.mark.parametrize("error", [AssertionError, RuntimeError, KeyError])
def test_an_unclaimed_argument_may_be_refused_by_any_exception(error: type[Exception]) -> None:
    def scan(**inputs: Any) -> Any:
        if "seq_idx" in inputs:
            raise error("seq_idx")
        return ssm_numpy.selective_scan(**inputs)

    assert judged("error/float32/unclaimed-seq_idx", scan).status == "pass"
