"""A captured call is asked on other numbers in every array, and more than once."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from ssm_backends import OPERATORS, Backend, Op, TorchArrays
from ssm_conformance.case import Case
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.checks import perform
from ssm_conformance.checks.pytorch import other_numbers
from ssm_conformance.checks.subject import Subject
from ssm_conformance.mutants import MUTANTS
from ssm_conformance.mutants.kernels.pytorch import TorchScan
from ssm_conformance.verdict import Verdict

from . import replay
from .asking import ask, scanning


def captured_on_a_cpu(monkeypatch: pytest.MonkeyPatch, kernel: Any, **claims: Any) -> Verdict:
    """The question about captured calls, with a graph that is recorded in Python."""
    monkeypatch.setattr(sys.modules["ssm_conformance.checks.captured"], "_capture", replay.capture)
    arrays = TorchArrays("cpu")
    arrays.device = "cuda:0"
    return ask(scanning(kernel, arrays, features=("cuda_graph",), **claims), "captured")


def test_an_honest_function_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = captured_on_a_cpu(monkeypatch, TorchScan(), deterministic=True)
    assert found.status == "pass", found.message


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_replay_has_the_bits_of_a_call_where_that_is_claimed(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    """The calls of a capture are the first ones here; the later ones round otherwise, within the bound."""
    calls = []

    def scan(**inputs: Any) -> Any:
        calls.append(inputs)
        scale = 1.0 if len(calls) <= replay.WARM_UP + 1 else 1 + 2.0**-23
        return tuple(scale * output for output in TorchScan()(**inputs))

    found = captured_on_a_cpu(monkeypatch, scan, deterministic=deterministic)
    assert found.status == ("fail" if deterministic else "pass"), found.message
    assert ("other bits than without a graph: " in found.message) == deterministic


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("modes-kept-by-address", "replayed on other numbers: "),
        ("cotangent-kept-by-address", "gradients replayed on other numbers: "),
        ("cleared-for-the-next-call", "replayed on other numbers: replay 2 of one graph: "),
    ],
)
def test_a_graph_shows_what_no_call_does(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    kernel, claims = MUTANTS[name].kernel, MUTANTS[name].claims
    plain = scanning(kernel, **claims)
    for check in ("value", "gradient"):
        case = find_case(f"selective_scan/{check}/float32/typical")
        assert perform(case, plain).status in ("pass", "not_claimed")
    found = captured_on_a_cpu(monkeypatch, kernel, **claims)
    assert found.status == "fail"
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    "case",
    [case for case in catalogue("full") if case.method == "captured" and case.dtype == "float32"],
    ids=lambda case: case.id,
)
def test_a_replay_is_asked_on_other_numbers_in_every_array(case: Case) -> None:
    """A kernel that keeps one array of the first call is right wherever that array is the same."""
    arrays = TorchArrays("cpu")
    op = Op(lambda **inputs: None, dtypes=(case.dtype,), features=tuple(OPERATORS[case.op].features))
    subject = Subject(case, Backend(name="x", version="0", arrays=arrays, ops={case.op: op}), op, arrays)
    other = other_numbers(subject)
    before = [*subject.stored.items(), *subject.cotangents.items()]
    after = [*other.stored.items(), *other.cotangents.items()]
    assert [name for name, _ in before] == [name for name, _ in after]
    pairs = zip(before, after, strict=True)
    assert [name for (name, one), (_, two) in pairs if np.array_equal(one.array, two.array)] == []
