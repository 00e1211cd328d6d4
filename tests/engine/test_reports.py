"""Every form of a report says the same, holds to its schema, and survives what a backend may print."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

from ssm_conformance.case import LEVELS
from ssm_conformance.checks.accuracy import _headroom
from ssm_conformance.engine import Run, Selection
from ssm_conformance.engine.environment import environment
from ssm_conformance.engine.run import exit_status
from ssm_conformance.engine.target import LoadError
from ssm_conformance.judge import measure
from ssm_conformance.reports import (
    FolderError,
    ReportFolder,
    report_data,
    schema,
    statement,
    statement_schema,
)
from ssm_conformance.reports.badge import badge
from ssm_conformance.reports.declared import declarations
from ssm_conformance.reports.folder import FORMS, replace_file
from ssm_conformance.reports.headroom import headroom, headroom_data
from ssm_conformance.reports.junit import junit
from ssm_conformance.reports.matrix import alike, show_ratio, tabulate, worse
from ssm_conformance.reports.pages import html, markdown
from ssm_conformance.reports.statement import levels_reached
from ssm_conformance.verdict import OutputRatio, Verdict

NASTY = "<script>alert(1)</script> | `x` & \x00\x1b[31m \ud800 “ü”"


def verdict(status: Any, name: str = "x", **more: Any) -> Verdict:
    case = f"selective_scan/value/float32/{name}"
    fields: dict[str, Any] = {"rerun": f"ssm-spec conform b --case {case}", "details": {"clause": "y = x"}}
    made = Verdict(case, "selective_scan", "float32", "value", status, **(fields | more))
    return Verdict.from_json(made.to_json())  # as it comes from a worker


def make(*verdicts: Verdict, planned: int | None = None, **more: Any) -> Run:
    names = [item.id for item in verdicts]
    names += [f"selective_scan/value/float32/rest-{i}" for i in range((planned or 0) - len(names))]
    fields: dict[str, Any] = {
        "selection": Selection(),
        "environment": environment("ssm-spec"),
        "level": "quick",
    }
    run = Run(backend="b", version="1", device="cpu", planned=names, **(fields | more))
    for item in verdicts:
        run.add(item)
    return run


EVERY = make(
    verdict("pass", "a", ratio=0.25, outputs=(OutputRatio("y", 0.25, (0, 1)), OutputRatio("s", 0.0, None))),
    verdict("fail", "b", ratio=math.inf, outputs=(OutputRatio("y", math.inf, (0, 3)),), message="y = inf"),
    verdict("fail", "c", message=NASTY, details={"clause": NASTY, "log": NASTY, "x": {"bound": math.nan}}),
    verdict("fail", "d", message="known", expected="reported upstream"),
    verdict("pass", "e", ratio=1.0, expected="reported upstream"),
    verdict("error", "f", message="the suite raised\na stack"),
    verdict("not_claimed", "g", message="no gradient is claimed"),
    verdict("unavailable", "h", message="no instrument"),
    planned=10,
    ended="interrupted",
)


@pytest.mark.parametrize("run", [EVERY, make(verdict("pass")), make(planned=3), make()])
def test_the_json_report_holds_to_its_schema(run: Run) -> None:
    text = FORMS["report.json"](run)
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(json.loads(text), schema(), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "run",
    [EVERY, make(verdict("pass")), make(planned=3), make(verdict("pass"), selection=Selection(ops=("x",)))],
)
def test_the_statement_holds_to_its_schema(run: Run) -> None:
    text = FORMS["statement.json"](run)
    jsonschema.Draft202012Validator.check_schema(statement_schema())
    jsonschema.validate(json.loads(text), statement_schema(), cls=jsonschema.Draft202012Validator)


def test_the_schema_refuses_conformance_of_a_narrowed_run() -> None:
    data = statement(make(verdict("pass"), selection=Selection(ops=("selective_scan",))))
    assert data["statement"].startswith("selection passed")
    for change in ({"levels_reached": ["smoke"]}, {"statement": "conforms: all"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data | change, statement_schema())


@pytest.mark.parametrize(
    ("statuses", "reached"),
    [
        (("pass", "pass", "pass"), ["smoke", "quick", "full"]),
        (("pass", "pass", "fail"), ["smoke", "quick"]),
        (("pass", "error", "pass"), ["smoke"]),
        (("fail", "pass", "pass"), []),
        (("pass", "not_claimed", "unavailable"), ["smoke", "quick", "full"]),
        (("not_claimed", "pass", "pass"), []),
    ],
)
def test_the_statement_says_which_levels_were_reached(statuses: tuple[str, ...], reached: list[str]) -> None:
    verdicts = [verdict(status, name) for status, name in zip(statuses, "abc", strict=True)]
    levels = dict(zip((v.id for v in verdicts), LEVELS, strict=True))
    run = make(*verdicts, level="full", levels=levels)
    assert levels_reached(run) == reached
    assert levels_reached(make(*verdicts, level="full", levels=levels, selection=Selection(ops=("x",)))) == []
    unfinished = make(*verdicts, planned=4, level="full", levels=levels)
    assert levels_reached(unfinished) == [level for level in reached if level != "full"]


def test_the_statement_counts_by_operator_and_names_what_was_announced() -> None:
    data = statement(EVERY)
    assert data["operators"] == {
        "selective_scan": {"float32": {"pass": 2, "fail": 3, "error": 1, "unavailable": 1, "worst": "inf"}}
    }
    assert data["announced"] == [{"id": "selective_scan/value/float32/d", "reason": "reported upstream"}]
    assert data["counts"]["not_run"] == 2


def test_the_schema_refuses_another_status() -> None:
    data = report_data(EVERY)
    data["cases"][0]["status"] = "ok"
    with pytest.raises(jsonschema.ValidationError, match="'ok' is not one of"):
        jsonschema.validate(data, schema())


def test_the_json_report_is_in_catalogue_order_and_counts_right() -> None:
    run = make(planned=0)
    run.planned = [f"selective_scan/value/float32/{name}" for name in "abc"]
    for name in "cab":
        run.add(verdict("pass", name))
    assert [case["id"][-1] for case in report_data(run)["cases"]] == ["a", "b", "c"]
    assert report_data(EVERY)["summary"] == {
        "pass": 2, "fail": 3, "error": 1, "not_claimed": 1, "unavailable": 1
    }  # fmt: skip
    assert report_data(EVERY)["not_run"] == 2


def test_junit_parses_and_an_unfinished_run_is_an_error_there() -> None:
    root = ElementTree.fromstring(junit(EVERY))
    suite = root[0]
    assert suite.attrib["tests"] == "9"
    assert suite.attrib["failures"] == "3"  # inf, the nasty one, and the unexpected pass
    assert suite.attrib["errors"] == "2"
    assert suite.attrib["skipped"] == "3"
    assert len(suite.findall("testcase/failure")) == 3
    assert len(suite.findall("testcase/error")) == 2
    assert len(suite.findall("testcase/skipped")) == 3
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "rerun: ssm-spec conform b --case" in (failure.text or "")


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_page_is_self_contained_and_escapes_what_a_backend_says() -> None:
    page = html(EVERY)
    outline = Outline()
    outline.feed(page)
    assert outline.tags.count("script") == 1
    assert not outline.outside
    assert "http" not in page
    assert "alert(1)&lt;/script&gt;" in page
    for item in EVERY.ordered:
        assert item.id in page


def test_markdown_names_every_failure_with_its_command() -> None:
    page = markdown(EVERY)
    for name in "bcef":
        assert f"ssm-spec conform b --case selective_scan/value/float32/{name}\n" in page
    assert "| selective_scan | **2/6 · inf** |" in page


@pytest.mark.parametrize(
    ("run", "word", "color", "status"),
    [
        (make(verdict("pass")), "conforms", "brightgreen", 0),
        (make(verdict("pass"), selection=Selection(ops=("selective_scan",))), "selection passed", "blue", 0),
        (make(verdict("fail")), "does not conform", "red", 1),
        (make(verdict("fail"), selection=Selection(cases=("x",))), "selection failed", "red", 1),
        (make(verdict("fail", expected="known")), "conforms but for 1", "yellow", 0),
        (make(verdict("pass", expected="known")), "does not conform", "red", 1),
        (make(verdict("fail", "a"), verdict("error", "b")), "does not conform", "red", 1),
        (make(verdict("error")), "undecided", "lightgrey", 2),
        (make(verdict("pass"), planned=2), "undecided", "lightgrey", 2),
        (make(verdict("pass"), ended="interrupted"), "undecided", "lightgrey", 2),
        (make(verdict("not_claimed")), "undecided", "lightgrey", 2),
        (make(), "undecided", "lightgrey", 2),
        (make(verdict("pass", "a"), verdict("unavailable", "b")), "conforms", "brightgreen", 0),
    ],
)
def test_what_a_run_amounts_to(run: Run, word: str, color: str, status: int) -> None:
    assert run.headline.startswith(word)
    assert badge(run)["color"] == color
    assert badge(run)["message"].startswith(word.partition(" but")[0])
    assert exit_status([run]) == status
    assert ("conforms" in markdown(run)) == word.startswith("conforms")


def test_several_runs_together() -> None:
    good, bad, open_ = make(verdict("pass")), make(verdict("fail")), make(verdict("error"))
    assert exit_status([]) == 2
    assert exit_status([good, good]) == 0
    assert exit_status([good, open_]) == 2
    assert exit_status([open_, bad]) == 1
    assert exit_status([good], [LoadError("plugin", "x")]) == 2
    assert exit_status([bad], [LoadError("plugin", "x")]) == 1
    unwritten = make(verdict("pass"))
    unwritten.report_trouble = "the disk is full"
    assert exit_status([unwritten]) == 2


def test_ratios_for_a_reader() -> None:
    shown = [show_ratio(x) for x in (None, 0.0, 1e-5, 0.314159, 1.0, 16.47, 2.6e4, math.inf, math.nan)]
    assert shown == ["", "0.00", "1.0e-05", "0.31", "1.00", "16.47", "2.6e+04", "inf", "nan"]


def test_nan_is_the_worst_ratio() -> None:
    assert worse(None, 0.5) == 0.5
    assert worse(2.0, 1.0) == 2.0
    assert math.isnan(worse(math.inf, math.nan))
    assert math.isnan(worse(math.nan, math.inf))


def test_a_cell_has_its_gravest_mark() -> None:
    cell = tabulate(EVERY.ordered)["selective_scan", "value"]
    assert cell.mark == "fail"
    assert (cell.judged, cell.expected, cell.worst) == (5, 1, math.inf)


def test_a_cell_whose_failures_were_all_announced_says_so() -> None:
    cell = tabulate([verdict("fail", "a", expected="known"), verdict("pass", "b")])["selective_scan", "value"]
    assert cell.mark == "expected"
    cell.add(verdict("fail", "c"))
    assert cell.mark == "fail"


def test_headroom_adds_the_elements_of_an_operator_and_shows_them_everywhere() -> None:
    first = [5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    second = [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1]
    verdicts = [
        verdict("pass", "a", details={"headroom": first, "excused": 3}),
        verdict("fail", "b", details={"headroom": second, "excused": 0}),
        verdict("pass", "c"),
    ]
    entry = headroom(verdicts)["selective_scan"]
    assert entry.counts == [5, 1, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 1]
    assert (entry.judged, entry.excused) == (10, 3)
    assert entry.share(0.1) == 0.8
    assert entry.share(1.0) == 0.9
    assert len(entry.bars) == 13
    assert [bar != " " for bar in entry.bars] == [count > 0 for count in entry.counts]
    assert entry.bars[0] == "█"
    data = headroom_data(verdicts)
    assert data["operators"]["selective_scan"]["counts"][-1] == 1
    assert len(data["edges"]) == len(entry.counts) - 1


def test_the_judge_counts_elements_up_to_an_edge_and_nan_beyond_all() -> None:
    ratios = np.array([0.0, 0.001, 0.0011, 1.0, 1.5, 11.0, np.nan])
    judgement = measure(ratios, np.ones(7), np.ones(7, dtype=bool), ratios, ratios)
    assert _headroom({"y": judgement}) == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 2]


def test_like_findings_are_told_once() -> None:
    groups = alike([verdict("fail", "a", message="x\n1"), verdict("fail", "b", message="x\n2"),
                    verdict("fail", "c", message="y")])  # fmt: skip
    assert [len(members) for members in groups] == [2, 1]


def test_findings_that_look_like_one_mistake_are_told_once() -> None:
    said = (
        "y[0] = 1; likely mistake: `D` is ignored",
        "y[4] = 7; likely mistake: `D` is ignored",
        "y[0] = 1",
    )
    groups = alike(verdict("fail", f"x{i}", message=message) for i, message in enumerate(said))
    assert [len(members) for members in groups] == [2, 1]


def declared(name: str, ratio: float, without: float, **facts: Any) -> Verdict:
    outputs = (OutputRatio("y", ratio, (0,)),)
    return verdict(
        "pass", name, ratio=ratio, outputs=outputs, details={"declared": facts, "ratio_undeclared": without}
    )


@pytest.mark.parametrize(
    ("ratios", "outcome"),
    [
        ([(0.2, 0.2), (0.3, 0.3)], "unnecessary, for it changes nothing"),
        ([(0.2, 0.4), (0.3, 0.9)], "unnecessary, for every case passes without it"),
        ([(0.2, 0.4), (0.5, 0.1)], "it narrows the bound"),
        ([(0.2, 0.4), (0.3, math.inf)], "1 of 2 cases pass by it"),
        ([(0.2, 0.4), (0.3, math.nan)], "1 of 2 cases pass by it"),
        ([(0.2, 0.2), (math.inf, math.inf)], "no case passes by it alone"),
        ([(0.2, 0.4), (3.0, 5.0)], "no case passes by it alone"),
    ],
)
def test_a_report_says_what_a_declaration_is_for(ratios: list[tuple[float, float]], outcome: str) -> None:
    run = make(*(declared(str(i), *pair, evaluation="fft") for i, pair in enumerate(ratios)))
    (found,) = declarations(run.ordered)
    assert found.outcome == outcome
    worst, without = (show_ratio(max(side)) for side in zip(*ratios, strict=True))
    if not math.isnan(ratios[1][1]):
        assert found.sentence.endswith(f"worst ratio {worst}, without it {without}")
    for page in (markdown(run), html(run)):
        assert f"selective_scan declares evaluation fft (float32): {outcome}" in page


def test_declarations_of_other_facts_or_outcomes_are_told_apart() -> None:
    needed, idle = declared("a", 0.2, 2.0, softplus="naive"), declared("b", 0.2, 0.4, softplus="naive")
    halves = [replace(idle, dtype=dtype) for dtype in ("bfloat16", "float16")]
    told = declarations([needed, declared("c", 0.1, 0.1, evaluation="scan"), *halves])
    assert [(item.facts, item.dtypes) for item in told] == [
        ("softplus naive", ["float32"]),
        ("evaluation scan", ["float32"]),
        ("softplus naive", ["bfloat16", "float16"]),
    ]
    assert [item.unnecessary for item in told] == [False, True, True]


def test_a_folder_in_place_of_a_report_is_found_out_first(tmp_path: Path) -> None:
    (tmp_path / "b" / "report.json").mkdir(parents=True)
    with pytest.raises(FolderError, match=r"`--report` must be .*report\.json is a folder itself"):
        ReportFolder(tmp_path, "b")


def test_a_folder_that_cannot_be_written_is_found_out_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"`--report` must be a folder that can be written to; .*file"):
        ReportFolder(tmp_path / "file", "b")


def test_a_folder_always_holds_the_present_run(tmp_path: Path) -> None:
    folder = ReportFolder(tmp_path, "b")
    (folder.path / "report.html").write_text("of an earlier run")
    folder.begin(make(planned=2))
    assert [path.name for path in folder.path.iterdir()] == ["report.json"]
    folder.finish(EVERY)
    assert {path.name for path in folder.path.iterdir()} == set(FORMS)
    assert folder.trouble == ""


def test_a_report_that_cannot_be_written_is_trouble_not_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ReportFolder(tmp_path, "b")

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("ssm_conformance.reports.folder.replace_file", full)
        folder.keep_up(EVERY)
        assert "No space left on device" in folder.trouble
    folder.finish(EVERY)  # there is room again
    assert folder.trouble == ""
    monkeypatch.setattr("ssm_conformance.reports.folder.replace_file", full)
    folder.finish(EVERY)
    assert "No space left on device" in folder.trouble


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    replace_file(path, "one")
    replace_file(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]
