"""Where sequences begin and end in time, and which initial and last states are theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssm_spec._selective_scan._recurrence import Cuts, cuts_of

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sequences:
    """The sequences of a scan.

    Attributes
    ----------
    starts, ends
        (l, b). The slot of the initial state that enters, or of the last state that leaves,
        at that time; `INSIDE` in the middle of a sequence, `NOWHERE` where a sequence
        starts from zero, or its last state is not asked for.
    empty
        Slots of sequences without an element: their last state is their initial state.
    slots
        How many initial and last states there are.
    """

    starts: Index
    ends: Index
    empty: Index
    slots: int

    def rows(self, batch: slice) -> Sequences:
        """The sequences of some batch rows; slots keep their numbers."""
        return Sequences(self.starts[:, batch], self.ends[:, batch], self.empty, self.slots)

    @property
    def fresh(self) -> NDArray[np.bool_]:
        """(l, b): True where a sequence starts."""
        return np.not_equal(self.starts, INSIDE)

    @property
    def over(self) -> NDArray[np.bool_]:
        """(l, b): True where a sequence ends."""
        return np.not_equal(self.ends, INSIDE)

    def cuts(self, span: slice) -> Cuts:
        """The rows that start afresh within a span of time, counted from its start."""
        return cuts_of(self.fresh[span])

    def ends_within(self, span: slice) -> Cuts:
        """The rows that end within a span of time, counted from its start."""
        return cuts_of(self.over[span])


INSIDE = -2
NOWHERE = -1


def from_seq_idx(seq_idx: Index) -> Sequences:
    """A reset is exactly where seq_idx[t] ≠ seq_idx[t−1]. `seq_idx`: (b, l)."""
    batch, length = seq_idx.shape
    starts = np.full((length, batch), INSIDE)
    ends = starts.copy()
    reset = (seq_idx[:, 1:] != seq_idx[:, :-1]).T
    starts[1:][reset] = NOWHERE
    ends[:-1][reset] = NOWHERE
    slots = np.arange(batch)
    starts[:1] = slots
    ends[length - 1 :] = slots
    return Sequences(starts, ends, slots if length == 0 else slots[:0], batch)


def from_cu_seqlens(offsets: Index) -> Sequences:
    """Sequence i is offsets[i] to offsets[i + 1] of one packed row. `offsets`: (s + 1)."""
    starts = np.full((int(offsets[-1]), 1), INSIDE)
    ends = starts.copy()
    slots = np.arange(len(offsets) - 1)
    filled = np.diff(offsets) > 0
    starts[offsets[:-1][filled], 0] = slots[filled]
    ends[offsets[1:][filled] - 1, 0] = slots[filled]
    return Sequences(starts, ends, slots[~filled], len(slots))


def whole(batch: int, length: int) -> Sequences:
    """One sequence for each batch row."""
    return from_seq_idx(np.zeros((batch, length), dtype=np.int64))
