"""The figures measured on a GPU belong to the kernels in the tree: stale ones fail here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "triton-h200.json"


def digest() -> str:
    """SHA-256 over the sources that decide what runs on a GPU: kernels, plans, launches; in order of name."""
    sha = hashlib.sha256()
    for path in sorted((ROOT / "backends" / "ssm_triton").glob("_*.py")):
        if path.name != "__init__.py":
            sha.update(path.read_bytes())
    return sha.hexdigest()


def test_the_measured_kernels_are_these() -> None:
    assert json.loads(RESULTS.read_text())["kernel_sources_sha256"] == digest()


def test_the_ratios_follow_from_the_times() -> None:
    for row in json.loads(RESULTS.read_text())["scan"]:
        for what in ("forward", "both"):
            ratio = row["peer_milliseconds"][what] / row["milliseconds"][what]
            assert abs(ratio - row["times_faster"][what]) < 0.01
