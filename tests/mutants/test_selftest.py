"""The self-test says what happened: rejected, by what, lost in rounding, missed, wrongly rejected."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from ssm_backends import ArgumentError
from ssm_conformance.cli import cli
from ssm_conformance.mutants import HONEST, MUTANTS, Mutant
from ssm_conformance.mutants.adjoint import Honest
from ssm_conformance.mutants.structure import GroupsByRepeat
from ssm_conformance.selftest import pairs, row, run


def test_a_mutant_is_rejected_by_the_checks_that_see_it() -> None:
    found = row("groups-by-repeat", "float32", "smoke")
    assert found.outcome == "rejected"
    assert found.caught
    assert found.right
    assert found.expected == "selective_scan/value/float32/groups"
    assert found.checks == {"value": 1, "gradient": 1}
    assert found.ratio is not None
    assert found.ratio > 1e4
    assert found.cases > 30
    assert found.errors == ()
    assert found.allclose, "typical inputs have one group"
    assert not found.allclose_there


def test_the_honest_implementation_passes() -> None:
    (found,) = [item for item in run(None, ["honest"]) if item.dtype == "bfloat16"]
    assert found.outcome == "passed"
    assert found.right
    assert found.expected == ""
    assert not found.caught
    assert found.checks == {}
    assert found.ratio is not None
    assert 0 < found.ratio < 1
    assert found.allclose


def test_what_rounding_hides_is_computed() -> None:
    found = {item.dtype: item for item in run(None, ["softplus-cut"])}
    assert found["float64"].outcome == "rejected"
    assert found["float32"].outcome == found["bfloat16"].outcome == "lost in rounding"
    assert all(item.right for item in found.values())


def test_what_no_case_sees_in_float64_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MUTANTS, "flawless", Mutant("flawless", None, "None.", "value/typical", Honest()))
    found = row("flawless", "float64", None)
    assert found.outcome == "missed"
    assert not found.right


def test_a_property_that_holds_is_missed_and_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    named = "property/causality-plain"
    monkeypatch.setitem(MUTANTS, "flawless", Mutant("flawless", None, "None.", named, Honest()))
    assert row("flawless", "float32", None).outcome == "missed"


def test_rejected_by_another_case_than_the_named_one_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    astray = replace(MUTANTS["groups-by-repeat"], rejected_by="value/typical")
    monkeypatch.setitem(MUTANTS, "groups-by-repeat", astray)
    found = row("groups-by-repeat", "float32", "smoke")
    assert found.outcome == "rejected"
    assert not found.caught
    assert not found.right


def test_a_rejected_honest_implementation_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HONEST, "honest", (GroupsByRepeat(),))
    found = row("honest", "float32", "smoke")
    assert found.outcome == "wrongly rejected"
    assert not found.right


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ArgumentError, match="got 'nonesuch'"):
        pairs(["nonesuch"])


def test_the_command_says_the_outcome() -> None:
    good = CliRunner().invoke(cli, ["selftest", "--level", "named", "rows-race"], standalone_mode=False)
    assert good.return_value == 0
    assert "3 of 3 known-bad pairs are rejected" in good.output
    assert CliRunner().invoke(cli, ["selftest", "nonesuch"]).exit_code == 2


def test_the_command_fails_where_the_suite_has_no_teeth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MUTANTS, "flawless", Mutant("flawless", None, "None.", "value/typical", Honest()))
    found = CliRunner().invoke(cli, ["selftest", "--level", "named", "flawless"], standalone_mode=False)
    assert found.return_value == 1
    assert "flawless in float64 (missed)" in found.output.replace("\n", " ")
