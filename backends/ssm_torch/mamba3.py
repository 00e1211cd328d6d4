"""Mamba-3's recurrence, one input and output a head: by matrix products in chunks; and its single step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssm_torch.duality.decays import decays_of, sequences_of
from ssm_torch.duality.sizes import cuts, together
from ssm_torch.duality.states import states_around
from ssm_torch.functions import compute_dtype, silu, split
from ssm_torch.precision import not_cast_down
from ssm_torch.resets import sum_from_resets
from ssm_torch.scan import linear_recurrence


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
    fresh = None if seq_idx is None else _fresh(seq_idx)
    theta = _turned(step, angles.to(compute), angle_state, fresh)  # (b, h, l, a)
    keys, queries = (
        _rotated(x.to(compute).repeat_interleave(heads // x.shape[2], 2) + bias, theta)
        for x, bias in ((k, k_bias), (q, q_bias))
    )
    late = torch.sigmoid(share) * step
    early = torch.sigmoid(-share) * step * torch.exp(decay)
    old_keys, old_values = _delayed(keys, k_state, fresh), _delayed(values, v_state, fresh)
    sources = (late.unsqueeze(-1) * values, early.unsqueeze(-1) * old_values)
    streams = (queries, keys, old_keys, *sources, decay)
    state = values.new_zeros((*values.shape[:2], values.shape[3], keys.shape[3]))
    state = state if ssm_state is None else ssm_state.clone()
    outputs = []
    for time, chunks, steps in _stretches(values, keys.shape[3]):
        shape = (chunks.stop - chunks.start, steps)
        starts = None if fresh is None else split(fresh[:, None, time], 2, shape)
        y, state = _stretch(state, starts, *(split(x[:, :, time], 2, shape) for x in streams))
        outputs.append(y.flatten(2, 3))
    y = torch.cat(outputs, 2) if outputs else _of_no_step(state, *streams)
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


def _fresh(seq_idx: Tensor) -> Tensor:
    """Where a sequence starts after t = 0, (b, l)."""
    return torch.cat([torch.zeros_like(seq_idx[:, :1]), seq_idx[:, 1:] != seq_idx[:, :-1]], dim=1).bool()


def _turned(step: Tensor, angles: Tensor, initial: Tensor | None, fresh: Tensor | None) -> Tensor:
    """θ_t = θ_{t−1} + Δ_t π tanh(angle_t), from 0 at a reset, (b, h, l, a): one step after the other."""
    turns = (step.unsqueeze(-1) * math.pi * torch.tanh(angles.transpose(1, 2))).movedim(2, 0)
    start = turns.new_zeros(turns.shape[1:]) if initial is None else initial
    if fresh is None or len(turns) == 0:
        return linear_recurrence(torch.ones_like(turns), turns, start).movedim(0, 2)
    return sum_from_resets(turns, fresh.t()[..., None, None], start).movedim(0, 2)


def _rotated(x: Tensor, theta: Tensor) -> Tensor:
    """Pairs that have an angle turn: (x₂ᵢ cos θᵢ − x₂ᵢ₊₁ sin θᵢ, x₂ᵢ sin θᵢ + x₂ᵢ₊₁ cos θᵢ), (b, h, l, n)."""
    x = x.transpose(1, 2)
    turned, rest = x[..., : 2 * theta.shape[-1]], x[..., 2 * theta.shape[-1] :]
    even, odd, cos, sin = turned[..., 0::2], turned[..., 1::2], torch.cos(theta), torch.sin(theta)
    pairs = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return torch.cat([pairs.flatten(-2), rest], dim=-1)


def _delayed(x: Tensor, initial: Tensor | None, fresh: Tensor | None) -> Tensor:
    """(b, h, l, ·) one step later: the state first, zero at a reset."""
    first = torch.zeros_like(x[:, :, :1]) if initial is None else initial.unsqueeze(2)
    late = torch.cat([first, x[:, :, :-1]], dim=2)[:, :, : x.shape[2]]
    return late if fresh is None else late.masked_fill(fresh[:, None, :, None], 0)


def _stretches(values: Tensor, n: int) -> list[tuple[slice, slice, int]]:
    """As many chunks at once as for SSD; in a graph all, which then is as short for a long sequence."""
    b, h, l, p = values.shape
    return cuts(l, None if torch.compiler.is_compiling() else together(b, h, p, n, values.device.type)[1])


def _stretch(
    state: Tensor,
    fresh: Tensor | None,
    queries: Tensor,
    keys: Tensor,
    old_keys: Tensor,
    late: Tensor,
    early: Tensor,
    decay: Tensor,
) -> tuple[Tensor, Tensor]:
    """S_t q̃_t in k chunks of q steps, (b, h, k, q, p), and the state after them.

    Parameters
    ----------
    state : (b, h, p, n)
        Before them.
    fresh : (b, 1, k, q)
        Where a sequence starts; None is nowhere.
    queries, keys, old_keys : (b, h, k, q, n)
        Old keys are those of the steps before.
    late, early : (b, h, k, q, p)
        The values of keys and of old keys, times their weights.
    decay : (b, h, k, q)
        The logarithm of α.
    """
    sequences = None if fresh is None else sequences_of(fresh)
    decays = decays_of(decay, sequences)
    keys, sources = torch.cat([keys, old_keys], dim=-2), torch.cat([late, early], dim=-2)
    to_end = torch.cat([decays.to_end, decays.to_end], dim=-1).unsqueeze(-1)
    added = (to_end * sources).mT @ keys
    before, after = states_around(added, decays.through, None if sequences is None else sequences.kept, state)
    weights = split(queries @ keys.mT, -1, (2, -1)) * decays.between.unsqueeze(-2)
    y = weights.flatten(-2) @ sources + decays.from_start.unsqueeze(-1) * (queries @ before.mT)
    return y, after


def _of_no_step(
    state: Tensor,
    queries: Tensor,
    keys: Tensor,
    old_keys: Tensor,
    late: Tensor,
    early: Tensor,
    decay: Tensor,
) -> Tensor:
    """S_t q̃_t where there is no t, (b, h, 0, p), made of all that it is for more: gradients are zeros."""
    carried = torch.exp(decay).unsqueeze(-1) * (queries @ state.mT)
    scores = ((queries * x).sum(-1, keepdim=True) for x in (keys, old_keys))
    return carried + sum(score * source for score, source in zip(scores, (late, early), strict=True))


def _last(x: Tensor, initial: Tensor | None) -> Tensor:
    """The last of a stream (b, h, l, ·), or the state before it where there is no step."""
    if x.shape[2]:
        return x[:, :, -1].clone()
    return x.new_zeros((*x.shape[:2], x.shape[3])) if initial is None else initial.clone()
