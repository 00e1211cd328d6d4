"""Cutting time into pieces: a scan resumed at any point, and a chain of single steps, are the scan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

import ssm_spec
from ssm_conformance.case import Case
from ssm_conformance.checks.accuracy import judge_all, summary
from ssm_conformance.checks.agreement import worst_of
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pieces import cut_time, joined
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.draw import Draw
from ssm_conformance.judge import Judgement

WHOLE: Final = {
    "selective_state_update": ("selective_scan", ("u", "delta", "z", "B", "C")),
    "causal_conv1d_update": ("causal_conv1d", ("x",)),
}
"""Step → what many of them make, and the arguments that have a time axis there."""


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
    for start, stop in zip((0, *bounds), (*bounds, subject.call.sizes["l"]), strict=True):
        stored = cut_time(subject, slice(start, stop))
        if pieces:
            stored["initial_state"] = pieces[-1]["last_state"]
        piece = subject.put(stored)
        pieces.append(piece.forward(piece.call))
    return {"y": joined(pieces, "y", -1), "last_state": pieces[-1]["last_state"]}


def steps(subject: Subject) -> Finding:
    """A long chain of single steps against the oracle's scan over the same inputs, within its bound."""
    length = subject.case.options["steps"]
    streamed = WHOLE[subject.case.op][1]
    whole = _over_time(subject.case, streamed, length)
    key = (subject.case.op, subject.case.recipe.name, "chain")
    dtypes = subject.case.dtypes()
    inputs = {name: subject.draw(draw, dtypes[name], *key, name) for name, draw in whole.items()}
    state, outputs = inputs["state"], []
    for t in range(length):
        now = {name: item.take((..., t)) if name in streamed else item for name, item in inputs.items()}
        result = subject.forward(subject.into(now | {"state": state}))
        state = result["state"]
        outputs.append(result["y"].array)
    y = Stored(np.stack(outputs, axis=-1), subject.case.dtype)
    exact = _scan(subject, {name: item.exact for name, item in inputs.items()})
    return summary(judge_all(subject, {"y": y, "last_state": state}, exact))


def _over_time(case: Case, streamed: tuple[str, ...], length: int) -> dict[str, Draw]:
    """The step's arrays, with a time axis where they have one in a scan."""
    return {
        name: replace(draw, shape=(*draw.shape, length)) if name in streamed else draw
        for name, draw in case.draws.items()
    }


def _scan(subject: Subject, inputs: dict[str, Any]) -> dict[str, ssm_spec.Bounded]:
    initial = inputs.pop("state")
    return ssm_spec.REFERENCES[WHOLE[subject.case.op][0]].bounds(
        arithmetic=subject.arithmetic(), initial_state=initial, **inputs, **subject.case.plain
    )
