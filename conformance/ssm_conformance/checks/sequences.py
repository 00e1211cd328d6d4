"""Sequences that share a call do not know each other, and a padded one is the one without padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_backends.dtypes import HALF
from ssm_conformance.checks.agreement import agree, finding, part, worst_of
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pieces import along, carried, outputs_over_time, streamed
from ssm_conformance.checks.subject import NotAsked, Stored, Subject
from ssm_conformance.judge import Judgement

PADDING: Final = (1, 5, 16)
"""Steps put in front of a sequence."""


@dataclass(frozen=True)
class Span:
    """One sequence of a packed call.

    Attributes
    ----------
    row
        Of the batch.
    times
        Where it lies.
    initial, last
        Rows of the initial state and of the last state that are its own; None if it has none.
    """

    row: int
    times: slice
    initial: int | None
    last: int | None


def spans(subject: Subject) -> Iterator[Span]:
    """The sequences of a packed call, in order."""
    if "cu_seqlens" in subject.stored:
        offsets = subject.stored["cu_seqlens"].array
        for r, (start, stop) in enumerate(pairwise(offsets)):
            yield Span(0, slice(int(start), int(stop)), r, r)
        return
    index = subject.stored["seq_idx"].array
    for row in range(index.shape[0]):
        changes = (1 + np.flatnonzero(index[row, 1:] != index[row, :-1])).tolist()
        edges = [0, *changes, index.shape[1]]
        for start, stop in pairwise(edges):
            ends = row if stop == index.shape[1] else None
            yield Span(row, slice(start, stop), row if start == 0 else None, ends)


def separate(subject: Subject) -> Finding:
    """Each packed sequence alone: its outputs and its states, within two bounds."""
    packed = subject.forward(subject.call)
    found: dict[str, Judgement] = {}
    for span in spans(subject):
        alone = _alone(subject, span)
        results = alone.forward(alone.call)
        for name, key, own in _places(subject, span):
            if own:
                whole, exact = packed[name].take(key), part(subject.exact[name], key)
                judgement = agree(
                    whole, results[name], exact, subject.call.compute, subject.periods.get(name)
                )
                found = worst_of(found, {name: judgement})
        complaint = finding(found, f"packed, against the sequence {_named(span)} alone")
        if not complaint.passed:
            return complaint
    return Finding(found)


def separate_gradients(subject: Subject) -> Finding:
    """The gradients of a packed call are those of its sequences alone, summed where they are shared."""
    packed = subject.gradients(subject.call)
    exact = subject.exact_gradients(subject.arithmetic())
    times, states = streamed(subject), carried(subject.case.operator).values()
    found: dict[str, Judgement] = {}
    totals: dict[str, NDArray[Any]] = {}
    for span in spans(subject):
        alone = _alone(subject, span, cotangents=True)
        results = alone.gradients(alone.call)
        for name, result in results.items():
            key: tuple[Any, ...]
            if name in times:
                key = (slice(span.row, span.row + 1), *along(times[name], span.times))
            elif name in states:
                key = (slice(span.initial, (span.initial or 0) + 1),)
            elif result.dtype in HALF:  # a sum of rounded parts is not the rounded sum
                continue
            else:
                totals[name] = totals.get(name, 0) + result.exact
                continue
            judgement = agree(packed[name].take(key), result, part(exact[name], key), subject.call.compute)
            found |= worst_of(found, {name: judgement})
    for name, total in totals.items():
        found[name] = agree(packed[name], _as(total, packed[name]), exact[name], subject.call.compute)
    if not found:
        raise NotAsked(
            "the gradients that are claimed are sums in 16 bits: rounded parts do not add up to them"
        )
    return finding(found, "gradients of the packed call, against those of its sequences alone")


def left_padding(subject: Subject) -> Finding:
    """Steps in front with u = 0 leave the state at zero: nothing comes out of them, nothing changes after."""
    before = subject.forward(subject.call)
    axis = outputs_over_time(subject.case.operator)["y"]
    found: dict[str, Judgement] = {}
    for width in PADDING:
        padded = _padded(subject, width)
        after = padded.forward(padded.call)
        rest = along(axis, slice(width, None))
        for name, reference in before.items():
            moved = after[name].take(rest) if name == "y" else after[name]
            exact = padded.exact[name]
            exact = part(exact, rest) if name == "y" else exact
            judgement = agree(moved, reference, exact, subject.call.compute, subject.periods.get(name))
            found = worst_of(found, {name: judgement})
        silent = after["y"].take(along(axis, slice(0, width)))
        if np.any(silent.exact != 0):
            where = tuple(int(i) for i in np.argwhere(silent.exact != 0)[0])
            return Finding(
                message=f"{width} steps of padding with {subject.case.operator.primary} = 0 in front: "
                f"y{list(where)} = "
                f"{silent.exact[where]:.9g} there, which is not zero"
            )
        complaint = finding(found, f"with {width} steps of padding in front")
        if not complaint.passed:
            return complaint
    return Finding(found)


def _alone(subject: Subject, span: Span, cotangents: bool = False) -> Subject:
    """The same operator on one sequence."""
    times, states = streamed(subject), carried(subject.case.operator).values()
    row = slice(span.row, span.row + 1)
    stored = {
        name: item.take((row, *along(times[name], span.times))) if name in times else item
        for name, item in subject.stored.items()
        if name not in ("seq_idx", "cu_seqlens", *states)
    }
    for name in states:
        if name in subject.stored and span.initial is not None:
            stored[name] = subject.stored[name].take(slice(span.initial, span.initial + 1))
    return subject.put(stored, cotangents=_cotangents(subject, span) if cotangents else None)


def _cotangents(subject: Subject, span: Span) -> dict[str, Stored]:
    """The packed call's cotangents of one sequence: none of a last state that is not its own."""
    given = subject.cotangents
    return {name: given[name].take(key) for name, key, own in _places(subject, span) if own and name in given}


def _places(subject: Subject, span: Span) -> Iterator[tuple[str, tuple[Any, ...], bool]]:
    """Output, where the sequence's part of it lies, and whether it has one."""
    last = 0 if span.last is None else span.last
    for name, axis in outputs_over_time(subject.case.operator).items():
        yield name, (slice(span.row, span.row + 1), *along(axis, span.times)), True
    for name in carried(subject.case.operator):
        yield name, (slice(last, last + 1),), span.last is not None


def _padded(subject: Subject, width: int) -> Subject:
    """The call with steps in front: the input is zero there, everything else as it may come."""
    stored: Mapping[str, Stored] = subject.stored
    longer = {}
    for name, axis in streamed(subject).items():
        item = stored[name]
        front = np.take(item.array, np.arange(width) % item.array.shape[axis], axis=axis)
        front = np.zeros_like(front) if name == subject.case.operator.primary else front
        longer[name] = Stored(np.concatenate([front, item.array], axis=axis), item.dtype)
    return subject.put(dict(stored) | longer)


def _as(total: NDArray[Any], like: Stored) -> Stored:
    return Stored(total.astype(like.array.dtype), like.dtype)


def _named(span: Span) -> str:
    return f"at [{span.times.start}, {span.times.stop}) of row {span.row}"
