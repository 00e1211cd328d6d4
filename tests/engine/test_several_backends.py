"""Several backends in one command: what goes wrong with one of them hides no failure of another."""

from __future__ import annotations

from pathlib import Path

import pytest

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
