"""What the docs' figures show is what the oracle computes, and it is what the theory says."""

import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = json.loads((DOCS / "results" / "hippo-memory.json").read_text())["rows"]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("hippo_memory", DOCS / "figures" / "hippo_memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("n", [1, 6, 16])
def test_the_errors_of_memory_are_the_oracles(script, n: int) -> None:
    kept = {row["n"]: row for row in ROWS}[n]
    for name, found in script.row(n).items():
        np.testing.assert_allclose(found, kept[name], rtol=2e-3, err_msg=name)  # four digits are kept


def test_more_states_remember_better_and_hippo_better_than_random() -> None:
    """The error of reconstruction falls with n; from n = 12 no random system of its size comes near LegS."""
    for name in ("legs, exact steps", "legs, best reading"):
        errors = [row[name] for row in ROWS]
        assert all(late < early for early, late in pairwise(errors))
    for row in ROWS:
        assert row["legs, best reading"] <= row["legs, exact steps"] <= row["legs, bilinear steps"]
        if row["n"] >= 12:
            assert min(row["random, best reading"]) > 2 * row["legs, best reading"]
    last = ROWS[-1]
    assert last["legs, exact steps"] < 1e-3 < 0.03 < min(last["random, best reading"])


def test_the_figure_is_shown_and_drawn() -> None:
    assert "](figures/hippo-memory.svg)" in (DOCS / "oracle.md").read_text()
    drawn = (DOCS / "figures" / "hippo-memory.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "</svg>" in drawn
