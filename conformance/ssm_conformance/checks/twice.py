"""A second backward pass through one graph, and the gradient of a gradient: right, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import ssm_spec
from ssm_backends import outputs_of
from ssm_backends.raised import in_words
from ssm_conformance.checks.accuracy import judge_gradients
from ssm_conformance.checks.finding import Finding, worst_message
from ssm_conformance.checks.pytorch import has_autograd, named
from ssm_conformance.checks.subject import CheckFailed, NotAsked, Stored, Subject, backend_at_work
from ssm_conformance.draw import Draw
from ssm_conformance.judge import measure
from ssm_spec import Bounded

REFUSALS: Final = (RuntimeError, TypeError, ValueError)
"""What a call may raise that cannot be differentiated again."""
COTANGENT: Final = "the cotangent of "
"""In front of an output's name: what is differentiated in is its cotangent."""
STEP: Final = 2.0**-5
"""Of the difference quotient, relative to each input."""
GRID: Final = 2.0**-20
"""Of a direction, relative to the power of two of each input."""
HALVINGS: Final = 4
"""Of the step, for the oracle's extrapolation."""
Exact = Mapping[str, Bounded]


@dataclass(frozen=True)
class Graph:
    """One forward pass as autograd recorded it.

    Attributes
    ----------
    leaves
        Argument name → the tensor to differentiate in.
    outputs, cotangents
        By output name. The cotangents require a gradient, as those of a loss do that is not linear.
    """

    leaves: dict[str, Any]
    outputs: dict[str, Any]
    cotangents: dict[str, Any]

    def gradients(self, **how: bool) -> dict[str, Any]:
        """One backward pass: with ``retain_graph`` or ``create_graph``."""
        import torch

        connected = [name for name, y in self.outputs.items() if y.requires_grad]
        if not connected:
            raise CheckFailed("nothing that was returned depends on an input, says autograd")
        found = torch.autograd.grad(
            [self.outputs[name] for name in connected],
            list(self.leaves.values()),
            [self.cotangents[name] for name in connected],
            allow_unused=True, materialize_grads=True, **how,
        )  # fmt: skip
        return dict(zip(self.leaves, found, strict=True))

    def gradients_along(self, gradients: Mapping[str, Any], along: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients of Σ ⟨along, gradient⟩, in the leaves and in the cotangents.

        By ``backward``, as a training loop takes them: ``grad`` goes round what ``once_differentiable``
        left there to raise. What nothing connects counts as a constant, as it would in a loss.
        """
        import torch

        connected = [name for name, gradient in gradients.items() if gradient.requires_grad]
        if connected:
            torch.autograd.backward(
                [gradients[name] for name in connected], [along[name] for name in connected]
            )
        of = self.leaves | {COTANGENT + name: r for name, r in self.cotangents.items()}
        return {name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in of.items()}


def backward_again(subject: Subject) -> Finding:
    """Two backward passes through one graph that was kept: each gives the gradients.

    The first may be refused too: a compiled backward pass may write over what no second one was to read.
    """
    graph, found = recorded(subject), Finding()
    for which in ("the first of two backward passes", "a second backward pass through one graph"):
        try:
            with backend_at_work():
                gradients = graph.gradients(retain_graph=True)
        except CheckFailed as failure:
            return refused(failure)
        found = named(judge_gradients(subject, results(subject, gradients)), which)
        if not found.passed:
            return found
    return found


def second_derivative(subject: Subject) -> Finding:
    """The gradients that are to be differentiated, then the gradient of ⟨v, gradient⟩.

    The Hessian is symmetric, so in the inputs it is d/dε of the gradient at x + εv, and in the
    cotangents d/dε of the outputs: the oracle's central differences, extrapolated to ε = 0. What is
    allowed is what honest arithmetic may make of one such difference at the step ``STEP``,
    (bound⁺ + bound⁻)/2ε.
    """
    graph, along = recorded(subject), {name: direction(subject, name) for name in subject.wrt}
    moved = {name: subject.arrays.from_numpy(item.array, item.dtype) for name, item in along.items()}
    try:
        with backend_at_work():
            first = graph.gradients(create_graph=True)
    except CheckFailed as failure:
        return refused(failure)
    found = judge_gradients(subject, results(subject, first))
    if not found.passed:
        return named(found, "with create_graph")
    try:
        with backend_at_work():
            second = graph.gradients_along(first, moved)
    except CheckFailed as failure:
        return refused(failure)
    actual = results(subject, second)
    judgements = {
        name: measure(
            np.abs(actual[name].exact - exact.value), exact.bound + exact.own, exact.judged,
            actual[name].exact, exact.value,
        )
        for name, exact in _change(subject, along).items()
    }  # fmt: skip
    called = {f"second gradient of {name}": judgement for name, judgement in judgements.items()}
    return Finding(judgements, worst_message(called))


def recorded(subject: Subject) -> Graph:
    """A forward pass of the case's call."""
    if not has_autograd(subject):
        raise NotAsked("autograd does not pass through the function: the Op has its gradient in `vjp`")
    leaves = {name: subject.call.inputs[name].detach().clone().requires_grad_() for name in subject.wrt}
    with backend_at_work():
        outputs = outputs_of(subject.call, subject.op.fn(**dict(subject.call.inputs) | leaves))
    given = {name: r.requires_grad_() for name, r in subject.into_cotangents().items()}
    return Graph(leaves, {name: outputs[name] for name in given}, given)


def results(subject: Subject, found: Mapping[str, Any]) -> dict[str, Stored]:
    """What a pass gave, as the suite holds it."""
    subject.arrays.synchronize()
    return {name: subject.out(x, f"`{name}`") for name, x in found.items()}


def refused(failure: CheckFailed) -> Finding:
    """That it raised is an answer, if it says that this cannot be done: a device that fails does not."""
    import torch

    error = failure.__cause__
    if not isinstance(error, REFUSALS) or isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError):
        raise failure
    return Finding(details={"raised": in_words(error)})


