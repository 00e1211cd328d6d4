"""The suite's verdict on the mixers of transformers, as a test of this package."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ssm_conformance.cases import catalogue

KNOWN = Path(__file__).resolve().parents[1] / "expected-failures.toml"
BACKENDS = ("transformers-mamba", "transformers-mamba2")
ROUNDED = "selective_scan/value/bfloat16/typical"
CASES = [
    ROUNDED,
    *(
        case.id
        for case in catalogue("quick")
        if (case.op, case.dtype) == ("selective_scan", "float32")
        if case.check != "memory" and "layer" not in case.recipe.name
    ),
]
"""Not memory: a backward pass through so many small steps may outlast any patience, and is no fault.

Nor calls of a layer's size, which in Mamba-2 take most of the time: the command of the README asks them.
"""


@dataclass(frozen=True)
class Verdict:
    status: int
    said: str
    cases: dict[str, dict[str, dict[str, Any]]]
    """Backend → id → what its report has of the case."""


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """One process for both: the import of transformers takes longer than most of what is judged."""
    folder = tmp_path_factory.mktemp("report")
    rounded = f'[[expected]]\nid = "{ROUNDED}"\nreason = "the step is rounded to bfloat16"\n'
    announced = folder / "announced.toml"
    announced.write_text(KNOWN.read_text(encoding="utf-8") + rounded, encoding="utf-8")
    command = [sys.executable, "-m", "ssm_conformance", "conform", *BACKENDS, "--in-process"]
    command += ["--expected", str(announced), "--report", str(folder)]
    for case in CASES:
        command += ["--case", case]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    cases = {}
    for backend in BACKENDS:
        report = json.loads((folder / backend / "report.json").read_text(encoding="utf-8"))
        cases[backend] = {case["id"]: case for case in report["cases"]}
    return Verdict(run.returncode, run.stdout + run.stderr, cases)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_fails_only_what_is_announced(verdict: Verdict, backend: str) -> None:
    assert verdict.status == 0, verdict.said
    assert set(verdict.cases[backend]) == set(CASES)


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_bfloat16_the_step_is_rounded_and_the_suite_sees_it(verdict: Verdict, backend: str) -> None:
    typical = verdict.cases[backend][ROUNDED]
    assert typical["status"] == "fail"
    assert 100 < float(typical["ratio"]) < 1e6
