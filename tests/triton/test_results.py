"""The figures measured on a GPU belong to the kernels in the tree: stale ones fail here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "backends" / "ssm_triton"
RESULTS = ROOT / "docs" / "results" / "triton-h200.json"
PACKED = RESULTS.with_name("triton-packed-h200.json")
APART = {
    "convolution": "triton-convolution-h200.json",
    "dual": "triton-ssd-h200.json",
    "heads": "triton-heads-step-h200.json",
}
"""Parts of the names of what is measured by itself, and its results."""
SHARED = {
    "convolution": ("inputs", "math", "plan", "slots"),
    "dual": ("inputs", "math", "plan"),
    "heads": ("inputs", "math", "plan", "slots", "tiles"),
}
"""What these use of the rest."""


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the sources that decide what runs on a GPU: kernels, plans, launches; in order of name."""
    sha = hashlib.sha256()
    for path in sorted(paths):
        sha.update(path.read_bytes())
    return sha.hexdigest()


@pytest.mark.parametrize("results", [RESULTS, PACKED], ids=lambda path: path.stem)
def test_the_measured_kernels_are_these(results: Path) -> None:
    private = set(SOURCES.glob("_*.py")) - {SOURCES / "__init__.py"}
    found = digest(path for path in private if not any(other in path.name for other in APART))
    assert json.loads(results.read_text())["kernel_sources_sha256"] == found


@pytest.mark.parametrize(("part", "file"), APART.items())
def test_the_measured_kernels_of_other_operators_are_these(part: str, file: str) -> None:
    shared = (SOURCES / f"_{name}.py" for name in SHARED[part])
    found = digest([*SOURCES.glob(f"_*{part}*.py"), *shared])
    assert json.loads(RESULTS.with_name(file).read_text())["kernel_sources_sha256"] == found


def test_the_ratios_follow_from_the_times() -> None:
    for row in json.loads(RESULTS.read_text())["scan"]:
        for what in ("forward", "both"):
            ratio = row["peer_milliseconds"][what] / row["milliseconds"][what]
            assert abs(ratio - row["times_faster"][what]) < 0.01
