"""The suite's verdict on this package, as a test of it."""

from __future__ import annotations

import subprocess
import sys


def test_mambapy_conforms() -> None:
    command = [sys.executable, "-m", "ssm_conformance", "conform", "mambapy", "--level", "smoke"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
