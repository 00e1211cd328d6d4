"""A failure that depends on what was called before says so; one that does not costs little more to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssm_conformance.cases import find_case
from ssm_conformance.engine import Limits, Selection, open_session
from ssm_conformance.engine.again import ALONE, Allowance, differing, worth_asking_again
from ssm_conformance.engine.target import module_target
from ssm_conformance.reports.matrix import alike
from ssm_conformance.verdict import LEFT, OutputRatio, Verdict

from .conftest import BAD, Write

OTHER = "causal_convolution/value/float64/short-kernel"
TOP = "KEPT = {}\nCALLS = []\n"


def judge(module: str, cases: tuple[str, ...] = (BAD, OTHER)) -> dict[str, Verdict]:
    session = open_session(module_target(module), Limits(), workers=1)
    planned = session.plan("full", Selection(cases=cases))
    return {verdict.id: verdict for verdict in session.judge(planned)}


def later(found: dict[str, Verdict]) -> Verdict:
    """The one that failed, of two of which the first passed."""
    assert sorted(verdict.status for verdict in found.values()) == ["fail", "pass"]
    return next(verdict for verdict in found.values() if verdict.status == "fail")


def test_another_result_of_the_same_call_is_told(write_plugin: Write) -> None:
    fault = "CALLS.append(u); u[...] *= len(CALLS)"
    message = later(judge(write_plugin("counting", fault, top=TOP))).message
    assert message.startswith("y[")
    assert "; made again, the same calls give another result: y is " in message
    assert message.endswith(f"; likely mistake: {LEFT}")


def test_what_another_case_left_behind_is_told(write_plugin: Write) -> None:
    fault = "m = float(u.mean()); u[...] += m - KEPT.setdefault('mean', m)"
    message = later(judge(write_plugin("caching", fault, top=TOP))).message
    assert "; judged alone, in a new process, it passes; likely mistake: " in message
    assert message.endswith(ALONE)


def test_a_buffer_of_the_first_shape_is_told_where_it_raises(write_plugin: Write) -> None:
    fault = "u += 0 * KEPT.setdefault('buffer', u.copy())"
    message = later(judge(write_plugin("buffered", fault, top=TOP))).message
    assert "could not be broadcast" in message.splitlines()[0]
    assert message.splitlines()[0].endswith(f"it passes; likely mistake: {ALONE}")


def test_a_crash_of_the_same_call_is_told_and_the_failure_stays(write_plugin: Write) -> None:
    fault = "CALLS.append(u); u[...] *= len(CALLS); len(CALLS) < 3 or os.abort()"
    verdict = later(judge(write_plugin("dying", fault, top=TOP)))
    assert "made again, the worker was ended by SIGABRT" in verdict.message
    assert verdict.ratio is not None


def test_of_many_outputs_that_differ_one_is_told() -> None:
    one, other = (
        Verdict(
            BAD,
            "o",
            "float64",
            "value",
            "fail",
            ratio=r,
            outputs=tuple(OutputRatio(x, r, None) for x in "yzw"),
        )
        for r in (7.0, 70.0)
    )
    assert differing(one, other) == "y is 70 times the bound off, not 7; z, w differ too"


def test_what_is_always_wrong_has_no_such_hint_and_few_new_processes(
    write_plugin: Write, tmp_path: Path
) -> None:
    top = f"open({str(tmp_path / 'imports')!r}, 'a').write('x')\n"
    module = write_plugin("wrong", "u[...] *= 2", top=top)
    session = open_session(module_target(module), Limits(), workers=1)
    selection = Selection(ops=("causal_convolution",), dtypes=("float64",), checks=("value",))
    planned = session.plan("quick", selection)
    found = [verdict for verdict in session.judge(planned) if verdict.status == "fail"]
    assert len(found) >= 4
    assert {verdict.message.partition("; likely mistake: ")[2] for verdict in found} == {
        "y is twice what it should be"
    }
    assert not [verdict.message for verdict in found if "made again" in verdict.message]
    assert (tmp_path / "imports").read_text() == "xxx"  # the worker, and two that were asked alone


def test_what_passes_is_asked_once_and_what_is_alone_needs_no_other(
    write_plugin: Write, tmp_path: Path
) -> None:
    note = tmp_path / "calls"
    fault = f"open({str(note)!r}, 'a').write('c')"
    assert judge(write_plugin("fine", fault), (BAD,))[BAD].status == "pass"
    once = note.read_text()
    note.unlink()
    top = f"open({str(tmp_path / 'imports')!r}, 'a').write('x')\n"
    assert judge(write_plugin("wrong", f"{fault}; u[...] *= 2", top=top), (BAD,))[BAD].status == "fail"
    assert note.read_text() == 2 * once
    assert (tmp_path / "imports").read_text() == "x"


def test_leaks_of_one_operator_are_one_finding(write_plugin: Write) -> None:
    more = (BAD, OTHER, "causal_convolution/value/float64/long-kernel")
    found = judge(write_plugin("counting", "CALLS.append(u); u[...] *= len(CALLS)", top=TOP), more)
    assert [len(group) for group in alike(v for v in found.values() if v.status == "fail")] == [2]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (5e4, 5e4 + 1.5, ""),  # what atomics may move
        (5e4, 5.1e4, "y is 5.1e+04 times the bound off, not 5e+04"),
        (float("nan"), float("nan"), ""),
        (float("inf"), float("inf"), ""),
        (float("nan"), 3.0, "y is 3 times the bound off, not nan"),
        (3.0, float("inf"), "y is inf times the bound off, not 3"),
    ],
)
def test_two_results_differ_by_more_than_rounding_may(first: float, second: float, told: str) -> None:
    one, other = (
        Verdict(BAD, "o", "float64", "value", "fail", ratio=r, outputs=(OutputRatio("y", r, (0,)),))
        for r in (first, second)
    )
    assert differing(one, other) == told


def test_two_failures_of_an_operator_are_judged_alone_in_vain_and_eight_of_all() -> None:
    allowance, case, other = Allowance(), find_case(BAD), find_case("selective_scan/value/float32/typical")
    allowance.spend(case, "it passes")  # which is not in vain
    for _ in range(2):
        assert allowance.left(case)
        allowance.spend(case, "")
    assert not allowance.left(case)
    for _ in range(5):
        assert allowance.left(other)
        allowance.spend(other, "it passes")
    assert not allowance.left(other)


@pytest.mark.parametrize(
    ("change", "worth"),
    [
        ({}, True),
        ({"status": "pass"}, False),
        ({"status": "error"}, False),
        ({"check": "memory"}, False),
        ({"check": "determinism"}, False),
        ({"details": {"cause": "crash"}}, False),
        ({"seconds": 5.0}, True),
        ({"seconds": 5.1}, False),
    ],
)
def test_a_quick_failure_of_a_call_is_asked_again(change: dict[str, Any], worth: bool) -> None:
    fields: dict[str, Any] = {"id": BAD, "op": "o", "dtype": "float64", "check": "value", "status": "fail"}
    assert worth_asking_again(Verdict(**fields | change)) is worth
