"""The self-test says what happened: rejected, by what, lost in rounding, missed, wrongly rejected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ssm_backends import ArgumentError
from ssm_conformance.cases import find_case
from ssm_conformance.cli import cli
from ssm_conformance.mutants import HONEST, MUTANTS, Mutant
from ssm_conformance.mutants.defects.structure import GroupsByRepeat
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.pytorch import TorchScan
from ssm_conformance.selftest import Pair, Row, pairs, report, row, run


def selftest(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["selftest", *arguments], standalone_mode=False)


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Add a mutant to the table for one test; its name."""

    def put(rejected_by: str, only: tuple[str, ...] = ()) -> str:
        mutant = Mutant("flawless", None, "None.", rejected_by, Honest(), only)
        monkeypatch.setitem(MUTANTS, mutant.name, mutant)
        return mutant.name

    return put


def test_a_mutant_is_rejected_by_the_checks_that_see_it() -> None:
    found = row("groups-by-repeat", "float32", "smoke")
    assert found.outcome == "rejected"
    assert found.caught
    assert found.right
    assert found.expected == "selective_scan/value/float32/groups"
    assert found.checks.items() >= {"value": 1, "gradient": 1}.items()
    assert found.ratio is not None
    assert found.ratio > 1e4
    assert found.cases > 20
    assert found.errors == ()
    assert "times the bound" in found.rejections[found.expected]
    assert found.allclose, "typical inputs have one group"
    assert not found.allclose_there
    assert found.loss is None


def test_the_honest_implementation_passes() -> None:
    found = row("sequential", "bfloat16", None)
    assert found.outcome == "passed"
    assert found.right
    assert (found.expected, found.caught, found.checks, found.rejections) == ("", False, {}, {})
    assert found.ratio is not None
    assert 0 < found.ratio < 1
    assert found.allclose


def test_what_rounding_hides_is_computed() -> None:
    assert row("softplus-cut", "float64", None).outcome == "rejected"
    assert Pair("softplus-cut", "float32") in pairs(fast=True), "test_mutants.py sees that it is lost there"


def test_other_numbers_are_searched_for_as_long_as_is_asked() -> None:
    from ssm_conformance.selftest.rounding import lost_in_rounding

    found = lost_in_rounding(MUTANTS["softplus-cut"].backend(), "float32", "smoke", search=1.0)
    assert found.lost
    assert found.drawn > 0
    seen = lost_in_rounding(MUTANTS["products-in-tf32"].backend(), "float32", "smoke", search=30.0)
    assert not seen.lost
    assert seen.ratio > 1
    assert seen.where.startswith("selective_scan/")
    assert seen.drawn == 0, "the first case outside the bound ends the search"


def test_what_rounding_hides_is_computed_of_pytorch_too() -> None:
    pytest.importorskip("torch")
    from ssm_conformance.selftest.rounding import lost_in_rounding, ratio_in_float64

    few = lost_in_rounding(MUTANTS["lssl-step-gradient-in-bfloat16"].backend(), "float32", "smoke")
    assert (few.lost, few.cases) == (True, 2), "the smoke level has no 32 states"
    constant = MUTANTS["s5-hold-is-constant"].backend()
    assert ratio_in_float64(find_case("s5/gradient/float32/typical"), constant) > 1


def test_what_no_case_sees_in_float64_is_missed(add: Callable[..., str]) -> None:
    found = row(add("value/typical"), "float64", None)
    assert found.outcome == "missed"
    assert not found.right


def test_a_property_that_holds_is_missed_and_never_lost(add: Callable[..., str]) -> None:
    assert row(add("property/causality-plain"), "float32", None).outcome == "missed"


def test_rejected_by_another_case_than_the_named_one_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    astray = replace(MUTANTS["groups-by-repeat"], rejected_by="value/typical")
    monkeypatch.setitem(MUTANTS, "groups-by-repeat", astray)
    found = row("groups-by-repeat", "float32", "smoke")
    assert found.outcome == "rejected"
    assert not found.caught
    assert not found.right
    result = selftest("groups-by-repeat", "-n", "1")
    assert result.return_value == 1
    assert "rejected, but not by selective_scan/value/float64/typical" in result.output.replace("\n", " ")


def test_a_rejected_honest_implementation_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(HONEST["kogge-stone"], kernels=(GroupsByRepeat(),))
    monkeypatch.setitem(HONEST, "kogge-stone", wrong)
    found = row("kogge-stone", "float32", "smoke")
    assert found.outcome == "wrongly rejected"
    assert not found.right


def test_a_mutant_that_kills_its_process_is_rejected_in_a_worker() -> None:
    found = row("exit", "float32", None)
    assert found.right
    assert "exit status 0" in found.rejections[found.expected]
    assert found.allclose is None


