"""The tables of a self-test: by check, by mutant, what was lost, which recorded failure has which mutant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssm_conformance.mutants import HONEST, MUTANTS
from ssm_conformance.mutants.failures import FAILURES
from ssm_conformance.reports.matrix import CHECKS
from ssm_conformance.selftest import pages, report, row
from ssm_conformance.selftest.rounding import lost_in_rounding

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "selftest.json"


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    asked = [("rows-race", "float32"), ("rows-race", "bfloat16"), ("transforms", "float32")]
    return report([row(name, dtype, None) for name, dtype in asked], "named", 0.0, 2.0)


def test_every_recorded_failure_has_a_mutant_or_a_reason() -> None:
    assert list(FAILURES) == list(range(1, 37))
    seeded = {mutant.failure for mutant in MUTANTS.values()} - {None}
    assert {number for number, failure in FAILURES.items() if not failure.elsewhere} == seeded


def test_the_matrix_has_a_row_a_mutant_and_a_column_a_dtype(data: dict[str, Any]) -> None:
    head, _, line = pages.kill_matrix(data)
    columns = [part.strip() for part in head.strip("|").split("|")]
    assert columns[2:] == ["float64", "float32", "bfloat16", "float16", "allclose, there"]
    cells = [part.strip() for part in line.strip("|").split("|")]
    assert cells[:3] == ["rows-race", "gradient/typical", ""]
    assert float(cells[3]) > 1e3
    assert cells[5:] == ["", "rejects"]
    assert pages.kill_matrix(data, "ssm_kernel")[2:] == []


def test_the_checks_are_counted(data: dict[str, Any]) -> None:
    assert pages.by_check(data)[2:] == ["| gradient | 2 | 2 | 0 | 2 | 2 |", "| all | 2 | 2 | 0 | 2 | 2 |"]


def test_every_check_that_rejects_is_shown(data: dict[str, Any]) -> None:
    head, _, line = pages.by_question(data)
    assert head == f"| mutant | {' | '.join(CHECKS)} |"
    assert line == "| rows-race |  | 2/2 |  |  |  |  |  |  |"


def test_failures_name_their_mutants(data: dict[str, Any]) -> None:
    lines = pages.failures(data)[2:]
    assert len(lines) == 36
    assert lines[15].endswith("| `rows-race` |")
    assert "none: a matter of versions" in lines[32]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, "3e+01"),
        ({"ratio": "inf"}, "inf"),
        ({"ratio": 2.345}, "2.3"),
        ({"ratio": 0.4}, "rejected"),
        ({"ratio": None}, "rejected"),
        ({"caught": False}, "by another check"),
        ({"outcome": "missed"}, "missed"),
    ],
)
def test_a_cell_says_what_rejected(change: dict[str, Any], shown: str) -> None:
    item = {"outcome": "rejected", "caught": True, "ratio": 3e1} | change
    assert pages.cell(item) == shown.replace("3e+01", "30")
    assert pages.cell(None) == ""


def test_what_is_lost_says_how_far_it_was_looked_for() -> None:
    loss = lost_in_rounding(MUTANTS["softplus-cut"].backend(), "float32", "smoke")
    found = row("rows-race", "float32", None)
    lost = replace(found, name="softplus-cut", outcome="lost in rounding", loss=loss)
    lines = pages.lost(report([lost], "named", 0.0, 1.0))
    assert len(lines) == 3
    assert lines[2].startswith("| softplus-cut | float32 | ")
    assert lines[2].endswith("| 0 |")


def test_allclose_is_asked_only_where_something_came_back() -> None:
    assert [pages.customary(a) for a in ([None], [False], [True, True], [True, False])] == [
        "no answer",
        "rejects",
        "accepts",
        "accepts 1 of 2",
    ]


def test_the_docs_show_every_mutant_that_there_is() -> None:
    """Where this fails, run the commands that docs/teeth.md shows below its tables, and docs/render.py."""
    data = json.loads(RESULTS.read_text())
    on_a_cpu = {name for name, mutant in MUTANTS.items() if "captured" not in mutant.rejected_by}
    assert set(data["mutants"]) == on_a_cpu
    assert set(data["honest"]) == set(HONEST) - {"pytorch-captured"}
    assert {name: m["rejected_by"] for name, m in data["mutants"].items()} == {
        name: MUTANTS[name].rejected_by for name in on_a_cpu
    }
    assert data["summary"]["wrong"] == []
    searched = json.loads(RESULTS.with_name("selftest-lost.json").read_text())
    assert searched["search"] >= 60
    assert lost_pairs(data) == lost_pairs(searched)


def lost_pairs(data: dict[str, Any]) -> set[tuple[str, str]]:
    return {(item["name"], item["dtype"]) for item in data["rows"] if item["outcome"] == "lost in rounding"}
