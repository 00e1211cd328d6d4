"""Values and gradients against the derived bound, element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import ssm_spec
from ssm_backends import Call
from ssm_backends.vocabulary import facts_for
from ssm_conformance.checks.finding import Finding, worst_message
from ssm_conformance.checks.inputs import written
from ssm_conformance.checks.subject import CheckFailed, Stored, Subject
from ssm_conformance.checks.vacuous import some
from ssm_conformance.diagnosis import likely_gradient_mistake, likely_mistake, mistaken_shape
from ssm_conformance.judge import EXCUSED_AT_MOST, Judgement, judge
from ssm_conformance.verdict import EDGES, LIKELY

Exact = Mapping[str, ssm_spec.Bounded]


def value(subject: Subject) -> Finding:
    """Every output that the call returns; and no input was written."""
    outputs = subject.forward(subject.call)
    found = judge_outputs(subject, outputs)
    if found.passed:
        message = written(subject, _kept(subject), subject.call.inputs, "the call")
        return replace(found, message=message)
    mistake = likely_mistake(
        subject.case.op, subject.oracle_inputs, _exact(outputs), _dtypes(outputs), subject.exact
    )
    return _explained(found, mistake)


def gradient(subject: Subject) -> Finding:
    """Every claimed gradient, with a cotangent on every output; and nothing that was given was written."""
    cotangents = subject.into_cotangents()
    saving, gradients = subject.forward_saving(subject.call), subject.gradients(subject.call, cotangents)
    found = judge_passes(subject, saving, gradients)
    if not found.passed:
        right = subject.exact_gradients(subject.arithmetic())
        known = subject.case.op, subject.oracle_inputs, _exact(subject.cotangents)
        given = _exact(gradients), _dtypes(gradients)
        return _explained(
            found, _cut_off(subject, gradients) or likely_gradient_mistake(*known, *given, right)
        )
    inputs = written(subject, _kept(subject), subject.call.inputs, "the backward call")
    others = written(subject, subject.cotangents, cotangents, "the backward call, as a cotangent")
    return replace(found, message="; ".join(filter(None, (inputs, others))))


def _exact(arrays: Mapping[str, Stored]) -> dict[str, Any]:
    return {name: item.exact for name, item in arrays.items()}


def _cut_off(subject: Subject, gradients: Mapping[str, Stored]) -> str:
    """What makes every gradient zero where a library differentiates; "" if one is not."""
    if subject.op.vjp is not None or any(np.any(item.exact) for item in gradients.values()):
        return ""
    return (
        "autograd does not pass through the function, and so every gradient is zero: it records nothing, or "
        "no autograd function is around a kernel"
    )


def _dtypes(arrays: Mapping[str, Stored]) -> dict[str, str]:
    return {name: item.dtype for name, item in arrays.items()}


def _explained(found: Finding, mistake: str) -> Finding:
    return replace(found, message=found.message + _likely(mistake))


def _likely(mistake: str) -> str:
    return f"{LIKELY}{mistake}" if mistake else ""


def judge_outputs(subject: Subject, outputs: Mapping[str, Stored], what: str = "") -> Finding:
    """Shapes, dtypes and values of every output that a call returned; `what` says whose, in a message."""
    _check_types(outputs, subject.output_types(), subject.case.dtype, what)
    return _judged(subject, outputs, subject.exact_outputs)


def judge_backward(subject: Subject, call: Call, cotangents: Mapping[str, Any] | None = None) -> Finding:
    """The outputs that an Op's ``forward`` gives, where it has one, and every claimed gradient."""
    saving = subject.forward_saving(call)
    return judge_passes(subject, saving, subject.gradients(call, cotangents))


def judge_passes(subject: Subject, saving: Mapping[str, Stored], gradients: Mapping[str, Stored]) -> Finding:
    """The same of results that are there: the outputs of ``forward``, empty without one, and gradients."""
    if saving:
        found = judge_outputs(subject, saving, "what `forward` returns as ")
        if not found.passed:
            named = {f"{name} of `forward`": judgement for name, judgement in found.judgements.items()}
            return replace(found, judgements=named, message=worst_message(named))
    return judge_gradients(subject, gradients)


