"""The honest single step, through the same methods as the scan: a defect of one is a defect of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.adjoint import Honest
from ssm_conformance.mutants.bits import Array


@dataclass(frozen=True)
class Step:
    """The operator ``selective_state_update``.

    Attributes
    ----------
    kernel
        Whose methods it goes through.
    """

    kernel: Honest

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        """The rows of the batch that take the step, and where the state of each lies."""
        if state_indices is None:
            return np.arange(b), np.arange(b)
        rows = np.flatnonzero(state_indices >= 0)
        return rows, state_indices[rows]

    def target(self, state: Array, inplace: bool) -> Array:
        """Where the new states are written: over the old ones only if that is asked for."""
        return state if inplace else state.copy()

    def kept(self, h: Array) -> Array:
        """The new state as it is kept."""
        return h

    def read_state(self, before: Array, h: Array) -> Array:
        """The state that the output is read from: the new one."""
        return h

    def __call__(
        self,
        *,
        state: Any,
        u: Any,
        A: Any,
        B: Any,
        C: Any,
        delta: Any,
        z: Any = None,
        state_indices: Any = None,
        inplace: bool = False,
        **inputs: Any,
    ) -> tuple[Any, Any]:
        """The operator: (y, new state)."""
        kernel = self.kernel
        compute = compute_dtype([dtype_name(u), dtype_name(A)])
        rows, slots = self.rows_and_slots(state_indices, u.shape[0])
        streams = {"u": u, "delta": delta, "z": z, "B": B, "C": C}
        taken: dict[str, Any] = {
            name: kernel.load(x, compute)[rows][..., None] for name, x in streams.items() if x is not None
        }
        with np.errstate(all="ignore"):  # infinities and NaN are values here, by the rules of IEEE
            p = kernel.prepare(A=A, initial_state=state[slots], **taken, **inputs)
            _, h = kernel.advance(p, 0, p.initial)
            v = kernel.output(p, 0, self.read_state(p.initial, h))
            y = np.zeros(u.shape, compute)
            y[rows] = kernel.finish(p, v[:, :, None])[:, :, 0]
            new = self.target(state, inplace)
            new[slots] = self.kept(h)
        return kernel.store(y, dtype_name(u)), new
