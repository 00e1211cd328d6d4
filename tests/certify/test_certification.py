"""The certification finds what it is for: a small one is clean, and a wrong oracle is caught."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ssm_spec import REFERENCES, Bounded
from ssm_spec.certify import _certification as room
from ssm_spec.certify import enclose
from ssm_spec.certify.__main__ import main
from ssm_spec.certify._certification import Certification
from ssm_spec.certify._draws import DRAWS
from ssm_spec.certify._source import REGIMES

from .brief import middling

SHORT = [number for number, regime in enumerate(REGIMES) if regime != "long"]


@pytest.mark.parametrize("op", DRAWS)
def test_every_operator_keeps_its_bounds_in_every_regime(
    op: str, record_property: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "draw", middling)
    found = Certification(seed=20)
    for number in SHORT:
        found.hold(op, number)
    assert found.findings == []
    assert found.refused == {}
    assert found.elements > 0
    record_property("worst", max(tally.worst for tally in found.tallies[op].values()))


def test_a_long_scan_keeps_its_bounds() -> None:
    found = Certification(seed=20)
    found.hold("selective_scan", REGIMES.index("long"))
    assert found.findings == []
    assert found.lengths["selective_scan"] == [4096, 4096]


def wrong(monkeypatch: pytest.MonkeyPatch, op: str, **changed: Any) -> Certification:
    """The certification of an operator one of whose functions is another."""
    table = {**REFERENCES, op: replace(REFERENCES[op], **changed)}
    monkeypatch.setattr(room, "REFERENCES", table)
    found = Certification(seed=20)
    found.hold(op, 0)
    return found


def test_a_value_off_by_a_few_units_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def value(u: Any, K: Any) -> Any:
        return REFERENCES["causal_convolution"].value(u, K) * (1 + 2.0**-40)

    found = wrong(monkeypatch, "causal_convolution", value=value)
    assert found.findings
    assert all(finding.proven and finding.name == "y" for finding in found.findings)
    assert found.findings[0].error > found.findings[0].own


def test_a_gradient_without_its_conjugate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def vjp(cotangents: Any, wrt: Any = None, **inputs: Any) -> Any:
        found = REFERENCES["discretize_zoh"].vjp(cotangents, wrt, **inputs)  # type: ignore[misc]  # it has one
        return {**found, "delta": -found["delta"]}

    found = wrong(monkeypatch, "discretize_zoh", vjp=vjp)
    assert {finding.name for finding in found.findings} == {"d delta"}


def test_a_bound_that_promises_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def bounds(**inputs: Any) -> dict[str, Bounded]:
        found = REFERENCES["hippo_legs"].bounds(**inputs)
        return {name: replace(bounded, own=bounded.own / 4) for name, bounded in found.items()}

    monkeypatch.setattr(room, "draw", lambda op, seed, number: ("typical", {"n": 7}))
    assert wrong(monkeypatch, "hippo_legs", bounds=bounds).findings


def test_an_infinity_is_a_finding_that_takes_no_more_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def spied(op: str, *, bits: int, **inputs: Any) -> Any:
        asked.append(bits)
        return enclose(op, bits=bits, **inputs)

    def value(u: Any, K: Any) -> Any:
        return np.full(u.shape, np.inf)

    monkeypatch.setattr(room, "enclose", spied)
    found = wrong(monkeypatch, "causal_convolution", value=value)
    assert all(finding.proven for finding in found.findings)
    assert asked == [128]


def test_a_nan_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def value(u: Any, K: Any) -> Any:
        return np.full(u.shape, np.nan)

    assert wrong(monkeypatch, "causal_convolution", value=value).findings


def test_a_singular_draw_is_counted_and_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    singular = {"A": np.eye(1), "B": np.eye(1), "delta": 2.0}
    monkeypatch.setattr(room, "draw", lambda op, seed, number: ("typical", singular))
    found = Certification(seed=20)
    found.hold("discretize_bilinear", 0)
    assert found.refused == {"discretize_bilinear": 1}
    assert found.elements == 0
    assert found.cases == {}


def test_a_run_goes_on_after_a_draw_that_the_oracle_refuses(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(op: str, seed: int, number: int) -> tuple[str, dict[str, Any]]:
        return "typical", {"A": np.eye(2), "B": np.ones((2, 1)), "delta": 2.0 if number == 0 else 0.5}

    monkeypatch.setattr(room, "DRAWS", {"discretize_bilinear": DRAWS["discretize_bilinear"]})
    monkeypatch.setattr(room, "draw", draw)
    assert main(["--elements", "1", "--out", str(tmp_path / "found.json")]) == 0
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["refused"] == {"discretize_bilinear": 1}
    assert report["operators"]["discretize_bilinear"]["cases"] == len(REGIMES) - 1
    assert "1 draws refused" in capsys.readouterr().out


def test_the_command_writes_what_it_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "DRAWS", {"hippo_legs": DRAWS["hippo_legs"]})
    assert main(["--elements", "50", "--out", str(tmp_path / "found.json")]) == 0
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["elements"] >= 50
    assert report["violations"] == report["undecided"] == []
    row = report["operators"]["hippo_legs"]
    assert row["values"]["elements"] == sum(tally["elements"] for tally in row["outputs"].values())
    assert row["gradients"]["elements"] == 0
    tally = row["outputs"]["A"]
    assert 0 <= tally["median"] <= tally["nine in ten"] <= tally["99 in 100"] <= tally["worst"] <= 1
