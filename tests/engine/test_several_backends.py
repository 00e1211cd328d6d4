"""Several backends in one command: what goes wrong with one of them hides no failure of another."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from ssm_backends import Plugin, UnknownBackendError, find_plugin

from .conftest import BAD, RIGHT, Run, Write

WRONG, FINE = "u[...] = 0", "pass"
CASES = ("--case", BAD, "--case", RIGHT, "--in-process", "--quiet")


@pytest.mark.parametrize(("fault", "status"), [(WRONG, 1), (FINE, 2)])
def test_a_name_that_comes_again_hides_no_failure(
    ssm_spec: Run, write_plugin: Write, fault: str, status: int
) -> None:
    other = "return Backend(name='first', version='1', arrays=NumpyArrays(), ops={})"
    names = write_plugin("first", fault), write_plugin("again", hook=other), write_plugin("last")
    said = ssm_spec("conform", *(word for name in names for word in ("--plugin", name)), *CASES)
    assert said.status == status
    assert "again: two backends must not have one name in one run" in said.err
    assert "(last 0 on cpu" in said.out


@pytest.mark.parametrize(("fault", "status"), [(WRONG, 1), (FINE, 2)])
def test_an_announcement_that_is_stale_for_a_later_one_hides_no_failure(
    ssm_spec: Run, write_plugin: Write, tmp_path: Path, fault: str, status: int
) -> None:
    nothing = "return Backend(name='nothing', version='1', arrays=NumpyArrays(), ops={})"
    first, other = (
        ("--plugin", write_plugin("first", fault)),
        ("--plugin", write_plugin("other", hook=nothing)),
    )
    path = tmp_path / "expected.toml"
    path.write_text(f'[[expected]]\nid = "{RIGHT}"\nbackend = "nothing"\nreason = "x"\n', encoding="utf-8")
    said = ssm_spec("conform", *first, *other, "--plugin", write_plugin("last"), *CASES, "--expected", path)
    assert said.status == status
    assert f"stale entry: nothing is not asked {RIGHT}" in said.err
    assert "(last 0 on cpu" in said.out
    at_once = ssm_spec("conform", *other, *first, *CASES, "--expected", path)
    assert (at_once.status, at_once.out) == (2, "")


@pytest.mark.parametrize(("fault", "status"), [(WRONG, 1), (FINE, 2)])
def test_an_interrupt_while_another_is_loaded_hides_no_failure(
    ssm_spec: Run, write_plugin: Write, fault: str, status: int
) -> None:
    first, interrupted = write_plugin("first", fault), write_plugin("slow", top="raise KeyboardInterrupt\n")
    said = ssm_spec("conform", "--plugin", first, "--plugin", interrupted, "--plugin", "never", *CASES)
    assert said.status == status
    assert said.err == "slow: interrupted\n"
    said = ssm_spec("conform", "--plugin", interrupted, "--plugin", first, *CASES)
    assert (said.status, said.out, said.err.strip()) == (2, "", "interrupted")


def test_a_selection_of_nothing_is_told_before_anything_is_loaded(ssm_spec: Run, write_plugin: Write) -> None:
    broken = write_plugin("broken", top="import sys; sys.exit('no licence')\n")
    for selection in (("--op", "hippo_legs", "--check", "memory"), ("--case", BAD, "--dtype", "bfloat16")):
        said = ssm_spec("conform", "--plugin", broken, *selection)
        assert said.status == 2
        assert "no case of level quick is left by the filters" in said.err
        assert "no licence" not in said.err


def test_a_name_that_a_module_has_taken_is_not_loaded_again(ssm_spec: Run, write_plugin: Write) -> None:
    hook = (
        "return Backend(name='numpy', version='1', arrays=Arrays(device), "
        "ops={'causal_convolution': Op(causal_convolution, dtypes=('float32', 'float64'))})"
    )
    said = ssm_spec("conform", "numpy", "--plugin", write_plugin("mine", hook=hook), *CASES)
    assert (said.status, said.err) == (0, "")
    assert len(said.out.splitlines()) == 1
    assert "(numpy 1 on cpu" in said.out


@pytest.mark.parametrize("listing", [True, False])
def test_of_all_backends_those_that_lack_something_are_left_out_and_a_broken_one_is_told(
    ssm_spec: Run, monkeypatch: pytest.MonkeyPatch, listing: bool
) -> None:
    plugins = {
        "lacking": Plugin("lacking", "nowhere", "acme", extra="gpu", missing=("libfoo",)),
        "numpy": find_plugin("numpy"),
        "broken": Plugin("broken", "nowhere_at_all", "acme"),
    }

    def find(name: str) -> Plugin:
        if name not in plugins:
            raise UnknownBackendError(name)
        return plugins[name]

    monkeypatch.setattr("ssm_conformance.cli._request.installed", lambda: list(plugins.values()))
    monkeypatch.setattr("ssm_conformance.engine.target.find_plugin", find)
    monkeypatch.setattr("ssm_conformance.cli._targets.find_plugin", find)
    said = ssm_spec("conform", "all", *CASES, *["--list"] * listing)
    assert said.status == 2, "broken"
    assert "broken: plugin 'broken': importing nowhere_at_all raised" in said.err
    left_out = "lacking is left out: backend 'lacking' needs libfoo: pip install 'acme[gpu]'"
    assert (left_out in said.out) is not listing
    assert (said.out.split() == [BAD, RIGHT]) is listing
    del plugins["broken"]
    assert ssm_spec("conform", "all", *CASES, *["--list"] * listing).status == 0
    named = ssm_spec("conform", "lacking", "all", *CASES, *["--list"] * listing)
    assert (named.status, named.out.count("left out")) == (2, 0)


def test_after_an_interrupt_no_other_is_begun(ssm_spec: Run, write_plugin: Write) -> None:
    first, other = write_plugin("first", "raise KeyboardInterrupt"), write_plugin("other")
    said = ssm_spec("conform", "--plugin", first, "--plugin", other, *CASES)
    assert said.status == 2
    assert "first" in said.out
    assert "other" not in said.out


@pytest.mark.parametrize(("fault", "begun"), [(WRONG, False), (FINE, True)])
def test_after_the_first_failure_no_other_is_begun(
    ssm_spec: Run, write_plugin: Write, fault: str, begun: bool
) -> None:
    first, other = write_plugin("first", fault), write_plugin("other")
    said = ssm_spec("conform", "--plugin", first, "--plugin", other, *CASES, "--fail-fast")
    assert said.status == (0 if begun else 1)
    assert ("(other 0 on cpu" in said.out) is begun


def test_an_announced_failure_is_not_the_first(ssm_spec: Run, write_plugin: Write, tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    path.write_text(f'[[expected]]\nid = "{BAD}"\nreason = "x"\n', encoding="utf-8")
    wrong = ("--plugin", write_plugin("wrong", WRONG))
    said = ssm_spec("conform", *wrong, *CASES, "--fail-fast", "--expected", path)
    assert said.status == 0
    assert "but for 1 announced failure: 2 cases judged" in said.out


def test_a_failure_counts_though_no_worker_can_be_had_for_the_rest(
    ssm_spec: Run, write_plugin: Write, tmp_path: Path
) -> None:
    top = f"import os; os.mkdir({str(tmp_path / 'lock')!r})\n"  # it loads once
    module = write_plugin("once", "os._exit(3)", top=top)
    said = ssm_spec("conform", "--plugin", module, "--case", BAD, "--case", RIGHT, "-n", "1", "--quiet")
    assert said.status == 1
    assert "selection failed: 1 of 1 judged cases failed, 1 of 2 cases not run" in said.out


def test_a_list_leaves_no_process_behind(ssm_spec: Run, write_plugin: Write) -> None:
    before = set(psutil.Process().children(recursive=True))
    assert ssm_spec("conform", "--plugin", write_plugin("fine"), "--case", RIGHT, "--list").status == 0
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_module_of_this_folder_is_found_and_one_named_twice_comes_once(
    ssm_spec: Run, write_plugin: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_plugin("here")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path / "plugins")])
    monkeypatch.chdir(tmp_path / "plugins")
    said = ssm_spec("conform", "--plugin", module, "--plugin", module, *CASES)
    assert (said.status, said.err) == (0, "")
    assert len(said.out.splitlines()) == 1


def test_a_name_that_nobody_has_is_told_before_another_is_judged(ssm_spec: Run) -> None:
    said = ssm_spec("conform", "numpy", "nobody", *CASES)
    assert (said.status, said.out) == (2, "")
    assert "no backend is called 'nobody'" in said.err
