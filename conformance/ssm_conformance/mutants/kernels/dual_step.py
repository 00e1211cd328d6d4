"""The honest single step of SSD: SSD at length one, of states in a pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel
from ssm_conformance.mutants.kernels.pooled import Pooled


class DualStep(Pooled):
    """The operator ``ssd_update``.

    Parameters
    ----------
    whole
        SSD, whose methods it goes through.
    """

    op: ClassVar[str] = "ssd_update"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "gradients": "all",
        "features": ("mixed_dtypes", "per_channel_skip", "half_state", "state_indices", "inplace"),
        "deterministic": True,
    }
    streamed: ClassVar[tuple[str, ...]] = ("x", "dt", "B", "C", "z")

    def __init__(self, whole: Dual | None = None) -> None:
        self.whole = Dual() if whole is None else whole

    def storage(self) -> Kernel:
        """SSD's own."""
        return self.whole

    def in_time(self, given: Mapping[str, Any], rows: Array) -> dict[str, Any]:
        """The step as a call of length one, of the rows that take it."""
        return {
            name: x[rows][:, None] if name in self.streamed else x
            for name, x in given.items()
            if x is not None
        }

    def __call__(
        self, *, state: Any, x: Any, A: Any, state_indices: Any = None, inplace: bool = False, **given: Any
    ) -> Any:
        """The operator: (y, new state)."""
        compute = compute_dtype([dtype_name(x), dtype_name(A)])
        rows, slots = self.rows_and_slots(state_indices, x.shape[0])
        wide = self.wide(state, compute)
        step = self.in_time({"x": x, "A": A} | given, rows)
        now, final = self.whole(initial_states=wide[slots], return_final_states=True, **step)
        with np.errstate(all="ignore"):  # what a narrower state cannot hold becomes an infinity
            y = np.zeros(x.shape, compute)
            y[rows] = self.load(now, compute)[:, 0]
            new = self.target(wide, inplace)
            new[slots] = final
            return self.store(y, dtype_name(x)), self.held(state, new, inplace)

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        state: Any,
        x: Any,
        A: Any,
        state_indices: Any = None,
        inplace: bool = False,
        **given: Any,
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``: those of SSD at length one."""
        cotangents = self.counted(cotangents, inplace)
        compute = compute_dtype([dtype_name(x), dtype_name(A)])
        rows, slots = self.rows_and_slots(state_indices, x.shape[0])
        wide = self.wide(state, compute)
        r = self.cotangent(cotangents, "y", np.zeros(x.shape, compute), compute)[rows][:, None]
        r_state = self.cotangent(cotangents, "state", wide, compute)
        known = {"y": r, "final_states": r_state[slots]}
        names = tuple("initial_states" if name == "state" else name for name in wrt)
        step = self.in_time({"x": x, "A": A} | given, rows)
        found = self.whole.vjp(known, names, None, initial_states=wide[slots], **step)
        given = {"state": state, "x": x, "A": A} | given
        return {
            name: self.placed(name, self.load(found[key], compute), given[name], rows, slots, r_state)
            for name, key in zip(wrt, names, strict=True)
        }

    def placed(self, name: str, found: Array, given: Any, rows: Array, slots: Array, r_state: Array) -> Any:
        """A gradient in its input's rows: none for a skipped row, and a slot left alone passes its own on."""
        if name in self.streamed:
            whole = np.zeros(given.shape, found.dtype)
            whole[rows] = found[:, 0]
        elif name == "state":
            whole = r_state.astype(found.dtype)
            whole[slots] = found
        else:
            whole = found
        return self.store(whole, dtype_name(given))
