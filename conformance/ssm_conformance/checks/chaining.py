"""Cutting time into pieces: a scan resumed at any point, and a chain of single steps, are the scan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

import ssm_spec
from ssm_backends import OPERATORS, choose_forms
from ssm_conformance.case import Case
from ssm_conformance.checks.accuracy import judge_all, summary
from ssm_conformance.checks.agreement import worst_of
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pieces import (
    along,
    carried,
    cut_time,
    joined,
    outputs_over_time,
    time_axis,
)
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.judge import Judgement

WHOLE: Final = {
    "selective_state_update": "selective_scan",
    "causal_conv1d_update": "causal_conv1d",
    "ssd_update": "ssd",
    "mamba3_siso_step": "mamba3_siso",
}
"""Step → what many of them make."""


def chaining(subject: Subject) -> Finding:
    """Split at every k, the state handed on: the pieces together are the whole, within its bound.

    The option ``cuts`` names the ks where every one would take long. Then once more in
    three pieces, of which the middle one is a single step.
    """
    length = subject.call.sizes["l"]
    cuts = subject.case.options.get("cuts") or tuple(range(1, length))
    worst: dict[str, Judgement] = {}
    for bounds in [(k,) for k in cuts] + [(length // 2, length // 2 + 1)]:
        judgements = judge_all(subject, _in_pieces(subject, bounds), subject.exact)
        worst = worst_of(worst, judgements)
        found = summary(worst)
        if not found.passed:
            return replace(found, message=f"split at {', '.join(map(str, bounds))}: {found.message}")
    return found


def _in_pieces(subject: Subject, bounds: tuple[int, ...]) -> dict[str, Stored]:
    """The call's outputs, evaluated piece by piece; each piece goes on from the last state before it."""
    pieces: list[dict[str, Stored]] = []
    operator = subject.case.operator
    states = carried(operator)
    for start, stop in zip((0, *bounds), (*bounds, subject.call.sizes["l"]), strict=True):
        stored = cut_time(subject, slice(start, stop))
        if pieces:
            stored |= {given: pieces[-1][last] for last, given in states.items()}
        piece = subject.put(stored)
        pieces.append(piece.forward(piece.call))
    whole = {name: joined(pieces, name, axis) for name, axis in outputs_over_time(operator).items()}
    return whole | {last: pieces[-1][last] for last in states}


def steps(subject: Subject) -> Finding:
    """A long chain of single steps against the oracle's scan over the same inputs, within its bound."""
    length, operator = subject.case.options["steps"], subject.case.operator
    times, states = _times(subject.case), carried(operator)
    whole = {
        name: replace(draw, shape=_longer(draw.shape, times[name], length)) if name in times else draw
        for name, draw in subject.case.draws.items()
    }
    key = (subject.case.op, subject.case.recipe.name, "chain")
    dtypes = subject.case.dtypes()
    inputs = {name: subject.draw(draw, dtypes[name], *key, name) for name, draw in whole.items()}
    state, outputs = {given: inputs[given] for given in states.values()}, []
    begun = {name: item.exact[..., _unread(subject) :] for name, item in state.items()}
    for t in range(length):
        now = {
            name: item.take(along(times[name], t)) if name in times else item for name, item in inputs.items()
        }
        result = subject.forward(subject.into(now | state))
        state = {given: result[last] for last, given in states.items()}
        outputs.append(result["y"].array)
    scan = OPERATORS[WHOLE[subject.case.op]]
    y = Stored(np.stack(outputs, axis=outputs_over_time(scan)["y"]), subject.case.dtype)
    ends = [item.take((..., slice(_unread(subject), None))) for item in state.values()]
    last = dict(zip(carried(scan), ends, strict=True))
    exact = _scan(subject, {name: item.exact for name, item in inputs.items()} | begun)
    return summary(judge_all(subject, {"y": y} | last, exact))


def _unread(subject: Subject) -> int:
    """How many inputs a state holds that its filter does not read: the whole begins and ends without them."""
    sizes = subject.call.sizes
    return sizes["k"] - sizes["v"] if {"k", "v"} <= set(sizes) else 0


def _times(case: Case) -> dict[str, int]:
    """The step's arrays that have a time axis in a scan → that axis, from the end."""
    forms = choose_forms(case.operator, case.draws | case.plain)
    scan = OPERATORS[WHOLE[case.op]]
    found = {}
    for name, form in forms.items():
        if form.role == "state":
            continue
        for wider in scan.argument(name).forms:
            axis = time_axis(wider.shape.split())
            if axis is not None and [s for s in wider.shape.split() if s != "l"] == form.shape.split():
                found[name] = axis
    return found


def _longer(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    """A shape with a time axis put in."""
    place = len(shape) + 1 + axis
    return (*shape[:place], length, *shape[place:])


def _scan(subject: Subject, inputs: dict[str, Any]) -> dict[str, ssm_spec.Bounded]:
    scan = OPERATORS[WHOLE[subject.case.op]]
    given = zip(carried(scan).values(), carried(subject.case.operator).values(), strict=True)
    inputs = inputs | {initial: inputs.pop(state) for initial, state in given}
    return ssm_spec.REFERENCES[scan.name].bounds(
        arithmetic=subject.arithmetic(), **inputs, **subject.case.plain
    )
