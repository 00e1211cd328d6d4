"""Mamba-3's recurrence, one input and output a head: by matrix products in chunks; and its single step."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from ssm_torch.functions import compute_dtype, silu
from ssm_torch.precision import not_cast_down
from ssm_torch.resets import sum_from_resets
from ssm_torch.scan import linear_recurrence

CHUNK: Final = 64
"""Steps of a chunk."""


@not_cast_down
def mamba3_siso(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    adt: Tensor,
    dt: Tensor,
    trap: Tensor,
    q_bias: Tensor,
    k_bias: Tensor,
    angles: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    return_final_states: bool = False,
    *,
    angle_state: Tensor | None = None,
    ssm_state: Tensor | None = None,
    k_state: Tensor | None = None,
    v_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """S_t = α S_{t−1} + (1−λ)Δα v_{t−1} k̃_{t−1}ᵀ + λΔ v_t k̃_tᵀ, y_t = (S_t q̃_t + D v_t) silu(z_t).

    Mamba-3 (2026), the exponential-trapezoidal rule with a rotary state.
    In the dual form of SSD: each step has two sources, its own key and value and those of the step before.

    Parameters
    ----------
    q, k : (b, l, g, n)
    v, z : (b, l, h, p)
    adt, dt, trap : (b, h, l)
    q_bias, k_bias : (h, n)
    angles : (b, l, h, a)
    D : (h)
    angle_state, ssm_state, k_state, v_state : (b, h, a), (b, h, p, n), (b, h, n), (b, h, p)
    return_final_states
        Return y and the four states.
    seq_idx : (b, l), int32 or int64
        The states are zero again exactly where it changes along l.

    Returns
    -------
    y : (b, l, h, p), dtype of v
    angle_state, ssm_state, k_state, v_state : compute type; only with ``return_final_states``
    """
    compute, heads = compute_dtype(v), v.shape[2]
    values, decay, step, share = (x.to(compute) for x in (v.transpose(1, 2), adt, dt, trap))
    fresh = _fresh(seq_idx, decay)
    theta = _turned(step, angles.to(compute), angle_state, fresh, seq_idx is not None)  # (b, h, l, a)
    keys, queries = (
        _rotated(x.to(compute).repeat_interleave(heads // x.shape[2], 2) + bias, theta)
        for x, bias in ((k, k_bias), (q, q_bias))
    )
    late = torch.sigmoid(share) * step
    early = torch.sigmoid(-share) * step * torch.exp(decay)
    old_keys, old_values = _delayed(keys, k_state, fresh), _delayed(values, v_state, fresh)
    sources = torch.cat([late.unsqueeze(-1) * values, early.unsqueeze(-1) * old_values], dim=-1)
    state = sources.new_zeros((*values.shape[:2], values.shape[3], keys.shape[3]))
    state = state if ssm_state is None else ssm_state.clone()
    outputs = []
    for start in range(0, values.shape[2], CHUNK):
        span = (..., slice(start, start + CHUNK), slice(None))
        pair = torch.cat([keys[span], old_keys[span]], dim=-2)
        source = torch.cat(sources[span].chunk(2, dim=-1), dim=-2)
        y, state = _chunk(queries[span], pair, source, decay[..., span[1]], fresh[:, span[1]], state)
        outputs.append(y)
    y = torch.cat(outputs, 2) if outputs else torch.zeros_like(values)
    if D is not None:
        y = y + D[:, None, None] * values
    y = y.transpose(1, 2)
    if z is not None:
        y = y * silu(z.to(compute))
    y = y.to(v.dtype).contiguous()
    if not return_final_states:
        return y
    return y, _last(theta, angle_state), state, _last(keys, k_state), _last(values, v_state)


def mamba3_siso_step(
    angle_state: Tensor,
    ssm_state: Tensor,
    k_state: Tensor,
    v_state: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    adt: Tensor,
    dt: Tensor,
    trap: Tensor,
    q_bias: Tensor,
    k_bias: Tensor,
    angles: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """One step of :func:`mamba3_siso`, after l of which the states are those of the whole.

    Parameters
    ----------
    angle_state, ssm_state, k_state, v_state : (b, h, a), (b, h, p, n), (b, h, n), (b, h, p)
        They are not written.
    q, k : (b, g, n)
    v, z : (b, h, p)
    adt, dt, trap : (b, h)
    q_bias, k_bias : (h, n)
    angles : (b, h, a)
    D : (h)

    Returns
    -------
    y : (b, h, p), dtype of v
    angle_state, ssm_state, k_state, v_state : compute type
    """
    y, *states = mamba3_siso(
        q.unsqueeze(1),
        k.unsqueeze(1),
        v.unsqueeze(1),
        adt.unsqueeze(-1),
        dt.unsqueeze(-1),
        trap.unsqueeze(-1),
        q_bias,
        k_bias,
        angles.unsqueeze(1),
        D,
        None if z is None else z.unsqueeze(1),
        return_final_states=True,
        angle_state=angle_state,
        ssm_state=ssm_state,
        k_state=k_state,
        v_state=v_state,
    )
    return (y[:, 0], *states)


def _fresh(seq_idx: Tensor | None, like: Tensor) -> Tensor:
    """Where a sequence starts after t = 0, (b, l)."""
    if seq_idx is None:
        return torch.zeros_like(like[:, :1], dtype=torch.bool).expand(-1, 1, -1)[:, 0]
    return torch.cat([torch.zeros_like(seq_idx[:, :1]), seq_idx[:, 1:] != seq_idx[:, :-1]], dim=1).bool()


def _turned(step: Tensor, angles: Tensor, initial: Tensor | None, fresh: Tensor, resets: bool) -> Tensor:
    """θ_t = θ_{t−1} + Δ_t π tanh(angle_t), from 0 at a reset, (b, h, l, a): one step after the other."""
    turns = (step.unsqueeze(-1) * math.pi * torch.tanh(angles.transpose(1, 2))).movedim(2, 0)
    start = turns.new_zeros(turns.shape[1:]) if initial is None else initial
    if not resets or len(turns) == 0:
        return linear_recurrence(torch.ones_like(turns), turns, start).movedim(0, 2)
    return sum_from_resets(turns, fresh.t()[..., None, None], start).movedim(0, 2)


def _rotated(x: Tensor, theta: Tensor) -> Tensor:
    """Pairs that have an angle turn: (x₂ᵢ cos θᵢ − x₂ᵢ₊₁ sin θᵢ, x₂ᵢ sin θᵢ + x₂ᵢ₊₁ cos θᵢ), (b, h, l, n)."""
    x = x.transpose(1, 2)
    turned, rest = x[..., : 2 * theta.shape[-1]], x[..., 2 * theta.shape[-1] :]
    even, odd, cos, sin = turned[..., 0::2], turned[..., 1::2], torch.cos(theta), torch.sin(theta)
    pairs = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return torch.cat([pairs.flatten(-2), rest], dim=-1)


def _delayed(x: Tensor, initial: Tensor | None, fresh: Tensor) -> Tensor:
    """(b, h, l, ·) one step later: the state first, zero at a reset."""
    first = torch.zeros_like(x[:, :, :1]) if initial is None else initial.unsqueeze(2)
    late = torch.cat([first, x[:, :, :-1]], dim=2)[:, :, : x.shape[2]]
    return late.masked_fill(fresh[:, None, :, None], 0)


def _chunk(
    queries: Tensor, keys: Tensor, sources: Tensor, decay: Tensor, fresh: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t q̃_t in a chunk of q steps, (b, h, q, p), and the state after it.

    Parameters
    ----------
    queries, keys, sources : (b, h, q, n), (b, h, 2q, n), (b, h, 2q, p)
        Of keys and sources first the steps' own, then those of the steps before.
    decay : (b, h, q)
        The logarithm of α.
    state : (b, h, p, n)
    """
    p, number = decay.cumsum(-1), fresh.cumsum(-1)[:, None]
    seen = (number.unsqueeze(-1) == number.unsqueeze(-2)).tril()
    between = (p.unsqueeze(-1) - p.unsqueeze(-2)).masked_fill(~seen, -torch.inf).exp()
    inherits = number == 0
    from_start = p.exp().masked_fill(~inherits, 0).unsqueeze(-1)
    weights = (queries @ keys.mT) * torch.cat([between, between], dim=-1)
    y = weights @ sources + from_start * (queries @ state.mT)
    to_end = torch.cat([between[..., -1, :]] * 2, dim=-1).unsqueeze(-1)
    added = (to_end * sources).mT @ keys
    kept = inherits[..., -1, None, None]
    return y, torch.where(kept, state, 0) * from_start[..., -1:, :] + added


def _last(x: Tensor, initial: Tensor | None) -> Tensor:
    """The last of a stream (b, h, l, ·), or the state before it where there is no step."""
    if x.shape[2]:
        return x[:, :, -1].clone()
    return x.new_zeros((*x.shape[:2], x.shape[3])) if initial is None else initial.clone()
