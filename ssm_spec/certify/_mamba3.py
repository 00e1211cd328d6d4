"""Mamba-3's recurrence and its step on the tape, written down as they are defined.

Letters: b rows, l steps, h heads, p head width, g groups, n states, a angles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec.certify._functions import cos, exp, pi_tanh, sigmoid, silu, sin
from ssm_spec.certify._tape import Variable, constant, join, stack

Outputs = dict[str, Variable]

_STREAMS = ("q", "k", "v", "angles", "z")
_PER_HEAD = ("adt", "dt", "trap")


def mamba3_siso(
    q: Variable,
    k: Variable,
    v: Variable,
    adt: Variable,
    dt: Variable,
    trap: Variable,
    q_bias: Variable,
    k_bias: Variable,
    angles: Variable,
    D: Variable | None = None,
    z: Variable | None = None,
    return_final_states: bool = False,
    *,
    angle_state: Variable | None = None,
    ssm_state: Variable | None = None,
    k_state: Variable | None = None,
    v_state: Variable | None = None,
    seq_idx: ArrayLike | None = None,
) -> Outputs:
    """S_t = α S_{t−1} + (1−λ)Δα v_{t−1} k̃_{t−1}ᵀ + λΔ v_t k̃_tᵀ, y_t = (S_t q̃_t + D v_t) silu(z_t).

    α = exp(adt), λ = σ(trap), k̃ = R(θ_t)(k + k_bias), θ_t = θ_{t−1} + Δ_t π tanh(angle_t) ("Mamba-3", 2026).
    """
    del return_final_states  # they are always among the outputs
    (b, l, h, p), n, a = v.shape, q.shape[3], angles.shape[3]
    alpha, late, early = exp(adt), sigmoid(trap) * dt, sigmoid(-trap) * dt * exp(adt)
    group = np.arange(h) * q.shape[2] // max(h, 1)
    queries, keys = q[:, :, group] + q_bias, k[:, :, group] + k_bias
    turns = dt.swapped(1, 2)[..., None] * pi_tanh(angles)
    shapes = ((b, h, a), (b, h, p, n), (b, h, n), (b, h, p))
    given = (angle_state, ssm_state, k_state, v_state)
    theta, S, k_before, v_before = (
        constant(np.zeros(shape)) if x is None else x for x, shape in zip(given, shapes, strict=True)
    )
    outputs: list[Variable] = []
    for t in range(l):
        if seq_idx is not None and t > 0:
            going_on = np.equal(*np.asarray(seq_idx)[:, [t - 1, t]].T)
            theta, S, k_before, v_before = (_kept(x, going_on) for x in (theta, S, k_before, v_before))
        theta = theta + turns[:, t]
        k_now, v_now = _turned(keys[:, t], theta), v[:, t]
        S = alpha[..., t][..., None, None] * S
        S = S + _outer(early[..., t], v_before, k_before) + _outer(late[..., t], v_now, k_now)
        outputs.append((S @ _turned(queries[:, t], theta)[..., None])[..., 0])
        k_before, v_before = k_now, v_now
    y = stack(outputs, 1, v)
    y = y if D is None else y + D[:, None] * v
    y = y if z is None else y * silu(z)
    return {"y": y, "angle_state": theta, "ssm_state": S, "k_state": k_before, "v_state": v_before}


def mamba3_siso_step(**arguments: Any) -> Outputs:
    """The recurrence at length one."""
    step = {name: x for name, x in arguments.items() if x is not None}
    step |= {name: step[name][:, None] for name in _STREAMS if name in step}
    step |= {name: step[name][..., None] for name in _PER_HEAD}
    found = mamba3_siso(**step)
    return {**found, "y": found["y"][:, 0]}


def _kept(state: Variable, going_on: NDArray[np.bool_]) -> Variable:
    """Exact zeros in the rows that start anew."""
    return state * constant(np.where(going_on, 1.0, 0.0).reshape(-1, *(1,) * (len(state.shape) - 1)))


def _turned(x: Variable, theta: Variable) -> Variable:
    """R(θ)x: pair i turns by θ_i; a pair without an angle stays. x (b, h, n), θ (b, h, a)."""
    a = theta.shape[-1]
    even, odd = x[..., 0 : 2 * a : 2], x[..., 1 : 2 * a : 2]
    first, second = even * cos(theta) + -(odd * sin(theta)), even * sin(theta) + odd * cos(theta)
    order = np.concatenate([np.arange(2 * a).reshape(2, a).T.reshape(-1), np.arange(2 * a, x.shape[-1])])
    return join([first, second, x[..., 2 * a :]], 2)[..., order]


def _outer(weight: Variable, v: Variable, k: Variable) -> Variable:
    """weight v kᵀ for each head."""
    return (weight[..., None] * v)[..., None] * k[..., None, :]