def test_what_is_run_can_be_chosen() -> None:
    everything = pairs()
    assert len(everything) == len(set(everything)) > 500
    here = [name for name, subject in {**HONEST, **MUTANTS}.items() if subject.runs_here()]
    assert {pair.name for pair in everything} == set(here)
    fast = pairs(fast=True)
    assert [pair.name for pair in fast] == here
    assert {pair.dtype for pair in fast} == {"float64", "float32", "bfloat16", "float16"}
    assert {MUTANTS[pair.name].check for pair in pairs(checks=["memory"])} == {"memory"}
    with pytest.raises(ArgumentError, match="got 'group-by-repeat'; did you mean groups-by-repeat"):
        pairs(["group-by-repeat"])
    with pytest.raises(ArgumentError, match="`checks` must leave something to run; got memory"):
        pairs(["groups-by-repeat"], ["memory"])


def test_what_cannot_run_here_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TorchScan, "runs_here", lambda self: False)
    assert "pytorch" not in {pair.name for pair in pairs()}
    with pytest.raises(ArgumentError, match="'pytorch' lacks its library or its device"):
        pairs(["pytorch"])


def test_processes_give_the_same_rows_as_one() -> None:
    asked = [Pair(name, "float32") for name in ("rows-race", "one-step-late", "nothing-written")] * 2
    alone = sorted(run(asked, None), key=lambda item: item.name)
    shared = sorted(run(asked, None, workers=2), key=lambda item: item.name)
    assert shared == alone


def test_the_command_says_the_outcome_and_writes_it(tmp_path: Path) -> None:
    twice = "rows-race", "kogge-stone", "rows-race"  # is run once
    result = selftest(*twice, "--level", "named", "--report", str(tmp_path))
    assert result.return_value == 0, result.output
    assert "honest: 0 failed of 4" in result.output
    assert "known-bad: 4 of 4 rejected by the check that must, 0 lost in rounding" in result.output
    data = json.loads((tmp_path / "selftest.json").read_text())
    assert data["summary"]["known_bad"]["rejected"] == 4
    assert data["mutants"]["rows-race"]["failure"] == 16
    assert [item["dtype"] for item in data["rows"] if item["name"] == "rows-race"] == [
        *MUTANTS["rows-race"].dtypes
    ]
    page = (tmp_path / "selftest.md").read_text()
    assert "| rows-race | gradient/typical |" in page
    assert selftest("nonesuch", "-n", "1").exit_code != 0


def test_the_command_fails_where_the_suite_has_no_teeth(add: Callable[..., str]) -> None:
    flawless = add("value/typical", ("float64",))  # a narrower dtype is searched for a defect, at length
    result = selftest(flawless, "--level", "named", "-n", "1")
    assert result.return_value == 1
    assert "flawless in float64: missed" in result.output.replace("\n", " ")


@pytest.mark.parametrize(("outcome", "status"), [("rejected", 2), ("missed", 1)])
def test_an_interrupted_run_leaves_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Any, status: int
) -> None:
    def interrupted(asked: list[Pair], level: None, **_: object) -> Iterator[Row]:
        yield replace(row(asked[0].name, asked[0].dtype, level), outcome=outcome)
        raise KeyboardInterrupt

    monkeypatch.setattr("ssm_conformance.selftest.run", interrupted)
    result = selftest("rows-race", "kogge-stone", "--level", "named", "--report", str(tmp_path))
    assert result.return_value == status
    assert "interrupted: 1 of 8 pairs were run" in result.output
    assert len(json.loads((tmp_path / "selftest.json").read_text())["rows"]) == 1


def test_a_fast_run_asks_the_named_case_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[Any] = []
    monkeypatch.setattr("ssm_conformance.selftest.run", lambda asked, level, **_: levels.append(level) or [])
    assert selftest("rows-race", "--fast").return_value == 2, "nothing was run"
    assert selftest("rows-race", "--level", "named").return_value == 2
    assert selftest("rows-race").return_value == 2
    assert levels == [None, None, "smoke"]


def test_what_cannot_be_judged_is_neither_success_nor_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssm_conformance.verdict import Verdict

    monkeypatch.setattr(
        "ssm_conformance.checks.perform",
        lambda case, subject: Verdict(case.id, case.op, case.dtype, case.check, "error", message="no oracle"),
    )
    result = selftest("rows-race", "--level", "named", "-n", "1")
    assert result.return_value == 2
    assert "no oracle" in result.output


def test_the_data_holds_every_row() -> None:
    rows = [row("rows-race", "float32", None), row("sequential", "float32", None)]
    data = report(rows, "named", 0.0, 1.0)
    assert [item["name"] for item in data["rows"]] == ["sequential", "rows-race"]
    assert all(item["right"] for item in data["rows"])
    assert json.loads(json.dumps(data, allow_nan=False)) == data
