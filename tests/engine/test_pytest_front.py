"""The suite under pytest: exactly its cases, judged by the same engine, and nothing without the option."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from ssm_conformance.cases import catalogue

from .conftest import BAD, RIGHT, Write

PREFIX = "ssm_conformance/suite.py::"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest elsewhere, as a backend's author would."""
    installed = any(point.value == "ssm_conformance.plugin" for point in entry_points(group="pytest11"))
    plugin = () if installed else ("-p", "ssm_conformance.plugin")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *plugin, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_it_collects_exactly_the_cases_of_the_level(write_plugin: Write, tmp_path: Path) -> None:
    module = write_plugin("fine")
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-plugin", module, "--ssm-level", "smoke",
               "--collect-only", "-q", "-o", "python_files=*.py")  # fmt: skip
    collected = [line for line in done.stdout.splitlines() if "::" in line]
    assert collected == [PREFIX + case.id for case in catalogue("smoke")]


def test_verdicts_become_results(write_plugin: Write, tmp_path: Path) -> None:
    module = write_plugin("crashing", "print('last words'); os.abort()")
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-plugin", module, "--ssm-level", "smoke",
               "-k", "causal_convolution and value", "-rs")  # fmt: skip
    assert done.returncode == 1
    assert "2 failed, 2 passed, 4 skipped" in done.stdout
    assert "ended by SIGABRT" in done.stdout
    assert "last words" in done.stdout
    assert f"rerun: ssm-spec conform --plugin crashing --case {BAD}" in done.stdout
    assert "not claimed: dtype bfloat16 is not among float32, float64" in done.stdout


def test_one_case_can_be_named(write_plugin: Write, tmp_path: Path) -> None:
    done = run(tmp_path, "--pyargs", f"ssm_conformance.suite::{RIGHT}", "--ssm-plugin", write_plugin("fine"),
               "-v")  # fmt: skip
    assert done.returncode == 0
    assert f"{PREFIX}{RIGHT} PASSED" in done.stdout
    assert "1 passed" in done.stdout


def test_it_runs_under_xdist(write_plugin: Write, tmp_path: Path) -> None:
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-plugin", write_plugin("fine"),
               "--ssm-level", "smoke", "-n", "2", "-k", "causal_convolution and error", "-q")  # fmt: skip
    assert done.returncode == 0
    assert "8 passed" in done.stdout


def test_a_backend_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-backend", "nobody", "-q")
    assert done.returncode == 2
    assert "no backend is called 'nobody'" in done.stdout


def test_it_is_inert_without_the_option(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    assert run(tmp_path, "--pyargs", "ssm_conformance", "-q").returncode == 5  # nothing is collected
    assert "1 passed" in run(tmp_path, "-q").stdout
