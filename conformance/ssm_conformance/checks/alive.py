"""What lies between a forward pass and its backward pass: another call, and writes to what was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ssm_backends import outputs_of, run_forward
from ssm_conformance.checks.accuracy import judge_gradients
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pytorch import has_autograd, named, other_numbers
from ssm_conformance.checks.subject import CheckFailed, NotAsked, Subject, backend_at_work
from ssm_conformance.checks.twice import Graph, recorded, refused, results

Pass = Callable[[], dict[str, Any]]


def overlapping(subject: Subject) -> Finding:
    """Two calls of one shape, then their backward passes, the first one's first: each is about its own call.

    So it is where a loss is a sum over two batches, and where a layer is called twice.
    """
    other, found = other_numbers(subject), Finding()
    calls = ((subject, _ready(subject)), (other, _ready(other)))
    for which, (whose, backward) in zip(("first", "second"), calls, strict=True):
        with backend_at_work():
            gradients = backward()
        found = judge_gradients(whose, results(whose, gradients))
        if not found.passed:
            return named(found, f"of two calls before their backward passes, the {which}")
    return found


def _ready(subject: Subject) -> Pass:
    """A forward pass, done, and its backward pass, which is not."""
    if subject.op.vjp is None:
        return recorded(subject).gradients
    if subject.op.forward is None:
        raise NotAsked("nothing is kept from the forward pass for the backward pass")
    call, cotangents, op = subject.into(subject.stored), subject.into_cotangents(), subject.op
    vjp, wrt = subject.op.vjp, subject.wrt
    with backend_at_work():
        _, saved = run_forward(op, call)
    return lambda: dict(vjp(cotangents, wrt, saved, **call.inputs))


def written_between(subject: Subject) -> Finding:
    """Each array that was given, then each that was returned, is NaN from the forward pass on.

    The gradients are those of the numbers that were there, or autograd raises, as it does where what it saved
    has been written since.
    """
    if not has_autograd(subject):
        raise NotAsked("autograd does not pass through the function: the Op has its gradient in `vjp`")
    found, details = Finding(), {}
    for told, graph, array in _graphs(subject):
        try:
            with backend_at_work():
                _overwrite(array)
                gradients = graph.gradients()
        except CheckFailed as failure:
            details = dict(refused(failure).details)
            continue
        found = judge_gradients(subject, results(subject, gradients))
        if not found.passed:
            return named(found, f"with {told} written between the two passes")
    return replace(found, details=details)


def _graphs(subject: Subject) -> Iterator[tuple[str, Graph, Any]]:
    """A forward pass for each array, given or returned, which is no leaf: those may not be written."""
    given_ones = ((name, False) for name in subject.stored)
    for name, returned in (*given_ones, *((name, True) for name in subject.cotangents)):
        call = subject.into(subject.stored)
        leaves = {wanted: call.inputs[wanted].detach().requires_grad_() for wanted in subject.wrt}
        given: Mapping[str, Any] = {**call.inputs, **{wanted: x.clone() for wanted, x in leaves.items()}}
        with backend_at_work():
            outputs = outputs_of(call, subject.op.fn(**given))
        cotangents = subject.into_cotangents()
        kept = {output: outputs[output] for output in cotangents}
        told = f"the `{name}` that was {'returned' if returned else 'given'}"
        yield told, Graph(leaves, kept, cotangents), (outputs if returned else given)[name]


def _overwrite(x: Any) -> None:
    """NaN, or zero among integers; autograd counts the write."""
    x.detach().fill_(float("nan") if x.dtype.is_floating_point or x.dtype.is_complex else 0)
