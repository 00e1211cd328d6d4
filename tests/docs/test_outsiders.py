"""The plugins around other people's scans are judged wherever what they wrap is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
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
    if not set(declared(plugin)) <= set(entry_points(group="ssm_backends").names):
        pytest.skip(f"{plugin.name} is not installed")
    if plugin.name != "ssm-mambapy" and "SSM_SPEC_OUTSIDERS" not in os.environ:
        pytest.skip("takes minutes: set SSM_SPEC_OUTSIDERS to run it")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(plugin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
