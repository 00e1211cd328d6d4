"""What is asked for often is quick: help, the list of backends, and a pytest run that is not about us."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest


def seconds(*command: str) -> float:
    """Processor time of a command: on a machine with nothing else to do, its wall time."""
    kept = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # what is asked for often has been compiled
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=kept)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (("-m", "ssm_conformance", "--help"), 0.5),
        (("-m", "ssm_conformance", "backends"), 1.0),
        (("-c", "import ssm_spec"), 0.5),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_what_is_asked_for_often_is_quick(command: tuple[str, ...], limit: float) -> None:
    """One time of several: what others do on this machine makes it longer, never shorter."""
    assert any(seconds(*command) < limit for _ in range(12))


def loaded_after(code: str) -> set[str]:
    """Top-level modules that some code brings in."""
    text = f"import sys\n{code}\nprint('MODULES', *{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_no_command_imports_a_plugin_or_its_library() -> None:
    code = "from ssm_conformance.__main__ import main; sys.argv = ['ssm-spec', {!r}]; main()"
    for command in ("--help", "backends", "doctor"):
        assert not {"torch", "triton", "scipy", "ssm_numpy", "ssm_torch"} & loaded_after(code.format(command))


def test_help_does_not_even_import_numpy() -> None:
    code = "from ssm_conformance.__main__ import main; sys.argv = ['ssm-spec', '--help']; main()"
    assert not {"numpy", "rich", "jinja2", "psutil", "ssm_backends"} & loaded_after(code)


def test_the_pytest_plugin_imports_pytest_and_the_standard_library() -> None:
    ours = {"ssm_conformance"}
    brought = loaded_after("import pytest, ssm_conformance.plugin") - loaded_after("import pytest")
    assert {name for name in brought if name not in sys.stdlib_module_names} == ours


def test_a_worker_loads_no_scipy_until_a_case_needs_it() -> None:
    assert "scipy" not in loaded_after("import ssm_conformance.engine.worker, ssm_conformance.checks")
