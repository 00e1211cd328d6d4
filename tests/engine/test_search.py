"""The search finds what the catalogue lacks, makes it small, and names it so that it can be run again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_backends import ArgumentError, Backend, NumpyArrays, Op, claims_as_data
from ssm_conformance.case import Case
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.cases._found import WORDS, Found
from ssm_conformance.checks import perform
from ssm_conformance.engine.run import Selection
from ssm_conformance.engine.search import Search
from ssm_conformance.engine.session import SelectionError, check_ids
from ssm_conformance.verdict import Verdict
from ssm_numpy import selective_scan


def wrong_past_forty_steps(case: Case) -> Verdict:
    """A backend that is wrong where a gate meets more than forty steps, judged without being run."""
    wrong = "z" in case.recipe.inputs and case.call().sizes["l"] > 40
    return Verdict(case.id, case.op, case.dtype, case.check, "fail" if wrong else "pass")


def search(judge: Any, seconds: float, **claims: Any) -> Search:
    usual = {"dtypes": ("float32",), "features": ("grouped", "initial_state")}
    op = Op(selective_scan, **usual | claims)
    subject = Backend(name="x", version="0", arrays=NumpyArrays(), ops={"selective_scan": op})
    if judge is None:
        judge = lambda case: perform(case, subject)  # noqa: E731  it needs the backend made here
    return Search(claims_as_data(subject), judge, seconds)


def test_a_failure_is_found_made_small_and_named() -> None:
    (verdict,) = search(wrong_past_forty_steps, 60.0)
    case = find_case(verdict.id)
    assert case.id == verdict.id
    sizes = case.call().sizes
    assert (sizes["b"], sizes["d"], sizes["n"], sizes["l"]) == (1, 1, 1, 64)
    assert "z" in case.recipe.inputs
    assert "delta_softplus" not in case.recipe.inputs


def test_each_lane_is_told_once() -> None:
    claims = {"dtypes": ("float32", "float64"), "gradients": "all"}
    found = list(search(wrong_past_forty_steps, 60.0, **claims, vjp=lambda *_, **__: {}))
    assert sorted((verdict.dtype, verdict.check) for verdict in found) == [
        ("float32", "gradient"), ("float32", "value"), ("float64", "gradient"), ("float64", "value")
    ]  # fmt: skip


def test_nothing_is_found_in_a_right_one_and_the_time_is_kept() -> None:
    right = search(None, 2.0)
    assert list(right) == []
    assert right.calls > 0


def test_a_selection_narrows_the_search() -> None:
    narrowed = search(wrong_past_forty_steps, 60.0, gradients="all", vjp=lambda *_, **__: {})
    narrowed.selection = Selection(checks=("gradient",))
    assert [verdict.check for verdict in narrowed] == ["gradient"]


@pytest.mark.parametrize("check", ["value", "gradient"])
def test_an_id_holds_all_of_a_case(check: Any) -> None:
    words = frozenset(WORDS) - {"cu_seqlens", "B-constant", "C-constant"}
    made = Found(b=2, d=6, l=17, n=3, b_groups=3, c_groups=2, u="large", delta="far", seed=7, words=words)
    case = made.case("selective_scan", "float32", check)
    again = find_case(case.id)
    assert again.recipe == case.recipe
    assert again.call().features == case.call().features
    for name, draw in case.draws.items():
        assert np.array_equal(draw.values("k"), again.draws[name].values("k"))


@pytest.mark.parametrize(
    "bad",
    [
        "selective_scan/value/float32/search-nonsense",
        "selective_scan/value/float32/search-b1-d4-l5-n1-gB3-gC0-u.usual-delta.usual-A.usual-s0",
        "selective_scan/value/float32/search-b1-d4-l5-n1-gB0-gC0-u.odd-delta.usual-A.usual-s0",
        "hippo_legs/value/float32/search-b1-d4-l5-n1-gB0-gC0-u.usual-delta.usual-A.usual-s0",
    ],
)
def test_what_is_no_such_id_is_refused(bad: str) -> None:
    with pytest.raises(ArgumentError, match="`case`"):
        find_case(bad)
    with pytest.raises(SelectionError, match="`--case`"):
        check_ids([bad])


def test_no_case_of_the_catalogue_looks_like_a_found_one() -> None:
    assert not [case.id for case in catalogue("full") if "/search-" in case.id]
