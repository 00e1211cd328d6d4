"""Cutting time into pieces: a scan resumed at any point, and a chain of single steps, are the scan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

import ssm_spec
from ssm_backends import choose_forms
from ssm_conformance.case import Case
from ssm_conformance.checks.accuracy import judge_all, summary
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.draw import Draw

STEPS: Final = 64
"""Length of a chain of single steps; drift was reported beyond some thirty."""


def chaining(subject: Subject) -> Finding:
    """Split at several k, the state handed on: the pieces together are the whole, within its bound."""
    length = subject.call.sizes["l"]
    for cut in sorted({1, length // 3, length - 1}):
        first = _piece(subject, slice(0, cut), None)
        second = _piece(subject, slice(cut, length), first["last_state"])
        y = Stored(np.concatenate([first["y"].array, second["y"].array], axis=-1), first["y"].dtype)
        judgements = judge_all(subject, {"y": y, "last_state": second["last_state"]}, subject.exact)
        found = summary(judgements)
        if not found.passed:
            return replace(found, message=f"split at {cut}: {found.message}")
    return found


def _piece(subject: Subject, span: slice, state: Stored | None) -> dict[str, Stored]:
    """The scan of a span of time, from a given state."""
    forms = choose_forms(subject.case.operator, subject.case.draws | subject.case.plain)
    stored = {
        name: Stored(np.ascontiguousarray(item.array[..., span]), item.dtype)
        if forms[name].shape.split()[-1] == "l"
        else item
        for name, item in subject.stored.items()
    }
    if state is not None:
        stored["initial_state"] = state
    return subject.forward(subject.into(stored))


def steps(subject: Subject) -> Finding:
    """A long chain of single steps against the oracle's scan over the same inputs, within its bound."""
    whole = _over_time(subject.case)
    key = (subject.case.op, subject.case.recipe.name, "chain")
    dtypes = subject.case.dtypes()
    inputs = {name: subject.draw(draw, dtypes[name], *key, name) for name, draw in whole.items()}
    state, outputs = inputs["state"], []
    for t in range(STEPS):
        now = {
            name: Stored(np.ascontiguousarray(item.array[..., t]), item.dtype) if name in STREAMED else item
            for name, item in inputs.items()
        }
        result = subject.forward(subject.into(now | {"state": state}))
        state = result["state"]
        outputs.append(result["y"].array)
    y = Stored(np.stack(outputs, axis=-1), subject.case.dtype)
    exact = _scan(subject, {name: item.exact for name, item in inputs.items()})
    return summary(judge_all(subject, {"y": y, "last_state": state}, exact))


STREAMED: Final = ("u", "delta", "z", "B", "C")


def _over_time(case: Case) -> dict[str, Draw]:
    """The step's arrays, with a time axis where they have one in a scan."""
    return {
        name: replace(draw, shape=(*draw.shape, STEPS)) if name in STREAMED else draw
        for name, draw in case.draws.items()
    }


def _scan(subject: Subject, inputs: dict[str, Any]) -> dict[str, ssm_spec.Bounded]:
    initial = inputs.pop("state")
    return ssm_spec.REFERENCES["selective_scan"].bounds(
        arithmetic=subject.arithmetic(), initial_state=initial, **inputs, **subject.case.plain
    )
