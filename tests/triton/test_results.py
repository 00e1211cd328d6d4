"""The figures measured on a GPU belong to the kernels in the tree: stale ones fail here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "backends" / "ssm_triton"
RESULTS = ROOT / "docs" / "results" / "triton-h200.json"
DUAL = ROOT / "docs" / "results" / "triton-ssd-h200.json"
OTHERS = ("convolution", "dual")
"""Parts of the names of what is measured by itself."""


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the sources that decide what runs on a GPU: kernels, plans, launches; in order of name."""
    sha = hashlib.sha256()
    for path in sorted(paths):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def test_the_measured_kernels_are_these() -> None:
    private = set(SOURCES.glob("_*.py")) - {SOURCES / "__init__.py"}
    found = digest(path for path in private if not any(other in path.name for other in OTHERS))
    assert json.loads(RESULTS.read_text())["kernel_sources_sha256"] == found


def test_the_judged_kernels_of_the_dual_form_are_these() -> None:
    shared = (SOURCES / f"_{name}.py" for name in ("inputs", "math", "plan"))
    found = digest([*SOURCES.glob("_*dual*.py"), *shared])
    assert json.loads(DUAL.read_text())["kernel_sources_sha256"] == found


def test_the_ratios_follow_from_the_times() -> None:
    for row in json.loads(RESULTS.read_text())["scan"]:
        for what in ("forward", "both"):
            ratio = row["peer_milliseconds"][what] / row["milliseconds"][what]
            assert abs(ratio - row["times_faster"][what]) < 0.01
