"""What a command selects is listed, who claims nothing of it is left out; and within which limits it runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ssm_conformance.engine import Limits

from .conftest import BAD, RIGHT, Run, Write


def test_the_cases_are_listed_and_none_is_judged(ssm_spec: Run, write_plugin: Write) -> None:
    said = ssm_spec("conform", "--plugin", write_plugin("fine", "sys.exit(3)"), "--level", "smoke", "--list")
    assert said.status == 0
    assert {BAD, RIGHT} <= set(said.out.splitlines())
    assert all(line.startswith("causal_convolution/") for line in said.out.splitlines())
    nothing = ssm_spec("conform", "--plugin", "fine", "--op", "ssd", "--level", "smoke", "--list")
    assert (nothing.status, nothing.out) == (0, "")


def test_of_all_backends_those_that_claim_nothing_of_the_selection_are_left_out(ssm_spec: Run) -> None:
    said = ssm_spec("conform", "all", "--op", "hippo_legs", "--level", "smoke", "--quiet")
    assert said.status == 0
    assert "cpu is left out: it claims nothing of what is selected" in said.out
    assert ssm_spec("conform", "cpu", "--op", "hippo_legs", "--level", "smoke", "--quiet").status == 2


def test_a_worker_may_hold_more_memory_than_a_float_counts_bytes(ssm_spec: Run, write_plugin: Write) -> None:
    said = ssm_spec("conform", "--plugin", write_plugin("fine"), "--memory", "1e300", "--case", RIGHT)
    assert (said.status, said.err) == (0, "")


def test_a_module_of_this_process_that_came_from_nowhere_is_none(
    ssm_spec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "made_here", ModuleType("made_here"))
    for _ in range(2):
        for command in (("conform",), ("explain", RIGHT)):
            said = ssm_spec(*command, "--plugin", "made_here")
            assert said.status == 2
            assert "no module is called 'made_here' here" in said.err
        monkeypatch.chdir(tmp_path)
        (tmp_path / "made_here.py").touch()


def test_memory_is_counted_in_gib(
    ssm_spec: Run, write_plugin: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Limits] = []

    def noting(**more: Any) -> Limits:
        given.append(Limits(**more))
        return given[-1]

    monkeypatch.setattr("ssm_conformance.cli._request.Limits", noting)
    plugin = ("--plugin", write_plugin("fine"), "--in-process", "--case", RIGHT)
    assert [ssm_spec("conform", *plugin, *more).status for more in (("--memory", "1.5"), ())] == [0, 0]
    assert [limits.memory for limits in given] == [3 * 2**29, None]


def test_a_search_says_what_it_needs_before_anything_is_loaded(
    ssm_spec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "hypothesis" else found(name)
    )
    said = ssm_spec("conform", "numpy", "--case", RIGHT, "--search", "1")
    assert (said.status, said.out) == (2, "")
    assert "`--search` needs hypothesis; pip install hypothesis" in said.err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("conform", "numpy", "--case", RIGHT, "--fail-fast"), "--timeout"),
        (("conform", "numpy", "--case", RIGHT, "--fail-fast"), "--memory"),
        (("conform", "numpy", "--case", RIGHT, "--fail-fast"), "--search"),
        (("selftest", "nobody"), "--search"),
    ],
)
@pytest.mark.parametrize("given", ["nan", "inf"])
def test_a_limit_that_is_no_number_is_refused(
    ssm_spec: Run, command: tuple[str, ...], option: str, given: str
) -> None:
    said = ssm_spec(*command, option, given)
    assert said.status == 2
    assert f"Invalid value for '{option}': must be a finite number; got {given}" in said.err
