"""What every program of the dual form starts from: its chunk's step sizes, decays and sequences."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._math import exp, sigmoid, softplus


@triton.jit
def place(heads, chunks):
    """Row, chunk and head of a program; heads lie next to each other, as they share B and C."""
    program = tl.program_id(0)
    return (program // heads // chunks).to(tl.int64), program // heads % chunks, program % heads


@triton.jit
def load_steps(
    dt, bias, h, t, length, step_t,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
):  # fmt: skip
    """dt + bias of head h, that through softplus, and the step size Δ within its limits: 0 past the end."""
    raw = tl.load(dt + t * step_t, mask=t < length, other=0.0).to(tl.float32)
    if HAS_BIAS:
        raw += tl.load(bias + h)
    free = raw
    if SOFTPLUS:
        free = softplus(raw)
    # Selected, not the larger of two: a NaN stays.
    low, high = tl.full((1,), LOW, tl.float32), tl.full((1,), HIGH, tl.float32)
    step = tl.where(free < low, low, tl.where(free > high, high, free))
    return raw, free, tl.where(t < length, step, 0.0)


@triton.jit
def sequence_numbers(seq_idx, row_at, t, length, step_t, RESET: tl.constexpr):
    """Which sequence of its chunk a step belongs to, counted from 0: the one that began before the chunk."""
    fresh = (t < 0).to(tl.int32)
    if RESET:
        seq_idx += row_at
        now = tl.load(seq_idx + t * step_t, mask=t < length, other=0)
        before = tl.load(seq_idx + (t - 1) * step_t, mask=(t > 0) & (t < length), other=0)
        fresh = ((t > 0) & (t < length) & (now != before)).to(tl.int32)
    return tl.cumsum(fresh, 0)


@triton.jit
def ends(logs, number, RESET: tl.constexpr, Q: tl.constexpr):
    """exp(p_t) from the state before the chunk, exp(p_q − p_s) to the state after it, from state to state.

    p_t is the sum of the decays' logarithms from the chunk's start to t. The first two are 0 to another
    sequence, the last is negative then: nothing of the state passes, not even a NaN.
    """
    whole = tl.sum(tl.where(tl.arange(0, Q) == Q - 1, logs, 0.0), 0)
    from_start, to_end, through = exp(logs), exp(whole - logs), exp(whole)
    if RESET:
        last = tl.max(number, 0)
        from_start = tl.where(number == 0, from_start, 0.0)
        to_end = tl.where(number == last, to_end, 0.0)
        through = tl.where(last == 0, through, -1.0)
    return from_start, to_end, through


@triton.jit
def between(logs, number, RESET: tl.constexpr, TURNED: tl.constexpr, Q: tl.constexpr):
    """L_ts = exp(p_t − p_s) for s <= t in one sequence, else 0; TURNED: at [s, t]."""
    i = tl.arange(0, Q)
    if TURNED:
        seen, over = i[:, None] <= i[None, :], logs[None, :] - logs[:, None]
    else:
        seen, over = i[:, None] >= i[None, :], logs[:, None] - logs[None, :]
    if RESET:
        seen &= number[:, None] == number[None, :]
    return tl.where(seen, exp(tl.where(seen, over, 0.0)), 0.0)


@triton.jit
def tile(x, rows, columns, step_r, step_c, live_r, live_c):
    """A matrix of x in its own type, zero where nothing lives."""
    at = x + rows[:, None] * step_r + columns[None, :] * step_c
    return tl.load(at, mask=live_r[:, None] & live_c[None, :], other=0.0)


@triton.jit
def put(x, rows, columns, step_r, step_c, live_r, live_c, value):
    """The other way."""
    at = x + rows[:, None] * step_r + columns[None, :] * step_c
    tl.store(at, value.to(x.dtype.element_ty), mask=live_r[:, None] & live_c[None, :])


@triton.jit
def gated(
    dy, z, z_at, t, p, y_t, y_p, z_t, z_p, live_t, live_p, HAS_Z: tl.constexpr
):  # fmt: skip
    """The cotangent before the gate, dy silu(z) with z from z_at on; in dy's own type without a gate."""
    found = tile(dy, t, p, y_t, y_p, live_t, live_p)
    if HAS_Z:
        gate = tile(z + z_at, t, p, z_t, z_p, live_t, live_p).to(tl.float32)
        found = found.to(tl.float32) * (gate * sigmoid(gate))
    return found
