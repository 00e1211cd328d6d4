"""What a run prints."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from rich.console import Console

from ssm_conformance.reports.matrix import failing_outputs
from ssm_conformance.reports.terminal import print_run
from ssm_conformance.verdict import OutputRatio

from .test_reports import make, verdict


def test_the_terminal_counts_what_is_beyond_its_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    ratios = [{"y": 3.0, "s": 0.5}, {"y": math.nan, "s": 1.5}, {"y": 0.5, "s": 0.1}]
    outputs = [tuple(OutputRatio(name, ratio, (0,)) for name, ratio in case.items()) for case in ratios]
    cases = [verdict("fail", f"x{i}", message=f"{i}", outputs=found) for i, found in enumerate(outputs)]
    announced = verdict("fail", "y", message="z", outputs=outputs[0], expected="reported upstream")
    print_run(Console(width=80), make(*cases, announced))
    assert "beyond their bounds in selective_scan: y (2 cases), s (1 case)\n" in capsys.readouterr().out


def test_an_operator_that_fails_for_something_else_has_nothing_beyond_its_bounds() -> None:
    beyond = verdict("fail", outputs=(OutputRatio("y", 3.0, (0,)),))
    raised = replace(verdict("fail", "b", message="it raised"), op="ssd")
    assert failing_outputs([beyond, raised]) == "selective_scan: y (1 case)"


def test_the_terminal_says_why_a_claim_stays_unverified(capsys: pytest.CaptureFixture[str]) -> None:
    cases = [verdict("unavailable", f"x{i}", message="no instrument") for i in range(2)]
    print_run(Console(width=80), make(verdict("pass"), *cases))
    assert "unverified: no instrument (2 cases)\n" in capsys.readouterr().out


def test_the_terminal_shows_only_columns_that_hold_anything(capsys: pytest.CaptureFixture[str]) -> None:
    print_run(Console(width=80), make(verdict("pass"), verdict("unavailable", "b")))
    heading = capsys.readouterr().out.splitlines()[0]
    assert heading.split() == ["operator", "check", "pass", "unverified", "worst", "ratio"]


def test_of_many_like_findings_a_few_commands_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    same = [verdict("fail", f"x{i}", message="it is wrong") for i in range(20)]
    print_run(Console(width=80), make(*same))
    said = capsys.readouterr().out
    assert said.count("ssm-spec conform b --case") == 8
    assert "… and 12 more cases say the same" in said


def test_a_long_stack_is_shortened_in_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    log = "\n".join(f"line {i}" for i in range(100))
    print_run(Console(width=80), make(verdict("fail", message="it crashed", details={"log": log})))
    said = capsys.readouterr().out
    assert all(f"| line {i}\n" in said for i in (0, 5, 94, 99))
    assert "| line 50\n" not in said
