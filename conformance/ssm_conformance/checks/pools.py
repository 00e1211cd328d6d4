"""A pool of states: what a skipped row holds, and what a slot holds that no row names, reaches nothing."""

from __future__ import annotations

import numpy as np

from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import Comparison, compared
from ssm_conformance.checks.pieces import axes
from ssm_conformance.checks.subject import Subject


def skipped(subject: Subject) -> Finding:
    """Other numbers, and NaN, in skipped rows change nothing; in slots that no row names, those alone."""
    indices = subject.stored["state_indices"].array
    idle = np.ones(subject.stored["state"].array.shape[0], dtype=bool)
    idle[indices[indices >= 0]] = False
    rows = {
        name: (indices < 0).reshape(-1, *[1] * (len(symbols) - 1))
        for name, symbols in axes(subject).items()
        if symbols[0] == "b" and not subject.stored[name].index
    }
    slots = idle[:, None, None]
    everything = np.ones(1, dtype=bool)
    comparisons: list[Comparison] = [
        (rows, {"y": everything, "state": everything}, "in skipped rows"),
        ({"state": slots}, {"y": everything, "state": ~slots}, "in slots that no row names"),
    ]
    return compared(subject, comparisons, ("other numbers", "nan"))
