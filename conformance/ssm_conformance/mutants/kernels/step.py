"""The honest single step, through the same methods as the scan: a defect of one is a defect of the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel
from ssm_conformance.mutants.kernels.pooled import Pooled
from ssm_conformance.mutants.kernels.scan import SELECTIVE, Problem

STREAMED = ("u", "delta", "z", "B", "C")
"""The arguments that have an axis of time in the scan."""


class Step(Pooled):
    """The operator ``selective_state_update``.

    Parameters
    ----------
    kernel
        The scan whose methods it goes through.
    """

    op: ClassVar[str] = "selective_state_update"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "gradients": "all",
        "features": (*SELECTIVE, "half_state", "state_indices", "inplace"),
        "deterministic": True,
    }

    def __init__(self, kernel: Honest) -> None:
        self.kernel = kernel

    def advanced(self, p: Problem, dtype: str) -> Array:
        """The new state, of one that is kept in a dtype."""
        return self.kernel.advance(p, 0, p.initial)[1]

    def kept(self, h: Array, dtype: str) -> Array:
        """The new state as it is kept, before it is rounded to its dtype."""
        return h

    def read_state(self, before: Array, h: Array, dtype: str) -> Array:
        """The state that the output is read from: the new one, which is not yet rounded to its dtype."""
        return h

    def storage(self) -> Kernel:
        """The scan's own."""
        return self.kernel

    def one_step(self, rows: Array, compute: str, state: Array, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a scan of one step, over the rows that take it."""
        taken = {
            name: self.kernel.load(x, compute)[rows][..., None] if name in STREAMED else x
            for name, x in inputs.items()
            if x is not None
        }
        return taken | {"initial_state": state}

    def __call__(
        self, *, state: Any, u: Any, A: Any, state_indices: Any = None, inplace: bool = False, **inputs: Any
    ) -> tuple[Any, Any]:
        """The operator: (y, new state)."""
        kernel = self.kernel
        compute = kernel.precision(compute_dtype([dtype_name(u), dtype_name(A)]))
        rows, slots = self.rows_and_slots(state_indices, u.shape[0])
        dtype, wide = dtype_name(state), self.wide(state, compute)
        with np.errstate(all="ignore"):  # infinities and NaN are values here, by the rules of IEEE
            p = kernel.prepare(**self.one_step(rows, compute, wide[slots], {"u": u, "A": A} | inputs))
            h = self.advanced(p, dtype)
            v = kernel.output(p, 0, self.read_state(p.initial, h, dtype))
            y = np.zeros(u.shape, compute)
            y[rows] = kernel.finish(p, v[:, :, None])[:, :, 0]
            new = self.target(wide, inplace)
            new[slots] = self.kept(h, dtype)
        return kernel.store(y, dtype_name(u)), self.held(state, new, inplace)

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        state: Any,
        u: Any,
        A: Any,
        state_indices: Any = None,
        inplace: bool = False,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``: those of a scan of one step."""
        cotangents = self.counted(cotangents, inplace)
        given = {"state": state, "u": u, "A": A} | inputs
        compute = self.kernel.precision(compute_dtype([dtype_name(u), dtype_name(A)]))
        rows, slots = self.rows_and_slots(state_indices, u.shape[0])
        r = self.cotangent(cotangents, "y", np.zeros(u.shape, compute), compute)[rows][..., None]
        wide = self.wide(state, compute)
        r_state = self.cotangent(cotangents, "state", wide, compute)
        scan = self.one_step(rows, compute, wide[slots], {"u": u, "A": A} | inputs)
        names = {name: "initial_state" if name == "state" else name for name in wrt}
        found = self.kernel.vjp({"y": r, "last_state": r_state[slots]}, tuple(names.values()), None, **scan)
        return {
            name: self.placed(name, found[names[name]], given[name], rows, slots, r_state) for name in wrt
        }

    def placed(self, name: str, found: Array, given: Any, rows: Array, slots: Array, r_state: Array) -> Any:
        """A gradient in its input's rows: none for a skipped row, and a slot left alone passes its own on."""
        if name in STREAMED:
            whole = np.zeros(given.shape, found.dtype)
            whole[rows] = found[..., 0]
        elif name == "state":
            whole = r_state.astype(found.dtype)
            whole[slots] = found
        else:
            whole = found
        return self.store(whole, dtype_name(given))