def direction(subject: Subject, name: str) -> Stored:
    """A direction in one input, no element larger than the input's: none changes its sign within a step.

    Each lies on the ``GRID`` of its input, and stays below the next one in a step,
    so that the points of the difference quotients are exact: a copied input moves by exactly v.
    """
    item = subject.stored[name]
    draw = Draw(item.array.shape, "uniform", parameters={"low": -1.0, "high": 1.0})
    share, exact = draw.values(subject.case.id, name, "direction"), item.exact
    values = _within(exact.real, share)
    if np.iscomplexobj(exact):
        values = values + 1j * _within(exact.imag, share)
    return Stored(values.astype(item.array.dtype), item.dtype)


def _within(x: NDArray[Any], share: NDArray[Any]) -> NDArray[Any]:
    """A share of each number, on its grid."""
    mantissa, exponent = np.frexp(np.abs(x))
    largest = np.minimum(np.abs(share) * mantissa, (1 - mantissa) / STEP)
    return np.asarray(np.copysign(np.ldexp(np.floor(largest / GRID) * GRID, exponent), share))


def _change(subject: Subject, along: Mapping[str, Stored]) -> Exact:
    """d/dε of the exact gradient at x + εv, and its bound."""
    quotients = [_quotient(subject, along, STEP / 2**k) for k in range(HALVINGS + 1)]
    changes = {}
    for name, coarse in quotients[0].items():
        value, unsure = _extrapolated([quotient[name].value for quotient in quotients])
        own = unsure + quotients[-1][name].own
        changes[name] = Bounded(value, coarse.bound, own, coarse.judged)
    return changes


def _extrapolated(values: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The limit of even expansions in the step, which halves each time (Romberg), and how sure it is."""
    before = values[-1]
    for k in range(1, len(values)):
        before = values[-1]
        values = [(4**k * fine - coarse) / (4**k - 1) for coarse, fine in pairwise(values)]
    return values[0], np.abs(values[0] - before)


def _quotient(subject: Subject, along: Mapping[str, Stored], step: float) -> Exact:
    """The central differences of outputs and gradients, with their bounds and the oracle's own."""
    reference, arithmetic = ssm_spec.REFERENCES[subject.case.op], subject.arithmetic()
    vjp_bounds, inputs = reference.vjp_bounds, subject.oracle_inputs
    assert vjp_bounds is not None  # a gradient is claimed
    cotangents = {name: item.exact for name, item in subject.cotangents.items()}

    def at(distance: float) -> Exact:
        there = inputs | {name: inputs[name] + distance * item.exact for name, item in along.items()}
        outputs = reference.bounds(arithmetic=arithmetic, **there)
        gradients = vjp_bounds(cotangents, subject.wrt, arithmetic=arithmetic, **there)
        return {COTANGENT + name: outputs[name] for name in cotangents} | gradients

    after, before = at(step), at(-step)
    return {
        name: Bounded(
            (one.value - before[name].value) / (2 * step),
            (one.bound + before[name].bound) / (2 * step),
            (one.own + before[name].own) / (2 * step),
            one.judged & before[name].judged,
        )
        for name, one in after.items()
    }
