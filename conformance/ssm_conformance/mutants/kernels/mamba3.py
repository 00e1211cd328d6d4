"""Honest Mamba-3, one step after the other, and its single step; `mamba3_adjoint` has their gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.functions import Functions
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel

_SECOND = ("q", "k", "v", "angles", "z")
_LAST = ("adt", "dt", "trap")
"""Where time is the second dimension, and where it is the last."""
STATES = ("angle_state", "ssm_state", "k_state", "v_state")


class Siso(Functions, Kernel):
    """S_t = α S_{t−1} + (1−λ)Δα v_{t−1} k̃_{t−1}ᵀ + λΔ v_t k̃_tᵀ, y_t = (S_t q̃_t + D v_t) silu(z_t)."""

    op: ClassVar[str] = "mamba3_siso"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "features": ("mixed_dtypes", "initial_state", "seq_idx"),
        "deterministic": True,
    }

    def turn(self, step: Array, angle: Array) -> Array:
        """Δ π tanh(angle), (b, h, a); the angle that it leaves is not reduced."""
        return np.asarray(step[..., None] * np.pi * np.tanh(angle)).astype(angle.dtype)

    def returned(self, theta: Array) -> Array:
        """θ as it is returned."""
        return theta

    def rotated(self, x: Array, theta: Array) -> Array:
        """R(θ)x, (b, h, n)."""
        out, a = x.copy(), theta.shape[-1]
        even, odd = x[..., 0 : 2 * a : 2], x[..., 1 : 2 * a : 2]
        cos, sin = np.cos(theta), np.sin(theta)
        out[..., 0 : 2 * a : 2] = even * cos - odd * sin
        out[..., 1 : 2 * a : 2] = even * sin + odd * cos
        return out

    def of_heads(self, x: Array, bias: Array) -> Array:
        """q or k of each head with its bias, (b, h, n)."""
        return np.repeat(x, len(bias) // x.shape[1], axis=1) + bias

    def early(self, share: Array, step: Array, decay: Array) -> Array:
        """The weight of the step before, (1−λ)Δα."""
        return (1 - share) * step * decay

    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        """Whether a sequence begins at t, (b)."""
        return None if seq_idx is None or t == 0 else np.asarray(seq_idx[:, t] != seq_idx[:, t - 1])

    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        """Every array that is given, in the compute type."""
        compute = compute_dtype([dtype_name(given["v"])])
        names = [name for name, x in given.items() if hasattr(x, "shape") and name != "seq_idx"]
        return {name: self.load(given[name], compute) for name in names}

    def start(self, p: Mapping[str, Array]) -> list[Array]:
        """The four states before the first step."""
        (b, _, h, width), n, a = p["v"].shape, p["q"].shape[3], p["angles"].shape[3]
        shapes = ((b, h, a), (b, h, width, n), (b, h, n), (b, h, width))
        return [
            p.get(name, np.zeros(shape, p["v"].dtype)) for name, shape in zip(STATES, shapes, strict=True)
        ]

    def __call__(self, *, return_final_states: bool = False, **given: Any) -> Any:
        """The operator."""
        with np.errstate(all="ignore"):
            p = self.inside(given)
            index = given.get("seq_idx")
            states, y = self.start(p), np.zeros_like(p["v"])
            for t in range(y.shape[1]):
                fresh = self.begins(None if index is None else np.asarray(index), t)
                if fresh is not None:
                    states = [np.where(fresh.reshape(-1, *[1] * (s.ndim - 1)), 0, s) for s in states]
                y[:, t], states = self.one_step(p, t, states)
            if "z" in p:
                y = y * (p["z"] * self.sigmoid(p["z"]))
            out = self.store(y, dtype_name(given["v"]))
        return (out, self.returned(states[0]), *states[1:]) if return_final_states else out

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        """The output before the gate, and the four states after a step."""
        theta, S, old_key, old_value = states
        step, decay = p["dt"][..., t], self.exp(p["adt"][..., t])
        share = self.sigmoid(p["trap"][..., t])
        theta = theta + self.turn(step, p["angles"][:, t])
        key, query = (
            self.rotated(self.of_heads(p[name][:, t], p[f"{name}_bias"]), theta) for name in ("k", "q")
        )
        value = p["v"][:, t]
        S = decay[..., None, None] * S
        S = S + (self.early(share, step, decay)[..., None] * old_value)[..., None] * old_key[..., None, :]
        S = S + ((share * step)[..., None] * value)[..., None] * key[..., None, :]
        y = (S * query[..., None, :]).sum(-1)
        y = y + p["D"][:, None] * value if "D" in p else y
        return y, [theta, S, key, value]


class Reduced(Siso):
    """θ is returned between 0 and 2π, where it means the same."""

    def returned(self, theta: Array) -> Array:
        """θ modulo 2π; NaN of an infinity."""
        with np.errstate(invalid="ignore"):
            return np.mod(theta, 2 * np.pi).astype(theta.dtype)


class SisoStep(Kernel):
    """One step: the recurrence at length one."""

    op: ClassVar[str] = "mamba3_siso_step"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "features": ("mixed_dtypes",),
        "deterministic": True,
    }

    def __init__(self, whole: Siso | None = None) -> None:
        self.whole = Siso() if whole is None else whole

    def __call__(self, **given: Any) -> Any:
        """The operator."""
        y, *states = self.whole(return_final_states=True, **self.in_time(given))
        return (y[:, 0], *states)

    def in_time(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The step as a call of length one."""
        second = {name: given[name][:, None] for name in _SECOND if name in given}
        return {**given, **second, **{name: given[name][..., None] for name in _LAST}}

    def without_time(self, name: str, x: Any) -> Any:
        """An array like the argument of that name of a call of length one, as the step's."""
        if name in _LAST:
            return x[..., 0]
        return x[:, 0] if name in _SECOND else x
