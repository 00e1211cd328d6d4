"""The certification that is kept as data: large enough, of every operator, and clean."""

import json
from pathlib import Path
from typing import Any

import pytest

from ssm_spec import REFERENCES
from ssm_spec.certify._certification import _TIME

KEPT = Path(__file__).resolve().parents[2] / "docs" / "results" / "certification.json"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KEPT.read_text())
    return found


def test_it_holds_a_million_elements_and_finds_nothing(report: dict[str, Any]) -> None:
    assert report["elements"] >= 1_000_000
    assert report["violations"] == report["undecided"] == []
    assert report["worst"] <= 1
    assert report["excused"] <= 0.001 * report["elements"]


def test_it_is_of_every_operator_its_gradients_and_long_sequences(report: dict[str, Any]) -> None:
    assert set(report["operators"]) == set(REFERENCES)
    for op, row in report["operators"].items():
        named = {name.removeprefix("d ") for name in row["outputs"] if name.startswith("d ")}
        assert set(row["outputs"]) - {f"d {name}" for name in named} == set(REFERENCES[op].outputs)
        assert named == set(REFERENCES[op].differentiable)
        assert row["values"]["elements"] > 100
        if op in _TIME:
            assert row["lengths"][0] <= 3
            assert row["lengths"][1] == 4096
    assert min(row["lengths"][0] for row in report["operators"].values()) == 1
