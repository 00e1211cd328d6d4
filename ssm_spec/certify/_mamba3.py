"""Mamba-3's recurrence, written down as it is defined; it has no gradients, so its balls need no tape.

Letters: b rows, l steps, h heads, p head width, g groups, n states, a angles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec.certify._balls import Balls, elementwise, exact, filled
from ssm_spec.certify._flint import arb
from ssm_spec.certify._functions import silu
from ssm_spec.certify._tape import Variable

Outputs = dict[str, Variable]

_STREAMS = ("q", "k", "v", "angles", "z")
_PER_HEAD = ("adt", "dt", "trap")


def mamba3_siso(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    adt: ArrayLike,
    dt: ArrayLike,
    trap: ArrayLike,
    q_bias: ArrayLike,
    k_bias: ArrayLike,
    angles: ArrayLike,
    D: ArrayLike | None = None,
    z: ArrayLike | None = None,
    return_final_states: bool = False,
    *,
    angle_state: ArrayLike | None = None,
    ssm_state: ArrayLike | None = None,
    k_state: ArrayLike | None = None,
    v_state: ArrayLike | None = None,
    seq_idx: ArrayLike | None = None,
) -> Outputs:
    """S_t = α S_{t−1} + (1−λ)Δα v_{t−1} k̃_{t−1}ᵀ + λΔ v_t k̃_tᵀ, y_t = (S_t q̃_t + D v_t) silu(z_t).

    α = exp(adt), λ = σ(trap), k̃ = R(θ_t)(k + k_bias), θ_t = θ_{t−1} + Δ_t π tanh(angle_t) ("Mamba-3", 2026).
    """
    del return_final_states  # they are always among the outputs
    streams = [exact(x) for x in (q, k, v, angles)]
    (b, l, h, p), n, a = streams[2].shape, streams[0].shape[-1], streams[3].shape[-1]
    alpha, step = elementwise(arb.exp, exact(adt)), exact(dt)
    share = elementwise(lambda x: 1 / (1 + (-x).exp()), exact(trap))
    group = np.arange(h) * streams[0].shape[2] // max(h, 1)
    queries = streams[0][:, :, group] + exact(q_bias)
    keys = streams[1][:, :, group] + exact(k_bias)
    turns = np.swapaxes(step, 1, 2)[..., None] * elementwise(lambda x: arb.pi() * x.tanh(), streams[3])
    shapes = ((b, h, a), (b, h, p, n), (b, h, n), (b, h, p))
    given = (angle_state, ssm_state, k_state, v_state)
    theta, S, k_before, v_before = (
        filled(s) if x is None else exact(x) for x, s in zip(given, shapes, strict=True)
    )
    y = filled((b, l, h, p))
    for t in range(l):
        if seq_idx is not None and t > 0:
            fresh = np.not_equal(*np.asarray(seq_idx)[:, [t - 1, t]].T)
            theta, S, k_before, v_before = (_cleared(x, fresh) for x in (theta, S, k_before, v_before))
        now, weight, v_now = alpha[..., t], step[..., t], streams[2][:, t]
        theta = theta + turns[:, t]
        k_now = _turned(keys[:, t], theta)
        early, late = (1 - share[..., t]) * weight * now, share[..., t] * weight
        S = now[..., None, None] * S + _outer(early, v_before, k_before) + _outer(late, v_now, k_now)
        y[:, t] = np.matmul(S, _turned(queries[:, t], theta)[..., None])[..., 0]
        k_before, v_before = k_now, v_now
    y = y if D is None else y + exact(D)[:, None] * streams[2]
    found = {"y": y, "angle_state": theta, "ssm_state": S, "k_state": k_before, "v_state": v_before}
    outputs = {name: Variable(balls, False) for name, balls in found.items()}
    return outputs if z is None else {**outputs, "y": outputs["y"] * silu(Variable(exact(z), False))}


def mamba3_siso_step(**arguments: Any) -> Outputs:
    """The recurrence at length one."""
    step = {name: value for name, value in arguments.items() if value is not None}
    step |= {name: np.expand_dims(np.asarray(step[name]), 1) for name in _STREAMS if name in step}
    step |= {name: np.expand_dims(np.asarray(step[name]), -1) for name in _PER_HEAD}
    found = mamba3_siso(**step)
    return {**found, "y": found["y"][:, 0]}


def _cleared(state: Balls, fresh: Any) -> Balls:
    """Zeros in the rows that start anew."""
    state = state.copy()
    state[fresh] = arb(0)
    return state


def _turned(x: Balls, theta: Balls) -> Balls:
    """R(θ)x: pair i turns by θ_i; a pair without an angle stays. x (..., n), θ (..., a)."""
    turned, pairs = x.copy(), slice(0, 2 * theta.shape[-1])
    even, odd = x[..., pairs][..., 0::2], x[..., pairs][..., 1::2]
    cos, sin = elementwise(arb.cos, theta), elementwise(arb.sin, theta)
    turned[..., pairs][..., 0::2] = even * cos - odd * sin
    turned[..., pairs][..., 1::2] = even * sin + odd * cos
    return turned


def _outer(weight: Balls, v: Balls, k: Balls) -> Balls:
    """weight v kᵀ for each head."""
    product: Balls = (weight[..., None] * v)[..., None] * k[..., None, :]
    return product
