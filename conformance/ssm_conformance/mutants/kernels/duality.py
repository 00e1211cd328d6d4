"""Honest SSD: as the selective scan of h·p channels, in chunks by matrix products, and its single step.

A head of width p is p channels that share Δ and one decay rate. What is SSD's own is made here:
the step sizes and their limits, the layout, and the sums over what channels share.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, ClassVar, Final

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.functions import Functions
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel

FREE: Final = (0.0, inf)
"""The limits of Δ where none are given."""
IN_SCAN: Final = {"x": "u", "initial_states": "initial_state"}
Limits = tuple[float, float]


class Dual(Functions, Kernel):
    """SSD, step by step in time."""

    op: ClassVar[str] = "ssd"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "gradients": "all",
        "features": ("mixed_dtypes", "per_channel_skip", "initial_state", "seq_idx"),
        "memory": {"forward": "fused", "backward": "materialised"},
        "deterministic": True,
    }
    scan: ClassVar[Honest] = Honest()

    def free_step(self, raw: Array, softplus: bool) -> Array:
        """Δ before its limits, (b, l, h)."""
        return self.softplus(raw) if softplus else raw

    def limited(self, free: Array, limits: Limits) -> Array:
        """Δ within its limits."""
        return np.clip(free, *limits)

    def slope(self, raw: Array, softplus: bool, limits: Limits) -> Array:
        """dΔ/d(dt): σ or 1, and 0 outside the limits."""
        free = self.free_step(raw, softplus)
        inside = (free >= limits[0]) & (free <= limits[1])
        return np.where(inside, self.sigmoid(raw) if softplus else np.ones_like(raw), 0)

    def rates(self, A: Array, p: int) -> Array:
        """The decay rate of each channel, (h·p)."""
        return np.repeat(A, p)

    def skip(self, D: Array, p: int) -> Array:
        """D of each channel, (h·p)."""
        return np.repeat(D, p) if D.ndim == 1 else D.reshape(-1)

    def grouped(self, M: Array, h: int) -> Array:
        """B or C, (b, l, g, n), as the scan's, (b, g, n, l)."""
        return np.ascontiguousarray(M.transpose(0, 2, 3, 1))

    def resets(self, seq_idx: Array) -> Array:
        """Which sequence each step belongs to."""
        return seq_idx

    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        """Every array that is given, in the compute type."""
        compute = compute_dtype([dtype_name(given[name]) for name in ("x", "A")])
        arrays = {name: x for name, x in given.items() if hasattr(x, "shape") and name != "seq_idx"}
        return {name: self.load(x, compute) for name, x in arrays.items()}

    def raw(self, a: Mapping[str, Array]) -> Array:
        """dt + dt_bias, (b, l, h)."""
        return a["dt"] + a["dt_bias"] if "dt_bias" in a else a["dt"]

    def in_scan(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> dict[str, Any]:
        """The same call as a selective scan's."""
        (b, _, h, p), n = a["x"].shape, a["B"].shape[3]
        free = self.free_step(self.raw(a), given.get("dt_softplus", False))
        step = self.limited(free, given.get("dt_limit", FREE))
        inputs = {
            "u": _to_stream(a["x"]),
            "delta": np.repeat(step.swapaxes(1, 2), p, axis=1),
            "A": np.repeat(self.rates(a["A"], p)[:, None], n, axis=1),
            "B": self.grouped(a["B"], h),
            "C": self.grouped(a["C"], h),
        }
        if "D" in a:
            inputs["D"] = self.skip(a["D"], p)
        if "z" in a:
            inputs["z"] = _to_stream(a["z"])
        if "initial_states" in a:
            inputs["initial_state"] = a["initial_states"].reshape(b, h * p, n)
        if given.get("seq_idx") is not None:
            inputs["seq_idx"] = self.resets(np.asarray(given["seq_idx"]))
        return inputs

    def outputs(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> tuple[Array, Array]:
        """y (b, l, h, p) and the final states (b, h, p, n), in the compute type."""
        (b, _, h, p), n = a["x"].shape, a["B"].shape[3]
        y, last = self.scan(return_last_state=True, **self.in_scan(a, given))
        return _from_stream(y, h, p), last.reshape(b, h, p, n)

    def __call__(self, *, return_final_states: bool = False, **given: Any) -> Any:
        """The operator."""
        with np.errstate(all="ignore"):
            a = self.inside(given)
            y, final = self.outputs(a, given)
            y = self.store(y, dtype_name(given["x"]))
        return (y, final) if return_final_states else y

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        return_final_states: bool = False,
        **given: Any,
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``: those of the scan, summed over what channels share."""
        with np.errstate(all="ignore"):
            a = self.inside(given)
            (b, l, h, p), n = a["x"].shape, a["B"].shape[3]
            compute = str(a["x"].dtype)
            scan = self.in_scan(a, given)
            known = {"y": _to_stream(self.cotangent(cotangents, "y", a["x"], compute)), "last_state": None}
            if cotangents.get("final_states") is not None:
                known["last_state"] = self.load(cotangents["final_states"], compute).reshape(b, h * p, n)
            names = tuple(name for name in scan if name != "seq_idx")
            found = self.scan.vjp(known, names, None, **scan)
            limits = given.get("dt_limit", FREE)
            step = self.over_width(found["delta"].reshape(b, h, p, l).swapaxes(2, 3)).swapaxes(1, 2)
            d_dt = step * self.slope(self.raw(a), given.get("dt_softplus", False), limits)
            total = {
                "dt": d_dt,
                "dt_bias": d_dt.sum((0, 1)),
                "A": found["A"].reshape(h, p, n).sum((1, 2)),
                "B": found["B"].transpose(0, 3, 1, 2),
                "C": found["C"].transpose(0, 3, 1, 2),
            }
            total |= {
                name: _from_stream(found[key], h, p) for name, key in (("x", "u"), ("z", "z")) if key in found
            }
            if "D" in a:
                wide = found["D"].reshape(h, p)
                total["D"] = wide.sum(-1) if a["D"].ndim == 1 else wide
            if "initial_states" in a:
                total["initial_states"] = found["initial_state"].reshape(b, h, p, n)
        return {name: self.store(total[name], dtype_name(given[name])) for name in wrt}

    def over_width(self, terms: Array) -> Array:
        """The gradient of Δ of a head, from its channels', (b, h, l, p)."""
        return np.asarray(terms.sum(-1))


class DualForm(Dual):
    """SSD by matrix products in chunks, (L ∘ C Bᵀ) X, and a recurrence between them; forward alone."""

    chunk: ClassVar[int] = 64
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "features": ("mixed_dtypes", "per_channel_skip", "initial_state", "seq_idx"),
        "memory": "fused",
        "deterministic": True,
        "arithmetic": {"evaluation": "matmul_chunk", "chunk": 64},
    }
    vjp = None  # type: ignore[assignment]  # the gradient is not this form's

    def between(self, p: Array, seen: Array) -> Array:
        """L_ts = exp(p_t − p_s) where s is seen from t, else 0, (b, h, q, q)."""
        apart = np.where(seen, p[..., :, None] - p[..., None, :], -inf)
        return self.exp(apart)

    def seen(self, number: Array) -> Array:
        """Whether s <= t and both are of one sequence, (b, 1, q, q)."""
        together = number[:, None, :, None] == number[:, None, None, :]
        return np.tril(together)

    def product(self, a: Array, b: Array) -> Array:
        """A matrix product."""
        return np.asarray(a @ b)

    def carried(self, state: Array, added: Array, through: Array) -> Array:
        """The state after a chunk."""
        return through[..., None, None] * state + added

    def outputs(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> tuple[Array, Array]:
        """As :meth:`Dual.outputs`."""
        (b, l, h, p), n = a["x"].shape, a["B"].shape[3]
        step = self.limited(
            self.free_step(self.raw(a), given.get("dt_softplus", False)), given.get("dt_limit", FREE)
        )
        state = a.get("initial_states", np.zeros((b, h, p, n), a["x"].dtype))
        index = given.get("seq_idx")
        ids = np.zeros((b, l), dtype=int) if index is None else np.asarray(index)
        fresh = np.diff(ids, axis=1, prepend=ids[:, :1]) != 0
        v = np.zeros_like(a["x"])
        for start in range(0, l, self.chunk):
            span = slice(start, start + self.chunk)
            part = {name: a[name][:, span] for name in ("x", "B", "C")}
            v[:, span], state = self.one_chunk(part, step[:, span], a["A"], fresh[:, span], state)
        if "D" in a:
            v = v + self.skip(a["D"], p).reshape(h, p) * a["x"]
        return (v * (a["z"] * self.sigmoid(a["z"])) if "z" in a else v), state

    def one_chunk(
        self, a: Mapping[str, Array], step: Array, A: Array, fresh: Array, state: Array
    ) -> tuple[Array, Array]:
        """The output before feedthrough and gate, (b, q, h, p), and the state after the chunk."""
        h, g = step.shape[2], a["B"].shape[2]
        B, C = (np.repeat(a[name].swapaxes(1, 2), h // g, axis=1) for name in ("B", "C"))
        x, dt = a["x"].swapaxes(1, 2), step.swapaxes(1, 2)
        p = np.cumsum(dt * A[:, None], axis=-1)
        number = np.cumsum(fresh, axis=1)
        L = self.between(p, self.seen(number))
        inherits = (number == 0)[:, None]
        start = np.where(inherits, self.exp(p), 0)
        source = dt[..., None] * x
        v = self.product(self.product(C, B.swapaxes(-1, -2)) * L, source)
        v = v + start[..., None] * self.product(C, state.swapaxes(-1, -2))
        added = self.product((L[..., -1, :, None] * source).swapaxes(-1, -2), B)
        return v.swapaxes(1, 2), self.carried(state, added, start[..., -1])


def _to_stream(x: Array) -> Array:
    """(b, l, h, p) as (b, h·p, l)."""
    b, l, h, p = x.shape
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(b, h * p, l)


def _from_stream(x: Array, h: int, p: int) -> Array:
    """(b, h·p, l) as (b, l, h, p)."""
    return np.ascontiguousarray(x.reshape(x.shape[0], h, p, x.shape[2]).transpose(0, 3, 1, 2))
