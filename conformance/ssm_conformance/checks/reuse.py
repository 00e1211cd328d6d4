"""One call after the other in the same arrays: the second is about its own numbers, and spares the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ssm_backends import Call, outputs_of, validate
from ssm_conformance.checks.accuracy import judge_gradients, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.inputs import difference
from ssm_conformance.checks.pytorch import named, other_numbers
from ssm_conformance.checks.subject import Stored, Subject, backend_at_work

AGAIN = "other numbers in the same arrays"


def reused(subject: Subject) -> Finding:
    """Other numbers in the same arrays give their own results; those of the first call keep their bits.

    A library whose arrays cannot be written is given new ones. Then the gradients, if they are claimed and
    the option ``gradients`` is not False: autograd hands a cotangent on as it is where nothing was done.
    """
    other, call = other_numbers(subject), subject.into(subject.stored)
    first, kept = _run(subject, lambda: outputs_of(call, subject.op.fn(**call.inputs)))
    refilled = _refilled(other, call)
    second, _ = _run(other, lambda: outputs_of(refilled, other.op.fn(**refilled.inputs)))
    found = named(judge_outputs(other, _out(other, second)), AGAIN)
    found = _spared(subject, first, kept, found)
    gradients = subject.takes_gradients and subject.case.options.get("gradients", True)
    return _gradients(subject, other) if found.passed and gradients else found


def _gradients(subject: Subject, other: Subject) -> Finding:
    call, cotangents = subject.into(subject.stored), subject.into_cotangents()
    first, kept = _run(subject, subject.backward(call, cotangents))
    refilled = _refilled(other, call)
    renewed = {name: _refill(other, cotangents[name], item) for name, item in other.cotangents.items()}
    second, _ = _run(other, other.backward(refilled, renewed))
    found = named(judge_gradients(other, _out(other, second)), AGAIN)
    return _spared(subject, first, kept, found, "the gradient of ")


def _run(subject: Subject, call: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Results as the library holds them, and what they hold now."""
    with backend_at_work():
        results = call()
        subject.arrays.synchronize()
    return results, _out(subject, results)


def _out(subject: Subject, results: Mapping[str, Any]) -> dict[str, Stored]:
    return {name: subject.out(x, f"`{name}`") for name, x in results.items()}


def _spared(
    subject: Subject, first: Mapping[str, Any], kept: Mapping[str, Stored], found: Finding, what: str = ""
) -> Finding:
    """The finding, if the results of the first call are what they were."""
    changes = [
        difference(f"{what}`{name}`", kept[name], subject.out(x, f"`{name}`")) for name, x in first.items()
    ]
    if not found.passed or not any(changes):
        return found
    return Finding(message=f"the next call changed what was returned: {'; '.join(filter(None, changes))}")


def _refilled(other: Subject, call: Call) -> Call:
    """The call with other numbers where its arrays lie."""
    arrays = {name: _refill(other, call.inputs[name], item) for name, item in other.stored.items()}
    return validate(other.case.operator, **arrays, **other.case.plain)


def _refill(subject: Subject, x: Any, item: Stored) -> Any:
    """The array with other numbers in it; a new one where it cannot be written."""
    new = subject.arrays.from_numpy(item.array, item.dtype)
    try:
        x[...] = new
    except TypeError:
        return new
    return x
