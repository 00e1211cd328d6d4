"""The suite's verdict on this package, as a test of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_mambapy_fails_only_what_is_announced() -> None:
    known = Path(__file__).resolve().parents[1] / "expected-failures.toml"
    command = [sys.executable, "-m", "ssm_conformance", "conform", "mambapy", "--expected", str(known)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
