"""A pool of states: which rows of a batch take a step, and in which slots their states lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import DomainError, DTypeError
from ssm_spec._roundoff import Bounded
from ssm_spec._validate import Array, Dimensions, as_cotangent, as_index_array


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


@dataclass(frozen=True, eq=False)
class Pooled:
    """A step of the rows that take part, in the place it has among all rows and slots.

    Attributes
    ----------
    state
        All states, those of other rows included.
    taken
        The rows that take part, and their places in `state`.
    by_row
        The inputs with a row for each of the batch.
    """

    state: Array
    taken: Taken
    by_row: tuple[str, ...]

    def cotangents(
        self, given: Mapping[str, object], y: tuple[int, ...]
    ) -> tuple[dict[str, Array | None], Array]:
        """Those of "y" and "state", of the rows that take part; and the state's, which others hand through.

        Parameters
        ----------
        given
            By name.
        y
            The shape of y, its first dimension aside.
        """
        of_y = as_cotangent(given, "y", (self.taken.batch, *y))
        after = as_cotangent(given, "state", self.state.shape, complex_=self.state.dtype.kind == "c")
        rows = {
            "y": None if of_y is None else of_y[self.taken.rows],
            "state": None if after is None else after[self.taken.slots],
        }
        return rows, np.zeros_like(self.state) if after is None else after

    def gradient(self, name: str, part: Array, passed: Array) -> Array:
        """The gradient of an input, or its bound, from the rows' and from what the slots hand through."""
        if name == "state":
            return self.taken.to_slots(part, passed)
        return self.taken.to_rows(part) if name in self.by_row else part

    def gradient_bounds(self, name: str, part: Bounded, passed: Array, eta: float) -> Bounded:
        """The same of value and bounds: a subnormal cotangent may be lost even where it is handed through."""
        alone = Bounded(passed, np.full(passed.shape, eta), np.zeros(passed.shape), np.isfinite(passed))
        return Bounded(
            *(self.gradient(name, *both) for both in zip(_parts(part), _parts(alone), strict=True))
        )

    def output_bounds(self, y: Bounded, new: Bounded) -> dict[str, Bounded]:
        """Those of all rows and all slots, from the rows'; slots left alone have bound 0."""
        zero = np.zeros(self.state.shape)
        alone = Bounded(self.state, zero, zero, np.isfinite(self.state))
        pool = (self.taken.to_slots(*both) for both in zip(_parts(new), _parts(alone), strict=True))
        return {"y": y.map(self.taken.to_rows), "state": Bounded(*pool)}

    def outputs(self, y: Array, new: Array, place: Array | None) -> tuple[Array, Array]:
        """All rows and all slots; written over `place`, rounded to its dtype, if that is given."""
        if place is None:
            return self.taken.to_rows(y), self.taken.to_slots(new, self.state)
        with np.errstate(all="ignore"):  # what a narrower state cannot hold becomes an infinity
            place[self.taken.slots] = new
        return self.taken.to_rows(y), place


def _parts(bounded: Bounded) -> tuple[Any, ...]:
    return bounded.value, bounded.bound, bounded.own, bounded.judged


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
