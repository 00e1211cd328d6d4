"""The suite under pytest: exactly its cases, judged by the same engine, and nothing without the option."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ssm_conformance.cases import catalogue

from .conftest import BAD, RIGHT, Write

PREFIX = "ssm_conformance/suite.py::"


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run pytest elsewhere, as a backend's author would, with no plugin but ours and xdist."""
    plugins = ("-p", "ssm_conformance.plugin", "-p", "xdist")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *plugins]
    command += map(str, arguments)
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=alone)


def test_pytest_finds_it_by_its_entry_point() -> None:
    declared = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    assert declared["project"]["entry-points"]["pytest11"] == {"ssm_conformance": "ssm_conformance.plugin"}


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


def test_announced_failures_are_strict(write_plugin: Write, tmp_path: Path) -> None:
    known = tmp_path / "known.toml"
    known.write_text("".join(f'[[expected]]\nid = "{case}"\nreason = "known"\n' for case in (BAD, RIGHT)))
    module = write_plugin("wrong", "u[...] = 0")
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-plugin", module, "--ssm-level", "smoke",
               "--ssm-expected", known, "-k", "value and typical", "-rxf")  # fmt: skip
    assert "1 failed" in done.stdout
    assert "1 xfailed" in done.stdout
    assert f"XFAIL {PREFIX}{BAD} - known" in done.stdout
    assert "it passed, but was expected to fail: known" in done.stdout
    known.write_text('[[expected]]\nid = "a/b/c/d"\nreason = "x"\n')
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-plugin", "wrong", "--ssm-expected", known)
    assert done.returncode == 2
    assert "no case has the id 'a/b/c/d'" in done.stdout


def test_what_no_worker_can_be_had_for_fails_with_the_reason(write_plugin: Write, tmp_path: Path) -> None:
    top = f"import os; os.mkdir({str(tmp_path / 'lock')!r})\n"
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-plugin",
               write_plugin("once", "os.abort()", top=top), "--ssm-level", "smoke", "-k",
               "causal_convolution and value and (float32 or float64)")  # fmt: skip
    assert done.returncode == 1
    assert "4 failed, " in done.stdout
    assert (
        "no worker could be had any more: plugin 'once': importing once raised FileExistsError" in done.stdout
    )
    assert "Traceback" not in done.stdout.partition("no worker")[0]


def test_one_case_can_be_named_and_xdist_runs_it(write_plugin: Write, tmp_path: Path) -> None:
    done = run(tmp_path, "--pyargs", f"ssm_conformance.suite::{RIGHT}", "--ssm-plugin", write_plugin("fine"),
               "-n", "1", "-v")  # fmt: skip
    assert done.returncode == 0
    assert f"PASSED {PREFIX}{RIGHT}" in done.stdout
    assert "1 passed" in done.stdout


def test_a_backend_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-backend", "nobody", "-q")
    assert done.returncode == 2
    assert "no backend is called 'nobody'" in done.stdout


@pytest.mark.parametrize("captured", ["--capture=fd", "--capture=no"])
def test_a_slow_import_is_told_while_it_is_waited_for(
    write_plugin: Write, tmp_path: Path, captured: str
) -> None:
    (tmp_path / "soon.py").write_text("import ssm_conformance.engine.opening as o\no.PATIENCE = 0.5\n")
    module = write_plugin("slow", top="import time; time.sleep(2)\n")
    done = run(tmp_path, "--pyargs", f"ssm_conformance.suite::{RIGHT}", "--ssm-plugin", module, captured,
               "-p", "soon", "--ssm-timeout", "10")  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.count("slow: still waiting for slow to be imported") == 1
    assert "it is given up after 50 s" in done.stdout
    assert "1 passed" in done.stdout


def test_what_a_backend_changes_is_a_warning(write_plugin: Write, tmp_path: Path) -> None:
    module = write_plugin("rude", "os.chdir('/')", top="import numpy as np; np.seterr(all='ignore')\n")
    asked = ("--pyargs", f"ssm_conformance.suite::{BAD}", "--ssm-plugin", module, "-W", "default")
    for more in ((), ("-n", "1")):
        done = run(tmp_path, *asked, *more)
        assert done.returncode == 0
        assert "SideEffectWarning: importing the backend changed: NumPy's handling of" in done.stdout
        assert (
            "SideEffectWarning: the backend changed, and the suite put back where it can: the current"
            in done.stdout
        )
        assert "1 passed, 2 warnings" in done.stdout


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, given: str) -> None:
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-backend", "numpy", "--ssm-timeout", given)
    assert done.returncode == 4
    assert f"argument --ssm-timeout: must be a positive number of seconds; got '{given}'" in done.stderr


@pytest.mark.parametrize("more", [(), ("-n", "1")])
def test_a_backend_that_is_named_without_the_suite_is_a_warning(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    done = run(tmp_path, "test_own.py", "--ssm-backend", "numpy", "-W", "default", *more)
    assert (
        "NothingJudgedWarning: no backend is judged, for no case was collected: give `--pyargs" in done.stdout
    )
    assert "1 passed, 1 warning" in done.stdout
    done = run(tmp_path, "test_own.py", "--ssm-backend", "numpy", "-W", "error", *more)
    if more:  # a worker of pytest-xdist has no way to refuse
        assert "1 passed, 1 warning" in done.stdout
    else:
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "ERROR: no backend is judged" in done.stderr
    done = run(tmp_path, "--pyargs", "ssm_conformance", "--ssm-backend", "nobody", "-W", "default")
    assert "no backend is called 'nobody'" in done.stdout
    assert "NothingJudgedWarning" not in done.stdout


def test_workers_of_xdist_share_the_machine(write_plugin: Write, tmp_path: Path) -> None:
    note = f"open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').write(os.environ['OPENBLAS_NUM_THREADS'])"
    (tmp_path / "many.py").write_text("import ssm_conformance.engine.threads as t\nt.cores = lambda: 8\n")
    module = write_plugin("sharing", hook=note)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        done = run(tmp_path, "--pyargs", f"ssm_conformance.suite::{RIGHT}", "--ssm-plugin", module,
                   "-n", "2", "-p", "many")  # fmt: skip
    assert "1 passed" in done.stdout
    assert {path.read_text() for path in tmp_path.iterdir() if path.name.isdecimal()} == {"4"}


def test_it_is_inert_without_the_option(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    done = run(tmp_path, "--pyargs", "ssm_conformance", "test_own.py", "-q", "-o", "python_files=test_*.py")
    assert done.stdout.splitlines()[-1].startswith("1 passed")
