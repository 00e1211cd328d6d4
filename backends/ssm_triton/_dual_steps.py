"""What several kernels of the dual form share: step sizes, decays and sequences of a chunk, tiles."""

from __future__ import annotations

from typing import Final

import triton
import triton.language as tl

from ssm_triton._math import exp, sigmoid, softplus

COUNTS: Final = (
    "length", "heads", "groups", "per_group", "each", "slices", "rows", "chunks", "tiles", "tiles_n", "parts",
    "across", "i_b", "i_t",
)  # fmt: skip
"""Arguments on which no access to memory hangs: a kernel is compiled once for all their values."""


@triton.jit
def place(heads, chunks):
    """Row, chunk and head of a program; heads lie next to each other."""
    program = tl.program_id(0)
    row, chunk = program // heads // chunks, program // heads % chunks
    return row.to(tl.int64), chunk, (program % heads).to(tl.int64)


@triton.jit
def group_of(h, per_group):
    """The group of a head; 64 bits take long to divide."""
    return (h.to(tl.int32) // per_group).to(tl.int64)


@triton.jit
def slice_of_heads(groups, per_group, slices, each, chunks):
    """Row, chunk and group of a program, and the heads of a slice of the group: the first, and how many."""
    program = tl.program_id(0)
    part, rest = program % slices, program // slices
    group, rest = (rest % groups).to(tl.int64), rest // groups
    chunk, row = rest % chunks, (rest // chunks).to(tl.int64)
    count = tl.minimum((part + 1) * each, per_group) - part * each
    return row, chunk, group, group * per_group + part * each, count


@triton.jit
def heads_tile(heads, chunks, tiles, Q: tl.constexpr, H: tl.constexpr):
    """Row, chunk and H heads of a program, those that exist, and where (b, chunks, h, q) has their steps."""
    program = tl.program_id(0)
    row, chunk = (program // tiles // chunks).to(tl.int64), program // tiles % chunks
    h = (program % tiles * H + tl.arange(0, H)).to(tl.int64)
    at = ((row * chunks + chunk) * heads + h)[None, :] * Q + tl.arange(0, Q)[:, None]
    return row, chunk, h, h < heads, at


@triton.jit
def step_sizes(
    dt, bias, t, h, length, live_h, step_t, step_h,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
):  # fmt: skip
    """dt + bias at (t, h), that through softplus, and the step size Δ within its limits: 0 past the end."""
    live = (t < length)[:, None] & live_h[None, :]
    raw = tl.load(dt + t[:, None] * step_t + h[None, :] * step_h, mask=live, other=0.0).to(tl.float32)
    if HAS_BIAS:
        raw += tl.load(bias + h, mask=live_h, other=0.0)[None, :]
    free = raw
    if SOFTPLUS:
        free = softplus(raw)
    # Selected, not the larger of two: a NaN stays.
    low, high = tl.full((1, 1), LOW, tl.float32), tl.full((1, 1), HIGH, tl.float32)
    step = tl.where(free < low, low, tl.where(free > high, high, free))
    return raw, free, tl.where(live, step, 0.0)


@triton.jit
def load_steps(steps, logs, here, Q: tl.constexpr):
    """Δ_t, p_t and p_Q of one head in one chunk, the here-th of all."""
    at = here * Q + tl.arange(0, Q)
    return tl.load(steps + at), tl.load(logs + at), tl.load(logs + here * Q + Q - 1)


@triton.jit
def find_begins(seq_idx, t, length, step_t, Q: tl.constexpr):
    """The step of its chunk at which the sequence of each step begins; −1 of one that began before."""
    inner = (t > 0) & (t < length)
    now = tl.load(seq_idx + t * step_t, mask=inner, other=0)
    before = tl.load(seq_idx + (t - 1) * step_t, mask=inner, other=0)
    return tl.associative_scan(tl.where(now != before, tl.arange(0, Q), -1), 0, _larger)


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def load_begin(begins, here, RESET: tl.constexpr, Q: tl.constexpr):
    """The same as it was found, of the here-th chunk of all rows."""
    begin = tl.full((Q,), -1, tl.int32)
    if RESET:
        begin = tl.load(begins + here * Q + tl.arange(0, Q))
    return begin


@triton.jit
def load_last(begins, here, RESET: tl.constexpr, Q: tl.constexpr):
    """That of the last step of the chunk: −1 where no sequence begins in it."""
    last = -1
    if RESET:
        last = tl.load(begins + here * Q + Q - 1)
    return last


@triton.jit
def from_start(logs, begin, RESET: tl.constexpr):
    """exp(p_t), from the state before the chunk; 0 to another sequence."""
    weight = exp(logs)
    if RESET:
        weight = tl.where(begin < 0, weight, 0.0)
    return weight


@triton.jit
def to_end(logs, whole, last, RESET: tl.constexpr, Q: tl.constexpr):
    """exp(p_Q − p_s), to the state after the chunk; 0 from another sequence."""
    weight = exp(whole - logs)
    if RESET:
        weight = tl.where(tl.arange(0, Q) >= last, weight, 0.0)
    return weight


@triton.jit
def through(whole, last, RESET: tl.constexpr):
    """exp(p_Q), from state to state; negative to another sequence: nothing passes, not even a NaN."""
    weight = exp(whole)
    if RESET:
        weight = tl.where(last < 0, weight, -1.0)
    return weight


@triton.jit
def between(logs, begin, RESET: tl.constexpr, TURNED: tl.constexpr, Q: tl.constexpr):
    """L_ts = exp(p_t − p_s) for s <= t in one sequence, else 0; TURNED: at [s, t]."""
    i = tl.arange(0, Q)
    if TURNED:
        seen, over = i[:, None] <= i[None, :], logs[None, :] - logs[:, None]
    else:
        seen, over = i[:, None] >= i[None, :], logs[:, None] - logs[None, :]
    if RESET:
        seen &= (i[:, None] >= begin[None, :]) if TURNED else (i[None, :] >= begin[:, None])
    return tl.where(seen, exp(tl.where(seen, over, 0.0)), 0.0)


@triton.jit
def tile(x, rows, columns, step_r, step_c, live_r, live_c):
    """A matrix of x in its own type, zero where nothing lives."""
    at = x + rows.to(tl.int64)[:, None] * step_r + columns.to(tl.int64)[None, :] * step_c
    return tl.load(at, mask=live_r[:, None] & live_c[None, :], other=0.0)


@triton.jit
def skip_of(D, h, p, step_h, step_p, live_p):
    """D of one head, by channel."""
    return tl.load(D + h * step_h + p.to(tl.int64) * step_p, mask=live_p, other=0.0).to(tl.float32)


@triton.jit
def put(x, rows, columns, step_r, step_c, live_r, live_c, value):
    """The other way."""
    at = x + rows.to(tl.int64)[:, None] * step_r + columns.to(tl.int64)[None, :] * step_c
    tl.store(at, value.to(x.dtype.element_ty), mask=live_r[:, None] & live_c[None, :])


@triton.jit
def state_tile(states, p, k, n, live_p, live_k):
    """A tile of a state of ours, (p, n), which lies in one piece: 32 bits count its numbers."""
    return tl.load(states + p[:, None] * n + k[None, :], mask=live_p[:, None] & live_k[None, :], other=0.0)


@triton.jit
def put_state(states, p, k, n, live_p, live_k, value):
    """The other way."""
    tl.store(states + p[:, None] * n + k[None, :], value, mask=live_p[:, None] & live_k[None, :])


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