def judge_gradients(
    subject: Subject, gradients: Mapping[str, Stored], wrt: tuple[str, ...] | None = None
) -> Finding:
    """Shapes, dtypes and values of every claimed gradient, or of those in ``wrt`` alone."""
    asked = subject.wrt if wrt is None else wrt
    _check_gradient_types(subject, gradients, asked)

    def exact(arithmetic: ssm_spec.Arithmetic) -> Exact:
        known = subject.exact_gradients(arithmetic)
        return {name: known[name] for name in asked}

    found = _judged(subject, gradients, exact)
    named = {f"gradient of {name}": judgement for name, judgement in found.judgements.items()}
    return replace(found, message=worst_message(named))


def check_types(subject: Subject) -> None:
    """CheckFailed if the case's own call gives an output or a gradient of another shape or dtype than meant.

    Whatever is done with such a one afterwards is at its mercy.
    """
    _check_types(subject.forward(subject.call), subject.output_types(), subject.case.dtype)
    if subject.takes_gradients:
        _check_gradient_types(subject, subject.gradients(subject.call), subject.wrt)


def _check_gradient_types(subject: Subject, gradients: Mapping[str, Stored], names: tuple[str, ...]) -> None:
    types = {name: (subject.stored[name].array.shape, subject.stored[name].dtype) for name in names}
    _check_types(gradients, types, subject.case.dtype, "the gradient of ")


def _kept(subject: Subject) -> dict[str, Stored]:
    """The inputs, but for the state that the call is asked to write."""
    return {name: item for name, item in subject.stored.items() if name not in subject.case.written}


def _check_types(
    actual: Mapping[str, Stored],
    expected: Mapping[str, tuple[tuple[int, ...], str]],
    call: str,
    what: str = "",
) -> None:
    for name, (shape, dtype) in expected.items():
        said, got = f"{what}`{name}`", actual[name].array.shape
        if got != shape:
            raise CheckFailed(
                f"{said} must have shape {shape}; got {got}{_likely(mistaken_shape(said, shape, got))}"
            )
        if actual[name].dtype != dtype:
            raise CheckFailed(f"{said} must have dtype {dtype} in a call of {call}; got {actual[name].dtype}")


def _judged(
    subject: Subject, actual: Mapping[str, Stored], exact: Callable[[ssm_spec.Arithmetic], Exact]
) -> Finding:
    """Judge under the declared arithmetic, and say what the declaration changed."""
    found = summary(judge_all(subject, actual, exact(subject.arithmetic())))
    declared = facts_for(subject.op.arithmetic, subject.case.dtype)
    if not declared:
        return found
    plain = judge_all(subject, actual, exact(subject.arithmetic(declared=False)))
    more = {"declared": declared, "ratio_undeclared": worst_ratio(plain)}
    return replace(found, details=dict(found.details) | more)


def summary(judgements: Mapping[str, Judgement]) -> Finding:
    """The judgements as a finding; AssertionError if the case judges too little, or nothing."""
    some(judgements, "output or gradient")
    excused = sum(found.excused for found in judgements.values())
    elements = sum(found.size for found in judgements.values())
    if excused > EXCUSED_AT_MOST * elements:
        raise AssertionError(
            f"{excused} of {elements} elements leave the range of the compute type: "
            "this case judges too little"
        )
    details = {"excused": excused, "elements": elements, "headroom": _headroom(judgements)}
    return Finding(judgements, worst_message(judgements), details)


def judge_all(subject: Subject, actual: Mapping[str, Stored], exact: Exact) -> dict[str, Judgement]:
    """Judge every output, or every gradient, against the oracle."""
    compute = subject.call.compute
    return {
        name: judge(actual[name].array, actual[name].dtype, compute, bounded, subject.periods.get(name))
        for name, bounded in exact.items()
    }


def worst_ratio(judgements: Mapping[str, Judgement]) -> float:
    """The largest ratio; NaN counts as the largest."""
    ratios = [found.ratio for found in judgements.values()] or [0.0]
    return float("nan") if any(np.isnan(ratios)) else float(max(ratios))


def _headroom(judgements: Mapping[str, Judgement]) -> list[int]:
    """How many elements lie in each bin of ``EDGES``; the last counts what exceeds them all."""
    ratios = np.concatenate([found.ratios for found in judgements.values()] or [np.empty(0)])
    bins = np.searchsorted(EDGES, np.where(np.isnan(ratios), np.inf, ratios), side="left")
    return [int(count) for count in np.bincount(bins, minlength=len(EDGES) + 1)]
