"""The suite's verdict on the mixers of transformers, as a test of this package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssm_conformance.cases import catalogue

KNOWN = Path(__file__).resolve().parents[1] / "expected-failures.toml"
BACKENDS = ("transformers-mamba", "transformers-mamba2")
CASES = [
    case.id
    for case in catalogue("quick")
    if (case.op, case.dtype) == ("selective_scan", "float32")
    if case.check != "memory" and "layer" not in case.recipe.name
]
"""Not memory: a backward pass through so many small steps may outlast any patience, and is no fault.

Nor calls of a layer's size, which in Mamba-2 take most of the time: the command of the README asks them.
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_float32_it_fails_only_what_is_announced(backend: str) -> None:
    command = [sys.executable, "-m", "ssm_conformance", "conform", backend, "-n", "1"]
    options = ["--dtype", "float32", "--expected", str(KNOWN), "--timeout", "300"]
    for case in CASES:
        options += ["--case", case]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_bfloat16_the_step_is_rounded_and_the_suite_sees_it(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ssm_conformance", "conform", backend, "-n", "1"]
    options = ["--level", "smoke", "--dtype", "bfloat16", "--check", "value", "--report", str(tmp_path)]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    cases = json.loads((tmp_path / backend / "report.json").read_text())["cases"]
    typical = next(case for case in cases if case["id"] == "selective_scan/value/bfloat16/typical")
    assert 100 < float(typical["ratio"]) < 1e6
