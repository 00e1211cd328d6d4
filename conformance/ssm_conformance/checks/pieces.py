"""A call cut along time or along the batch: which arguments are cut, and the smaller calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ssm_backends import choose_forms
from ssm_conformance.checks.subject import Stored, Subject


def axes(subject: Subject) -> dict[str, list[str]]:
    """Argument → the symbols of its shape, slowest first."""
    forms = choose_forms(subject.case.operator, subject.case.draws | subject.case.plain)
    return {name: forms[name].shape.split() for name in subject.case.draws}


def over_time(subject: Subject) -> tuple[str, ...]:
    """The arguments that have a time axis, index arrays too."""
    return tuple(name for name, symbols in axes(subject).items() if symbols[-1] == "l")


def streamed(subject: Subject) -> tuple[str, ...]:
    """The floating arguments that have a time axis."""
    return tuple(name for name in over_time(subject) if not subject.stored[name].index)


def cut_time(subject: Subject, span: slice) -> dict[str, Stored]:
    """The arguments of the same call over a span of time."""
    names = over_time(subject)
    return {name: item.take((..., span)) if name in names else item for name, item in subject.stored.items()}


def by_row(subject: Subject) -> tuple[str, ...]:
    """The arguments whose first axis is the batch."""
    return tuple(name for name, symbols in axes(subject).items() if symbols[0] in ("b", "r"))


def cut_batch(subject: Subject, rows: slice) -> dict[str, Stored]:
    """The arguments of the same call for some rows of the batch."""
    names = by_row(subject)
    return {name: item.take(rows) if name in names else item for name, item in subject.stored.items()}


def joined(pieces: Sequence[Mapping[str, Stored]], name: str, axis: int) -> Stored:
    """One output of several calls, joined along an axis."""
    arrays = [piece[name] for piece in pieces]
    return Stored(np.concatenate([item.array for item in arrays], axis=axis), arrays[0].dtype)
