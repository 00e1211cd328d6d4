"""What importing costs: no array library but NumPy until somebody asks for it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

HEAVY = ("torch", "triton", "numba", "jax", "scipy.linalg", "scipy.signal")


def loaded_after(statement: str, modules: tuple[str, ...]) -> list[str]:
    """Which of some modules a fresh process has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*[m for m in {modules!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return run.stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import ssm_backends",
        "import ssm_backends; ssm_backends.installed()",
        "import ssm_backends; ssm_backends.NumpyArrays(); ssm_backends.TorchArrays",
        "import ssm_backends; ssm_backends.load('numpy')",
    ],
)
def test_nothing_heavy_is_loaded(statement: str) -> None:
    assert loaded_after(statement, (*HEAVY, "ssm_spec", "ssm_conformance", "ssm_torch")) == []


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_backend_loads_neither_the_oracle_nor_the_suite_nor_another_backend(name: str) -> None:
    others = tuple({"ssm_numpy", "ssm_torch", "ssm_triton", "ssm_spec", "ssm_conformance"} - {f"ssm_{name}"})
    assert loaded_after(f"import ssm_backends; ssm_backends.load({name!r})", others) == []


@pytest.mark.parametrize("module", ["ssm_backends", "ssm_numpy", "ssm_torch"])
def test_every_public_name_is_there(module: str) -> None:
    found = importlib.import_module(module)
    assert len(set(found.__all__)) == len(found.__all__)
    assert all(hasattr(found, name) for name in found.__all__)
