"""The suite's verdict on the mixers of transformers, as a test of this package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KNOWN = Path(__file__).resolve().parents[1] / "expected-failures.toml"
BACKENDS = ("transformers-mamba", "transformers-mamba2")


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_float32_it_fails_only_what_is_announced(backend: str) -> None:
    command = [sys.executable, "-m", "ssm_conformance", "conform", backend, "--dtype", "float32"]
    options = ["--expected", str(KNOWN), "--timeout", "300"]
    # All but memory: a backward pass through so many small steps may outlast any patience, and is no fault.
    for check in ("value", "gradient", "property", "determinism", "robustness", "extreme", "error"):
        options += ["--check", check]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_bfloat16_the_step_is_rounded_and_the_suite_sees_it(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ssm_conformance", "conform", backend, "--level", "smoke"]
    options = ["--dtype", "bfloat16", "--check", "value", "--report", str(tmp_path)]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    cases = json.loads((tmp_path / backend / "report.json").read_text())["cases"]
    typical = next(case for case in cases if case["id"] == "selective_scan/value/bfloat16/typical")
    assert 100 < float(typical["ratio"]) < 1e6
