"""Second backward passes and gradients of gradients: right, or refused in so many words."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.autograd.function import once_differentiable

from ssm_backends import OPERATORS, Backend, NotSupportedError, Op, TorchArrays
from ssm_conformance.case import Case
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.checks import perform
from ssm_conformance.checks.subject import Subject
from ssm_conformance.checks.twice import HALVINGS, STEP, direction
from ssm_conformance.mutants import HONEST
from ssm_conformance.mutants.kernels.pytorch import TorchScan

from .asking import ask, scanning


def after_one_pass(raises: Exception | None) -> Backend:
    """A scan of which a part is differentiable once: by PyTorch's decorator, or in its own words."""
    scan = HONEST["pytorch"].kernels[0]

    def backward(ctx, g):
        if raises is not None and torch.is_grad_enabled():
            raise raises
        return g.clone()

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

    Once.backward = staticmethod(once_differentiable(backward) if raises is None else backward)
    return scanning(lambda u, **rest: scan(u=Once.apply(u), **rest))


@pytest.mark.parametrize(
    ("raises", "said"),
    [
        (None, "RuntimeError: trying to differentiate twice a function that was marked with"),
        (RuntimeError("there is no second derivative"), "RuntimeError: there is no second derivative"),
        (NotSupportedError("`second`: not claimed"), "NotSupportedError: `second`: not claimed"),
    ],
)
def test_one_that_cannot_be_differentiated_twice_says_so(raises: Exception | None, said: str) -> None:
    subject = after_one_pass(raises)
    assert ask(subject, "again", "gradient").status == "pass"
    found = ask(subject, "second", "gradient")
    assert found.status == "pass", found.message
    assert found.details["raised"].startswith(said)


def test_a_backward_pass_may_refuse_to_keep_its_graph() -> None:
    """As a compiled one does, which writes its results over what it saved."""

    class Donates(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

        @staticmethod
        def backward(ctx, g):
            if torch._C._autograd._get_current_graph_task_keep_graph():
                raise RuntimeError("what is saved is written over")
            return g.clone()

    subject = scanning(lambda u, **rest: TorchScan()(u=Donates.apply(u), **rest))
    assert perform(find_case("selective_scan/gradient/float32/typical"), subject).status == "pass"
    for variant in ("again", "second"):
        found = ask(subject, variant, "gradient")
        assert found.status == "pass", found.message
        assert found.details["raised"] == "RuntimeError: what is saved is written over"


@pytest.mark.parametrize(
    "raises", [torch.OutOfMemoryError("out of memory"), KeyError("C")], ids=lambda error: type(error).__name__
)
def test_what_fails_in_the_second_pass_is_no_refusal(raises: Exception) -> None:
    found = ask(after_one_pass(raises), "second", "gradient")
    assert found.status == "fail"
    assert f"raised {type(raises).__name__}" in found.message


def test_what_autograd_does_not_see_is_no_refusal() -> None:
    """A gradient is claimed, and nothing that is returned has one: the suite says so, not the kernel."""
    scan = HONEST["pytorch"].kernels[0]

    def detached(**inputs: torch.Tensor) -> torch.Tensor:
        return tuple(output.detach() for output in scan(**inputs))

    subject = scanning(detached)
    for variant in ("again", "second"):
        found = ask(subject, variant, "gradient")
        assert found.status == "fail"
        assert "nothing that was returned depends on an input" in found.message


@pytest.mark.parametrize("detached", [False, True])
def test_a_second_derivative_is_judged_in_inputs_and_cotangents(detached: bool) -> None:
    class Passes(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

        @staticmethod
        def backward(ctx, g):
            return g.detach() if detached else g.clone()

    found = ask(scanning(lambda u, **rest: TorchScan()(u=Passes.apply(u), **rest)), "second", "gradient")
    names = {output.name for output in found.outputs}
    assert "raised" not in found.details
    assert {"u", "delta", "A", "the cotangent of y"} <= names
    assert found.status == ("fail" if detached else "pass"), found.message
    assert found.message.startswith("second gradient of " if detached else "")


SECOND = [
    case
    for case in catalogue("full")
    if case.method == "second_derivative" and case.dtype == "float64" and OPERATORS[case.op].differentiable
]


@pytest.mark.parametrize("case", SECOND, ids=lambda case: case.id)
def test_the_points_of_a_difference_quotient_are_exact(case: Case) -> None:
    """A state that is handed on has no rounding error at all: nor may what is expected of its change."""
    arrays = TorchArrays("cpu")
    op = Op(
        lambda **inputs: None, dtypes=(case.dtype,), gradients="all", features=tuple(case.operator.features)
    )
    subject = Subject(case, Backend(name="x", version="0", arrays=arrays, ops={case.op: op}), op, arrays)
    for name in subject.wrt:
        x, v = subject.stored[name].exact, direction(subject, name).exact
        assert (np.abs(v) <= np.abs(x)).all()
        assert v.any()
        for distance in (STEP, -STEP, STEP / 2**HALVINGS, -STEP / 2**HALVINGS):
            np.testing.assert_array_equal((x + distance * v) - x, distance * v)
