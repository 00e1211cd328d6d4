"""The search finds what the catalogue lacks, makes it small, and names it so that it can be run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_backends import ArgumentError, Backend, NumpyArrays, Op, claims_as_data
from ssm_conformance.case import Case
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.cases.searched import SPACES, Chosen
from ssm_conformance.checks import perform
from ssm_conformance.engine.run import Selection
from ssm_conformance.engine.search import ROUND, Search
from ssm_conformance.engine.session import SelectionError, check_ids
from ssm_conformance.judge import EXCUSED_AT_MOST
from ssm_conformance.verdict import Status, Verdict
from ssm_numpy import selective_scan

from .conftest import BAD, RIGHT, Run, Write


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


def test_a_lane_without_a_failure_has_its_turn_again() -> None:
    """The first round of calls is right, whatever it draws."""
    judged: list[str] = []

    def wrong_later(case: Case) -> Verdict:
        judged.append(case.id)
        status: Status = "fail" if len(judged) > ROUND else "pass"
        return Verdict(case.id, case.op, case.dtype, case.check, status)

    assert len(list(search(wrong_later, 60.0))) == 1


def test_a_search_that_finds_no_worker_keeps_what_was_judged(
    ssm_spec: Run, write_plugin: Write, tmp_path: Path
) -> None:
    once = write_plugin("once", top=f"import os; os.mkdir({str(tmp_path / 'lock')!r})\n")
    said = ssm_spec("conform", "--plugin", once, "--case", RIGHT, "--search", "1", "--report", tmp_path)
    assert said.status == 2
    assert "undecided: the search came to no end (once 0 on cpu, level quick)" in said.out
    forms = {path.name: path.read_text() for path in (tmp_path / "once").iterdir()}
    report = json.loads(forms["report.json"])
    assert [case["status"] for case in report["cases"]] == ["pass"]
    assert "FileExistsError" in report["ended"]
    assert "**the search came to no end** (plugin 'once': " in forms["report.md"]
    assert "<li>the search came to no end: plugin" in forms["report.html"]
    assert 'tests="2" failures="0" errors="1"' in forms["junit.xml"]


def test_fail_fast_ends_the_search_too_or_lets_it_be(ssm_spec: Run, write_plugin: Write) -> None:
    module = write_plugin("wrong", "u[...] = 0")
    options = ("--in-process", "--fail-fast", "--search", "60")
    said = ssm_spec("conform", "--plugin", module, *options, "--case", BAD)
    assert said.status == 1
    assert "not run" not in said.out
    assert "search" not in said.out
    said = ssm_spec("conform", "--plugin", module, *options, "--case", RIGHT)
    assert said.status == 1
    assert "1 of 2 judged cases failed" in said.out
    assert " in 60 s" not in said.out


def test_a_selection_narrows_the_search() -> None:
    narrowed = search(wrong_past_forty_steps, 60.0, gradients="all", vjp=lambda *_, **__: {})
    narrowed.selection = Selection(checks=("gradient",))
    assert [verdict.check for verdict in narrowed] == ["gradient"]
    for selection in (Selection(ops=("ssd",)), Selection(dtypes=("float16",))):
        narrowed.selection = selection
        assert list(narrowed) == []


def some(op: str, seed: int) -> Chosen:
    """One call of an operator, each choice at random."""
    space, rng = SPACES[op], np.random.default_rng(seed)
    numbers = {key: int(rng.choice(choices)) for key, choices in space.numbers.items()}
    names = {key: str(rng.choice(choices)) for key, choices in space.names.items()}
    words = frozenset(word for word in space.words if rng.random() < 0.5)
    return space.settled(Chosen(numbers, names, words, seed))


@pytest.mark.parametrize("op", SPACES)
def test_an_id_holds_all_of_a_case(op: str) -> None:
    for seed in range(20):
        made = SPACES[op].case(some(op, seed), "float32", "value")
        again = find_case(made.id)
        assert again.recipe == made.recipe
        assert again.call().features == made.call().features
        for name, draw in made.draws.items():
            assert np.array_equal(draw.values("k"), again.draws[name].values("k"))


@pytest.mark.parametrize("op", SPACES)
def test_what_is_drawn_is_a_call_that_can_be_judged(op: str) -> None:
    """Of twenty calls at least nineteen judge nearly all elements; none has a fault of its own."""
    reference, unjudged = ssm_spec.REFERENCES[op], 0
    for seed in range(20):
        case = SPACES[op].case(some(op, seed), "float32", "value")
        inputs = {name: np.asarray(draw.values(case.id, name)) for name, draw in case.draws.items()}
        bounds = reference.bounds(arithmetic=ssm_spec.Arithmetic(), **inputs, **case.plain)
        judged = np.concatenate([np.ravel(item.judged & np.isfinite(item.bound)) for item in bounds.values()])
        unjudged += bool(judged.size and judged.mean() < 1 - EXCUSED_AT_MOST)
    assert unjudged <= 1


@pytest.mark.parametrize("op", SPACES)
def test_without_a_feature_nothing_asks_for_it(op: str) -> None:
    plain = SPACES[op].within(frozenset())
    simplest = plain.case(plain.simplest, "float32", "value").call()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        numbers = {key: int(rng.choice(choices)) for key, choices in plain.numbers.items()}
        names = {key: str(rng.choice(choices)) for key, choices in plain.names.items()}
        chosen = plain.settled(Chosen(numbers, names, frozenset(plain.words), seed))
        assert plain.case(chosen, "float32", "value").call().features == simplest.features


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
