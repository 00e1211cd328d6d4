"""A step on a pool of states, on the tape: which rows take it, and where the state of each lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec.certify._tape import Variable, constant, stack


@dataclass(frozen=True, eq=False)
class Taken:
    """`rows` of a batch, and the `slots` of their states in the pool."""

    batch: int
    rows: NDArray[np.int64]
    slots: NDArray[np.int64]

    def to_rows(self, y: Variable) -> Variable:
        """(b, …): zeros where a row is skipped."""
        place = {int(row): i for i, row in enumerate(self.rows)}
        skipped = constant(np.zeros(y.shape[1:]))
        return stack([y[place[i]] if i in place else skipped for i in range(self.batch)], 0, y)

    def to_slots(self, new: Variable, pool: Variable) -> Variable:
        """The pool, with the new state of each row that took the step."""
        place = {int(slot): i for i, slot in enumerate(self.slots)}
        return stack([new[place[i]] if i in place else pool[i] for i in range(pool.shape[0])], 0, pool)


def participants(state_indices: ArrayLike | None, batch: int) -> Taken:
    """The rows that take part, which −1 skips, and their slots."""
    indices = np.arange(batch) if state_indices is None else np.asarray(state_indices)
    rows = np.flatnonzero(indices >= 0)
    return Taken(batch, rows, indices[rows])
