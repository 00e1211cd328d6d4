"""Two calls before their backward passes, writes between the passes, and tensors that note a bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ssm_backends import load
from ssm_conformance.cases import find_case
from ssm_conformance.checks import perform
from ssm_conformance.checks.alive import _graphs
from ssm_conformance.checks.subject import Subject
from ssm_conformance.mutants import MUTANTS, backend
from ssm_conformance.mutants.kernels.pytorch import TorchScan

from .asking import ask, scanning

QUESTIONS = ("overlapping", "written-between", "lazily")
CHECKS = {"lazily": "robustness"}


def asked(subject: Any, variant: str) -> Any:
    return ask(subject, variant, CHECKS.get(variant, "gradient"))


def through(around: Callable[[Any], Any]) -> Any:
    """A scan of PyTorch's operators whose input goes through something first."""
    return scanning(lambda u, **rest: TorchScan()(u=around(u), **rest))


@pytest.mark.parametrize("variant", QUESTIONS)
@pytest.mark.parametrize("name", ["pytorch", "pytorch-by-hand", "pytorch-once", "pytorch-operator"])
def test_what_autograd_keeps_is_what_was_there(name: str, variant: str) -> None:
    assert asked(backend(name), variant).status == "pass"


def test_an_error_is_an_answer_to_a_write() -> None:
    """As that of autograd's, which counts what is written to a tensor that it saved."""
    found = asked(backend("pytorch-by-hand"), "written-between")
    assert found.status == "pass"
    assert "modified by an inplace operation" in found.details["raised"]


def test_a_write_that_autograd_is_not_told_of_is_named() -> None:
    found = asked(backend("saved-without-autograd"), "written-between")
    assert found.status == "fail"
    assert found.message.startswith(
        "with the `C` that was given written between the two passes: gradient of "
    )


@pytest.mark.parametrize("op", ["selective_state_update", "ssd_update", "causal_conv1d_update"])
def test_what_a_step_returns_under_the_name_of_an_input_is_written_too(op: str) -> None:
    case, given = find_case(f"{op}/gradient/float32/written-between-typical"), load("torch")
    subject = Subject(case, given, given.implementations(op)[0], given.adapters[0])
    written = {told: array for told, _, array in _graphs(subject)}
    assert written.keys() >= {"the `state` that was given", "the `state` that was returned"}
    assert written["the `state` that was returned"] is not written["the `state` that was given"]


def test_the_first_of_two_calls_is_named() -> None:
    for name in ("kept-in-one-place", "workspace-by-shape"):
        found = asked(backend(name), "overlapping")
        assert found.status == "fail"
        assert found.message.startswith("of two calls before their backward passes, the first: ")


def test_what_fails_beside_a_write_is_no_answer() -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

        @staticmethod
        def backward(ctx, g):
            raise KeyError("u")

    found = asked(through(Fails.apply), "written-between")
    assert found.status == "fail"
    assert "raised KeyError" in found.message


def test_a_bit_of_a_tensor_is_resolved_by_operators_alone() -> None:
    assert asked(through(lambda u: u * 1), "lazily").status == "pass"
    found = asked(through(lambda u: torch._neg_view(u) if u.is_neg() else u), "lazily")
    assert found.status == "fail"
    assert found.message.startswith("with arrays that are views of their conjugates and negatives: y")


def test_confinement_is_asked_of_the_output_alone() -> None:
    case = find_case("selective_scan/extreme/float32/confinement-alone")
    assert perform(case, backend("sequential")).status == "pass"
    assert perform(case, backend("channels-leak")).status == "fail"


@pytest.mark.parametrize("op", sorted({m.op for m in MUTANTS.values() if m.rejected_by == "value/alone"}))
def test_no_state_is_returned_where_the_output_is_alone(op: str) -> None:
    for dtype in ("float64", "bfloat16"):
        assert find_case(f"{op}/value/{dtype}/alone").returned == ("y",)
