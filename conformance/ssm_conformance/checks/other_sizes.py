"""The same call of other sizes: fewer steps, twice as many rows, channels and states, or one row alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ssm_conformance.checks.pieces import axes, cut_time, over_time
from ssm_conformance.checks.subject import NotAsked, Stored, Subject

FEWER: Final = 3
"""Steps by which the shorter call is shorter."""
GROWN: Final = ("b", "r", "d", "h", "p", "n", "*s", "=s")
"""Sizes of which there may be twice as many in a call like it: rows, channels, states, systems."""
SLOTS: Final = "state_indices"
"""It holds numbers of rows of the state."""


def shorter(subject: Subject) -> Subject | None:
    """With fewer steps; None where there are too few, or offsets say how many there are."""
    length = subject.call.sizes.get("l", 0)
    if length <= FEWER or "cu_seqlens" in subject.stored or not over_time(subject):
        return None
    return _claimed(subject, cut_time(subject, slice(0, length - FEWER)))


def doubled(subject: Subject) -> Subject | None:
    """Twice as many rows, channels and states, the second half in the opposite order; None if none can be.

    Sequences that offsets name stay as many, and so do the states of a full matrix, which two copies
    would make unstable.
    """
    symbols = axes(subject)
    packed = "cu_seqlens" in subject.stored
    full = any(pattern.count("n") > 1 for pattern in symbols.values())
    kept = {*(("b", "r") if packed else ()), *(("n",) if full else ())}
    grown = {
        name: list(_grown(pattern, subject.stored[name].array.ndim, kept))
        for name, pattern in symbols.items()
    }
    if not any(grown.values()):
        return None
    stored = {
        name: Stored(_twice(item.array, grown[name]), item.dtype) for name, item in subject.stored.items()
    }
    if SLOTS in stored and grown[SLOTS]:
        stored[SLOTS] = _slots(stored[SLOTS], subject.stored["state"].array.shape[0])
    return _claimed(subject, stored)


def one_row(subject: Subject) -> Subject | None:
    """The first row alone, of a pool that stays as it is; None where there is one row or no batch."""
    if subject.call.sizes.get("b", 0) < 2:
        return None
    rows = ("b",) if SLOTS in subject.stored else ("b", "r")
    stored = {
        name: item.take(slice(0, 1)) if axes(subject)[name][0] in rows else item
        for name, item in subject.stored.items()
    }
    return _claimed(subject, stored)


def _claimed(subject: Subject, stored: dict[str, Stored]) -> Subject | None:
    """The call with these arrays; None where the backend's limits leave it out."""
    try:
        return subject.put(stored)
    except NotAsked:
        return None


def _grown(pattern: list[str], rank: int, kept: set[str]) -> Iterator[int]:
    """Which axes of an array are doubled; of several dimensions of systems the first one."""
    star = next((i for i, symbol in enumerate(pattern) if symbol in ("*s", "=s")), len(pattern))
    for i, symbol in enumerate(pattern):
        axis = i if i <= star else i - len(pattern) + rank
        present = i != star or rank >= len(pattern)
        if symbol in GROWN and symbol not in kept and present:
            yield axis


def _twice(array: NDArray[np.generic], grown: list[int]) -> NDArray[np.generic]:
    for axis in grown:
        array = np.concatenate([array, np.flip(array, axis)], axis)
    return array


def _slots(slots: Stored, pool: int) -> Stored:
    """Slots of the second half lie in the second half of the pool; -1, of a skipped row, stays."""
    array = slots.array.copy()
    second = array[len(array) // 2 :]
    second[second >= 0] += pool
    return Stored(array, slots.dtype)
