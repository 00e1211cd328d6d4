"""The honest single step of the short convolution: the convolution at length one, of states in a pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import DTYPES
from ssm_conformance.mutants.kernels.pooled import Pooled
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution


class ShortConvolutionStep(Pooled):
    """The operator ``causal_conv1d_update``; the line is a row's state followed by x.

    Parameters
    ----------
    whole
        The convolution whose methods it goes through.
    """

    op: ClassVar[str] = "causal_conv1d_update"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "gradients": "all",
        "features": ("mixed_dtypes", "long_state", "half_state", "state_indices", "inplace"),
        "deterministic": True,
    }

    def __init__(self, whole: ShortConvolution | None = None) -> None:
        self.whole = ShortConvolution() if whole is None else whole

    def written(self, rows: Array, slots: Array) -> Array:
        """Where the new states go."""
        return slots

    def read(self, before: Array, v: int) -> Array:
        """What the filter reads of states (rows, d, k): the newest v inputs."""
        return before[..., before.shape[-1] - v :]

    def shifted(self, line: Array, v: int) -> Array:
        """The new states, (rows, d, k)."""
        return line[..., 1:]

    def entering(self, u: Array, x: Any, state: Any) -> Array:
        """x as it enters the states, before it is rounded to their dtype."""
        return u

    def handed_on(self, r: Array) -> Array:
        """Of the new states' cotangents, what reaches inputs that are not read."""
        return r

    def at_rest(self, y: Array, rows: Array, b: int) -> Array:
        """Every row's output: 0 where it is skipped."""
        out = np.zeros((b, *y.shape[1:]), y.dtype)
        out[rows] = y
        return out

    def __call__(
        self, *, x: Any, state: Any, state_indices: Any = None, inplace: bool = False, **given: Any
    ) -> Any:
        """The operator."""
        compute, v = compute_dtype([dtype_name(x)]), given["weight"].shape[1] - 1
        rows, slots = self.rows_and_slots(state_indices, x.shape[0])
        wide = self.wide(state, compute)
        before = wide[slots]
        y = self.whole(x=x[rows][..., None], initial_state=self.read(before, v), **given)
        u = self.entering(self.load(x, compute), x, state)
        line = np.concatenate([before, u[rows][..., None]], axis=-1)
        new = self.target(wide, inplace)
        new[self.written(rows, slots)] = self.shifted(line, v)
        out = self.at_rest(self.load(y, compute)[..., 0], rows, x.shape[0])
        with np.errstate(all="ignore"):  # what a narrower state cannot hold becomes an infinity
            return self.store(out, dtype_name(x)), self.held(state, new, inplace)

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        x: Any,
        state: Any,
        state_indices: Any = None,
        inplace: bool = False,
        **given: Any,
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``: those of the convolution, and what is handed on."""
        cotangents = self.counted(cotangents, inplace)
        compute, v = compute_dtype([dtype_name(x)]), given["weight"].shape[1] - 1
        rows, slots = self.rows_and_slots(state_indices, x.shape[0])
        u, wide = self.load(x, compute), self.wide(state, compute)
        unread = wide.shape[-1] - v
        r = self.cotangent(cotangents, "y", u, compute)[rows][..., None]
        r_state = self.cotangent(cotangents, "state", wide, compute)
        names = ("x", "initial_state", *(name for name in wrt if name in given))
        found = self.whole.vjp(
            {"y": r, "last_state": r_state[slots][..., unread:]},
            names,
            None,
            x=u[rows][..., None],
            initial_state=wide[slots][..., unread:],
            **given,
        )
        handed_on = r_state[slots][..., :unread]
        line = np.concatenate([np.zeros_like(handed_on), found["initial_state"], found["x"]], axis=-1)
        line[..., 1 : unread + 1] += self.handed_on(handed_on)
        new = r_state.copy()
        new[slots] = line[..., :-1]
        own = {
            "x": self.store(self.at_rest(line[..., -1], rows, x.shape[0]), dtype_name(x)),
            "state": self.store(new, dtype_name(state)),
        }
        return {name: own[name] if name in own else found[name] for name in wrt}
