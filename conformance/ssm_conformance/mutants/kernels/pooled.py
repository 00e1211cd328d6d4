"""What the honest steps of states in a pool have in common: who steps, and where the new states go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import Kernel


class Pooled(Kernel):
    """A step of states in a pool, or of one for each row."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        """The rows of the batch that take the step, and where the state of each lies."""
        if state_indices is None:
            return np.arange(b), np.arange(b)
        rows = np.flatnonzero(state_indices >= 0)
        return rows, state_indices[rows]

    def target(self, state: Array, inplace: bool) -> Array:
        """Where the new states are written: over the old ones only if that is asked for."""
        return state if inplace else state.copy()

    def counted(self, cotangents: Mapping[str, Any], inplace: bool) -> Mapping[str, Any]:
        """The cotangents that count."""
        return cotangents

    def storage(self) -> Kernel:
        """Whose way of taking arrays in and of handing them out it has."""
        return self

    def wide(self, state: Any, compute: str) -> Array:
        """The states in the compute type; beside them, where they are kept in 16 bits."""
        return self.storage().load(state, compute) if dtype_name(state) in HALF else state

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        """The new states in the dtype of the old ones: in 16 bits they are rounded here."""
        dtype = dtype_name(state)
        if dtype not in HALF:
            return new
        narrow = self.storage().store(new, dtype)
        if not inplace:
            return narrow
        if dtype == "bfloat16":
            state.bits[...] = narrow.bits
        else:
            state[...] = narrow
        return state
