"""What the honest steps of states in a pool have in common: who steps, and where the new states go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
