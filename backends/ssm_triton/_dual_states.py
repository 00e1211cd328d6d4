"""The states of the dual form from chunk to chunk: before each, or going back the cotangents after each."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_steps import (
    COUNTS,
    from_start,
    gated,
    group_of,
    load_begin,
    load_last,
    load_steps,
    put_state,
    state_tile,
    through,
    tile,
    to_end,
)


@triton.jit(do_not_specialize=COUNTS)
def pass_states(
    x, z, steps, logs, begins, B, start, states, end, sums, decays,
    length, heads, per_group, width, n, chunks, tiles_n, each,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, b_b, b_t, b_g, b_n, s_b, s_h, s_p, s_n,
    HAS_Z: tl.constexpr, RESET: tl.constexpr, STARTED: tl.constexpr, BACK: tl.constexpr, ALONE: tl.constexpr,
    Q: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """S' = exp(p_Q) S + Σ_s exp(p_Q − p_s) Δ_s x_s B_sᵀ in a segment of `each` chunks, P rows, N columns.

    BACK: Λ' = exp(p_Q) Λ + Σ_t exp(p_t) q_t C_tᵀ, from the last chunk to the first; x is the cotangent of y,
    and B is C. ALONE: from zero, to be told to the segments after it: its last state, and from what was
    before its start the decay to its end. Without it, each segment starts from what those before it told.
    """
    row, h = (tl.program_id(0) // heads).to(tl.int64), (tl.program_id(0) % heads).to(tl.int64)
    p = tl.program_id(1) // tiles_n * P + tl.arange(0, P)
    k = tl.program_id(1) % tiles_n * N + tl.arange(0, N)
    segment = tl.program_id(2)
    live_p, live_k = p < width, k < n
    x += row * x_b + h * x_h
    B += row * b_b + group_of(h, per_group) * b_g
    head, all_heads = row * heads + h, tl.num_programs(0).to(tl.int64)
    state, decay = tl.zeros((P, N), tl.float32), 1.0
    if not ALONE:
        if STARTED:
            state = tile(start + row * s_b + h * s_h, p, k, s_p, s_n, live_p, live_k).to(tl.float32)
        state = carried_in(state, sums, decays, segment, head, all_heads, p, k, width, n, live_p, live_k)
    for i in range(segment * each, tl.minimum((segment + 1) * each, chunks)):
        chunk = chunks - 1 - i if BACK else i
        here = (row * chunks + chunk) * heads + h
        if not ALONE:
            put_state(states + here * width * n, p, k, n, live_p, live_k, state)
        t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
        live_t = t < length
        step, logs_t, whole = load_steps(steps, logs, here, Q)
        begin = load_begin(begins, row * chunks + chunk, RESET, Q)
        last = load_last(begins, row * chunks + chunk, RESET, Q)
        if BACK:
            weight = from_start(logs_t, begin, RESET)
        else:
            weight = to_end(logs_t, whole, last, RESET, Q) * step
        z_at = row * z_b + h * z_h
        given = gated(x, z, z_at, t, p, x_t, x_p, z_t, z_p, live_t, live_p, HAS_Z)
        weighted = tl.trans(given.to(tl.float32) * weight[:, None])
        passed = through(whole, last, RESET)
        state = carried(state, passed)
        state += product(weighted, tile(B, t, k, b_t, b_n, live_t, live_k))
        if ALONE:
            decay = tl.where((passed < 0) | (decay < 0), -1.0, decay * passed)
    if ALONE:
        told = segment * all_heads + head
        put_state(sums + told * width * n, p, k, n, live_p, live_k, state)
        tl.store(decays + told, decay)
    elif segment == tl.num_programs(2) - 1:
        put_state(end + head * width * n, p, k, n, live_p, live_k, state)


@triton.jit
def carried(state, passed):
    """What is left of a state; nothing of it where the weight is negative."""
    return tl.where(passed < 0, 0.0, state * passed)


@triton.jit
def carried_in(state, sums, decays, segment, head, all_heads, p, k, width, n, live_p, live_k):
    """The state before a segment, from the one before all and what the segments between told."""
    for earlier in range(segment):
        told = earlier * all_heads + head
        state = carried(state, tl.load(decays + told))
        state += state_tile(sums + told * width * n, p, k, n, live_p, live_k)
    return state
