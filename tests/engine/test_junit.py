"""junit.xml: what continuous integration reads of each kind of verdict, and of a run that came to no end."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

from ssm_conformance.engine.run import Run, Selection
from ssm_conformance.reports.junit import clean, junit
from ssm_conformance.verdict import Status, Verdict


def verdict(name: str, status: Status, message: str = "", **more: object) -> Verdict:
    parts = {"op": "h3", "dtype": "float32", "check": "value", "message": message, "rerun": "again"}
    return Verdict(name, status=status, **parts | more)  # type: ignore[arg-type]  # its fields, by name


def written(verdicts: Sequence[Verdict], planned: int = 0, ended: str = "") -> ElementTree.Element:
    names = [item.id for item in verdicts] + [f"case {k}" for k in range(planned)]
    run = Run("acme", "1", "cpu", "smoke", Selection(), names, ended=ended)
    for item in verdicts:
        run.add(item)
    return ElementTree.fromstring(junit(run))


def counts(root: ElementTree.Element) -> list[int]:
    return [int(root.attrib[name]) for name in ("tests", "failures", "errors", "skipped")]


@pytest.mark.parametrize(
    ("found", "kind", "message"),
    [
        (verdict("a", "pass"), None, ""),
        (verdict("a", "fail", "wrong"), "failure", "wrong"),
        (verdict("a", "error", "a slip"), "error", "a slip"),
        (verdict("a", "error"), "error", "error"),
        (verdict("a", "not_claimed", "no"), "skipped", "no"),
        (verdict("a", "unavailable", "no"), "skipped", "no"),
        (verdict("a", "fail", "wrong", expected="known"), "skipped", "failed as expected: known"),
        (verdict("a", "pass", expected="known"), "failure", "passed, but was expected to fail: known"),
    ],
)
def test_each_kind_of_verdict_has_its_element(found: Verdict, kind: str | None, message: str) -> None:
    root = written([found])
    assert counts(root) == [1, *(int(kind == name) for name in ("failure", "error", "skipped"))]
    entries = [item for item in root.iterfind("testsuite/testcase/*") if item.tag != "properties"]
    assert [item.tag for item in entries] == ([kind] if kind else [])
    for item in entries:
        assert item.attrib["message"] == message
        assert item.text == f"{found.message}\nrerun: again"


@pytest.mark.parametrize(("ratio", "said"), [(0.0, ["0.00"]), (None, [])])
def test_a_ratio_of_zero_is_told(ratio: float | None, said: list[str]) -> None:
    root = written([verdict("a", "pass", ratio=ratio)])
    assert [item.attrib["value"] for item in root.iter("property")] == said


@pytest.mark.parametrize(
    ("planned", "ended"), [(1, ""), (0, "no worker \ufffe any more"), (1, "interrupted")]
)
def test_a_run_that_came_to_no_end_has_an_error_of_its_own(planned: int, ended: str) -> None:
    root = written([verdict("a", "pass")], planned, ended)
    assert counts(root) == [2, 0, 1, 0]
    last = list(root.iter("testcase"))[-1]
    assert last.attrib["name"] == "the whole run"
    assert (last[0].tag, last[0].text or "") == ("error", clean(ended))
    assert last[0].attrib["message"].startswith("undecided: ")


def test_what_xml_cannot_hold_is_replaced() -> None:
    root = written([verdict("a", "fail", "a \ufffe noncharacter")])
    (entry,) = root.iter("failure")
    assert entry.attrib["message"] == "a � noncharacter"
    assert entry.text == "a � noncharacter\nrerun: again"
