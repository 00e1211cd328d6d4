"""A pool of states: which rows of a batch take a step, and in which slots their states lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import DomainError, DTypeError
from ssm_spec._validate import Array, Dimensions, as_index_array


@dataclass(frozen=True, eq=False)
class Taken:
    """The rows that take a step.

    Attributes
    ----------
    batch
        How many rows there are, those that are skipped included.
    rows, slots
        Those that take it, and where in the pool the state of each lies.
    """

    batch: int
    rows: NDArray[np.int64]
    slots: NDArray[np.int64]

    def to_rows(self, part: Array) -> Array:
        """Put rows that took part among those that did not: zero there, or True in a mask."""
        fill = part.dtype == np.bool_
        out: Array = np.full((self.batch, *part.shape[1:]), fill, dtype=part.dtype)
        out[self.rows] = part
        return out

    def to_slots(self, part: Array, pool: Array) -> Array:
        """The pool with a part of each row that took part in its slot."""
        out = pool.copy()
        out[self.slots] = part
        return out


def written(state: object) -> Array:
    """The array that the new state is written into.

    Raises
    ------
    DTypeError
        If it is no NumPy array, or one that must not be written.
    """
    if not isinstance(state, np.ndarray) or not state.flags.writeable:
        given = "a read-only array" if isinstance(state, np.ndarray) else type(state).__name__
        raise DTypeError(f"`state` must be a writable NumPy array where `inplace` is set; got {given}")
    return state


def participants(state_indices: object, dims: Dimensions) -> Taken:
    """The rows that take part, each with its slot; all of them in order, where there are no indices.

    Parameters
    ----------
    state_indices
        (b,), integers, each slot at most once, or None; −1 skips a row.
    dims
        With the size of "b"; with that of "slots" where there are indices.

    Raises
    ------
    DTypeError, ShapeError, DomainError
        If they are no integers, of another length, name no slot there is, or one twice.
    """
    if state_indices is None:
        everyone = np.arange(dims["b"])
        return Taken(dims["b"], everyone, everyone)
    indices = as_index_array("state_indices", state_indices)
    dims.match("state_indices", indices, "b")
    rows = np.flatnonzero(indices != -1)
    slots = indices[rows]
    count = dims["slots"]
    if ((slots < 0) | (slots >= count)).any():
        raise DomainError(
            f"`state_indices` must lie in 0..{count - 1}, the slots of `state`, or be -1; "
            f"got {indices.tolist()}"
        )
    if len(np.unique(slots)) != len(slots):
        raise DomainError(f"`state_indices` must name each slot at most once; got {indices.tolist()}")
    return Taken(dims["b"], rows, slots)
