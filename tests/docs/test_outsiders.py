"""The plugins around other people's scans are judged wherever what they wrap is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
PLUGINS = sorted(path.parent for path in EXAMPLES.glob("*/pyproject.toml"))


def declared(plugin: Path) -> dict[str, str]:
    """Backend → module, as the plugin's metadata says."""
    project = tomllib.loads((plugin / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points: dict[str, str] = project["entry-points"]["ssm_backends"]
    return points


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_is_a_whole_package(plugin: Path) -> None:
    for file in ("README.md", "tests/test_conformance.py"):
        assert (plugin / file).read_text(encoding="utf-8").strip()
    for backend, value in declared(plugin).items():
        assert re.search(rf"ssm-spec conform .*\b{backend}\b", (plugin / "README.md").read_text("utf-8"))
        module = value.partition(" ")[0].replace(".", "/")
        assert any((plugin / "src" / f"{module}{end}").exists() for end in (".py", "/__init__.py"))


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_its_own_tests_pass_where_it_is_installed(plugin: Path) -> None:
    pythons = (Path(sys.executable), Path(sys.prefix) / "outsiders" / "bin" / "python")
    able = [python for python in pythons if python.exists() and set(declared(plugin)) <= installed(python)]
    if not able:
        pytest.skip(f"{plugin.name} is not installed")
    command = [able[0], "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(plugin)]
    # Threads that wait for each other in small products take the cores from the other tests.
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def installed(python: Path) -> set[str]:
    """The backends that an environment has."""
    ask = "from importlib.metadata import entry_points as e; print(*e(group='ssm_backends').names)"
    return set(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.split())
