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
from ssm_conformance.checks.accuracy import judge_gradients
from ssm_conformance.checks.finding import Finding, worst_message
from ssm_conformance.checks.pytorch import has_autograd, named
from ssm_conformance.checks.subject import NotAsked, Stored, Subject, backend_at_work
from ssm_conformance.draw import Draw
from ssm_conformance.judge import measure
from ssm_spec import Bounded

REFUSALS: Final = (RuntimeError, TypeError, ValueError)
"""What a call may raise that cannot be differentiated again."""
STEP: Final = 2.0**-5
"""Of the difference quotient, relative to each input."""
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
        Those that depend on a leaf.
    """

    leaves: dict[str, Any]
    outputs: list[Any]
    cotangents: list[Any]

    def gradients(self, **how: bool) -> dict[str, Any]:
        """One backward pass: with ``retain_graph`` or ``create_graph``."""
        return self._grad(self.outputs, self.cotangents, **how)

    def gradients_along(self, gradients: Mapping[str, Any], along: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients of Σ ⟨along, gradient⟩."""
        names = list(self.leaves)
        return self._grad([gradients[name] for name in names], [along[name] for name in names])

    def _grad(self, outputs: list[Any], cotangents: list[Any], **how: bool) -> dict[str, Any]:
        import torch

        connected = [(y, r) for y, r in zip(outputs, cotangents, strict=True) if y.requires_grad]
        if not connected:
            raise RuntimeError("nothing that was returned depends on an input")
        found = torch.autograd.grad(
            [y for y, _ in connected], list(self.leaves.values()), [r for _, r in connected],
            allow_unused=True, materialize_grads=True, **how,
        )  # fmt: skip
        return dict(zip(self.leaves, found, strict=True))


def backward_again(subject: Subject) -> Finding:
    """Two backward passes through one graph that was kept: each gives the gradients."""
    graph = _recorded(subject)
    with backend_at_work():
        first = graph.gradients(retain_graph=True)
    found = judge_gradients(subject, _out(subject, first))
    if not found.passed:
        return found
    try:
        again = graph.gradients(retain_graph=True)
    except REFUSALS as error:
        return _refused(error)
    return named(judge_gradients(subject, _out(subject, again)), "a second backward pass through one graph")


def second_derivative(subject: Subject) -> Finding:
    """The gradient of ⟨v, gradient⟩ against the change of the exact gradient along v.

    The Hessian is symmetric, so it is d/dε of the gradient at x + εv: the oracle's central
    differences, extrapolated to ε = 0. What is allowed is what honest arithmetic may make of
    one such difference at the step ``STEP``, (bound⁺ + bound⁻)/2ε.
    """
    graph, along = _recorded(subject), {name: _direction(subject, name) for name in subject.wrt}
    moved = {name: subject.arrays.from_numpy(item.array, item.dtype) for name, item in along.items()}
    try:
        second = graph.gradients_along(graph.gradients(create_graph=True), moved)
    except REFUSALS as error:
        return _refused(error)
    actual = _out(subject, second)
    judgements = {
        name: measure(
            np.abs(actual[name].exact - exact.value), exact.bound + exact.own, exact.judged,
            actual[name].exact, exact.value,
        )
        for name, exact in _change(subject, along).items()
    }  # fmt: skip
    called = {f"second gradient of {name}": judgement for name, judgement in judgements.items()}
    return Finding(judgements, worst_message(called))


def _recorded(subject: Subject) -> Graph:
    """A forward pass of the case's call."""
    if not has_autograd(subject):
        raise NotAsked("autograd does not pass through the function: the Op has its gradient in `vjp`")
    leaves = {name: subject.call.inputs[name].detach().clone().requires_grad_() for name in subject.wrt}
    with backend_at_work():
        outputs = outputs_of(subject.call, subject.op.fn(**dict(subject.call.inputs) | leaves))
    given = subject.into_cotangents()
    return Graph(leaves, [outputs[name] for name in given], list(given.values()))


def _out(subject: Subject, results: Mapping[str, Any]) -> dict[str, Stored]:
    subject.arrays.synchronize()
    return {name: subject.out(x) for name, x in results.items()}


def _refused(error: Exception) -> Finding:
    return Finding(details={"raised": f"{type(error).__name__}: {error}"})


def _direction(subject: Subject, name: str) -> Stored:
    """A direction in one input, no element larger than the input's: none changes its sign within a step."""
    item = subject.stored[name]
    share = Draw(item.array.shape, "uniform", parameters={"low": -1.0, "high": 1.0})
    values = share.values(subject.case.id, name, "direction") * item.array
    return Stored(values.astype(item.array.dtype), item.dtype)


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
    """The central difference of the exact gradient, with its bound and the oracle's own."""
    vjp_bounds = ssm_spec.REFERENCES[subject.case.op].vjp_bounds
    assert vjp_bounds is not None  # a gradient is claimed
    cotangents = {name: item.exact for name, item in subject.cotangents.items()}

    def at(distance: float) -> Exact:
        inputs = subject.oracle_inputs
        there = {name: inputs[name] + distance * item.exact for name, item in along.items()}
        return vjp_bounds(cotangents, subject.wrt, arithmetic=subject.arithmetic(), **inputs | there)

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
