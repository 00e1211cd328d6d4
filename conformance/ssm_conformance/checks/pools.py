"""What a step has no part in reaches nothing: skipped rows, slots that no row names, inputs not read."""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import Comparison, Mask, changed, compared, spoil
from ssm_conformance.checks.pieces import axes
from ssm_conformance.checks.subject import Subject


def skipped(subject: Subject) -> Finding:
    """Other numbers, and NaN, in skipped rows change nothing; in slots that no row names, those alone."""
    indices = subject.stored["state_indices"].array
    rows = {
        name: (indices < 0).reshape(-1, *[1] * (len(symbols) - 1))
        for name, symbols in axes(subject).items()
        if symbols[0] == "b" and not subject.stored[name].index
    }
    slots = _idle(subject).reshape(-1, *[1] * (subject.stored["state"].array.ndim - 1))
    everything = np.ones(1, dtype=bool)
    comparisons: list[Comparison] = [
        (rows, {"y": everything, "state": everything}, "in skipped rows"),
        ({"state": slots}, {"y": everything, "state": ~slots}, "in slots that no row names"),
    ]
    return compared(subject, comparisons, ("other numbers", "nan"))


def _idle(subject: Subject) -> Mask:
    """The states that no row names, (r); none, where each row has its own."""
    idle = np.ones(subject.stored["state"].array.shape[0], dtype=bool)
    if "state_indices" not in subject.stored:
        return ~idle
    indices = subject.stored["state_indices"].array
    idle[indices[indices >= 0]] = False
    return idle


def unread(subject: Subject) -> Finding:
    """Other numbers, and what is not finite, in inputs that a filter does not read reach its state alone.

    There they are where the step shifts them to; and no gradient knows them.
    """
    k, unread_ones = subject.call.sizes["k"], subject.call.sizes["k"] - subject.call.sizes["v"]
    stepped = ~_idle(subject)[:, None, None]
    older, everything = stepped & (np.arange(k) < unread_ones), np.ones(1, dtype=bool)
    kept: dict[str, Mask] = {"y": everything, "state": ~older | (np.arange(k) == unread_ones - 1)}
    found = compared(subject, [({"state": older}, kept, "in inputs that are not read")], _NOT_FINITE)
    if not found.passed or not subject.takes_gradients:
        return found
    before, exact = subject.gradients(subject.call), subject.exact_gradients(subject.arithmetic())
    for how in _NOT_FINITE:
        other = subject.put(spoil(subject.stored, {"state": older}, how), cotangents=subject.cotangents)
        after = other.gradients(other.call)
        complaint = changed(
            subject, before, after, dict.fromkeys(before, everything), exact, direction="backward"
        )
        if complaint:
            return Finding(message=f"{how} in inputs that are not read: gradient of {complaint}")
    return Finding()


_NOT_FINITE: Final = ("other numbers", "nan", "inf")
