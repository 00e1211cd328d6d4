"""Mamba-3's recurrence: trapezoidal in the input, rotated keys and queries, one step after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._calls import operator
from ssm_spec._functions import sigmoid
from ssm_spec._mamba3._inputs import STATES, Siso, read
from ssm_spec._selective_scan._value import gate
from ssm_spec._validate import Float

OUTPUTS = ("y", *STATES)


@operator
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
) -> Float | tuple[Float, Float, Float, Float, Float]:
    """S_t = α S_{t−1} + (1−λ)Δα v_{t−1} k̃_{t−1}ᵀ + λΔ v_t k̃_tᵀ; y_t = (S_t q̃_t + D v_t) · silu(z_t).

    α = exp(adt), Δ = dt, λ = σ(trap), all of step t and for each head; k̃ = R(θ_t)(k + k_bias), q̃
    likewise, θ_t = θ_{t−1} + Δ_t π tanh(angle_t). "Mamba-3: Improved Sequence Modeling using State
    Space Principles" (2026), the exponential-trapezoidal rule and the rotary form of a complex
    state; names and shapes are those of its code, `mamba3_siso_combined`.

    (C1) θ_t includes the angle of step t.
    (C2) R turns pairs: (x₂ᵢ, x₂ᵢ₊₁) to (x₂ᵢ cos θᵢ − x₂ᵢ₊₁ sin θᵢ, x₂ᵢ sin θᵢ + x₂ᵢ₊₁ cos θᵢ); a pair
         without an angle stays. The bias is added before.
    (C3) Head i belongs to group i // (h/g) of q and k.
    (C4) All four states are zero at the start, unless given, and at a reset, where
         seq_idx[t] ≠ seq_idx[t−1]. With the states that one call returns a second goes on. A reset
         cuts gradients too.
    (C5) θ is not reduced here; it means the same modulo 2π, and is to be compared so.
    (C6) `adt` is ΔA and `dt` is Δ, after whatever made them. There is no norm.

    Parameters
    ----------
    q, k
        (b, l, g, n), real; n is even where every pair has an angle.
    v, z
        (b, l, h, p), real.
    adt, dt, trap
        (b, h, l), real.
    q_bias, k_bias
        (h, n), real.
    angles
        (b, l, h, a), real, 2a <= n.
    D
        (h,), real.
    angle_state, ssm_state, k_state, v_state
        (b, h, a), (b, h, p, n), (b, h, n), (b, h, p), real: θ, S, k̃ and v of the step before.
    seq_idx
        (b, l), integers.

    Returns
    -------
    y, (b, l, h, p) float64; with `return_final_states` also the four states, float64.
    """
    siso = read(
        q,
        k,
        v,
        adt,
        dt,
        trap,
        q_bias,
        k_bias,
        angles,
        D,
        z,
        angle_state=angle_state,
        ssm_state=ssm_state,
        k_state=k_state,
        v_state=v_state,
        seq_idx=seq_idx,
    )
    with np.errstate(all="ignore"):  # infinities and NaN follow the rules of IEEE 754, silently
        path = follow(siso)
        y, S = run(siso, path)
    y = np.ascontiguousarray(y.swapaxes(0, 1))
    if not return_final_states:
        return y
    return y, path.last(path.theta, siso.angle_state), S, path.last(path.k, siso.k_state), last_v(siso)


@dataclass(frozen=True, eq=False)
class Path:
    """What does not need S: θ (l, b, h, a); k̃, q̃ and what k̃ was the step before (l, b, h, n); v then.

    `early` and `late` are the weights of the step before and of this one, (1−λ)Δα and λΔ, (l, b, h).
    """

    theta: Float
    k: Float
    q: Float
    k_before: Float
    v_before: Float
    early: Float
    late: Float

    def last(self, array: Float, initial: Float) -> Float:
        """The last of a stream, or the initial state where there is no step."""
        return array[-1] if len(array) else initial


def follow(siso: Siso) -> Path:
    """Rotate the keys and queries, and delay the keys and values by a step."""
    theta = angles_of(siso)
    k, q = rotate(siso.k, theta), rotate(siso.q, theta)
    share = sigmoid(siso.trap)
    early = sigmoid(-siso.trap) * siso.dt * np.exp(siso.adt)
    return Path(
        theta,
        k,
        q,
        _delayed(siso, k, siso.k_state),
        _delayed(siso, siso.v, siso.v_state),
        early,
        share * siso.dt,
    )


def angles_of(siso: Siso) -> Float:
    """θ_t = θ_{t−1} + Δ_t π tanh(angle_t), from 0 at a reset. (l, b, h, a)."""
    turns = siso.dt[..., None] * np.pi * np.tanh(siso.angles)
    theta, before = np.empty_like(turns), siso.angle_state
    for t, turn in enumerate(turns):
        before = np.where(siso.fresh[t, :, None, None], 0.0, before) + turn
        theta[t] = before
    return theta


def rotate(x: Float, theta: Float) -> Float:
    """R(θ)x: the first a pairs turn. x (..., n), θ (..., a)."""
    turned, a = x.copy(), theta.shape[-1]
    even, odd = x[..., 0 : 2 * a : 2], x[..., 1 : 2 * a : 2]
    cos, sin = np.cos(theta), np.sin(theta)
    turned[..., 0 : 2 * a : 2] = even * cos - odd * sin
    turned[..., 1 : 2 * a : 2] = even * sin + odd * cos
    return turned


def each_state(siso: Siso, path: Path) -> Iterator[Float]:
    """S_t for every t, (b, h, p, n)."""
    S, alpha = siso.ssm_state, np.exp(siso.adt)
    for t in range(len(siso.v)):
        S = np.where(siso.fresh[t, :, None, None, None], 0.0, S)
        S = alpha[t][..., None, None] * S
        S = S + outer(path.early[t][..., None] * path.v_before[t], path.k_before[t])
        S = S + outer(path.late[t][..., None] * siso.v[t], path.k[t])
        yield S


def run(siso: Siso, path: Path) -> tuple[Float, Float]:
    """y, (l, b, h, p), and the last S, (b, h, p, n)."""
    S, y = siso.ssm_state, np.empty(siso.v.shape)
    for t, S in enumerate(each_state(siso, path)):
        y[t] = (S @ path.q[t][..., None])[..., 0] + siso.D[:, None] * siso.v[t]
    return (y if siso.z is None else y * gate(siso.z)), S


def ungated(siso: Siso, path: Path, S: Float) -> Float:
    """S_t q̃_t + D v_t from every S_t, (l, b, h, p, n). (l, b, h, p)."""
    y: Float = (S @ path.q[..., None])[..., 0] + siso.D[:, None] * siso.v
    return y


def last_v(siso: Siso) -> Float:
    """The value of the last step. (b, h, p)."""
    return siso.v[-1] if len(siso.v) else siso.v_state


def outer(v: Float, k: Float) -> Float:
    """v kᵀ for each head. (..., p, n)."""
    product: Float = v[..., None] * k[..., None, :]
    return product


def _delayed(siso: Siso, array: Float, initial: Float) -> Float:
    """The stream one step later: the state first, zero at a reset."""
    delayed = np.concatenate([initial[None], array[:-1]])[: len(array)]
    return np.where(siso.fresh[:, :, None, None], 0.0, delayed)
