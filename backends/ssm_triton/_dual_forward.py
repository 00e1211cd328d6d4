"""The forward pass of the dual form in one kernel: outputs from chunk to chunk, with the state at hand."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_states import carried, carried_in
from ssm_triton._dual_steps import (
    COUNTS,
    between,
    group_of,
    load_begin,
    load_last,
    load_steps,
    put,
    put_state,
    skip_of,
    through,
    tile,
    to_end,
)
from ssm_triton._math import exp, sigmoid


@triton.jit(do_not_specialize=COUNTS)
def forward_chunks(
    x, z, steps, logs, begins, B, C, D, start, end, sums, decays, y,
    length, heads, per_group, width, n, chunks, each,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, b_b, b_t, b_g, b_n, c_b, c_t, c_g, c_n,
    skip_h, skip_p, s_b, s_h, s_p, s_n, y_b, y_t, y_h, y_p,
    HAS_Z: tl.constexpr, HAS_D: tl.constexpr, RESET: tl.constexpr, STARTED: tl.constexpr,
    Q: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """y_t = (exp(p_t) S C_t + Σ_s L_ts (C_t · B_s) Δ_s x_s + D x_t) silu(z_t) of P channels, and S after each
    chunk, all its columns, as `pass_states` has it: in a segment of `each` chunks. Outputs lie on their side.
    """
    row, h = (tl.program_id(0) // heads).to(tl.int64), (tl.program_id(0) % heads).to(tl.int64)
    p = tl.program_id(1) * P + tl.arange(0, P)
    k = tl.arange(0, N)
    segment = tl.program_id(2)
    live_p, live_k = p < width, k < n
    x += row * x_b + h * x_h
    y += row * y_b + h * y_h
    if HAS_Z:
        z += row * z_b + h * z_h
    B += row * b_b + group_of(h, per_group) * b_g
    C += row * c_b + group_of(h, per_group) * c_g
    if HAS_D:
        skip = skip_of(D, h, p, skip_h, skip_p, live_p)
    head, all_heads = row * heads + h, tl.num_programs(0).to(tl.int64)
    state = tl.zeros((P, N), tl.float32)
    if STARTED:
        state = tile(start + row * s_b + h * s_h, p, k, s_p, s_n, live_p, live_k).to(tl.float32)
    state = carried_in(state, sums, decays, segment, head, all_heads, p, k, width, n, live_p, live_k)
    for chunk in range(segment * each, tl.minimum((segment + 1) * each, chunks)):
        here = (row * chunks + chunk) * heads + h
        t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
        live_t = t < length
        step, logs_t, whole = load_steps(steps, logs, here, Q)
        last = load_last(begins, row * chunks + chunk, RESET, Q)
        given = tile(x, p, t, x_p, x_t, live_p, live_t)
        right = tile(B, t, k, b_t, b_n, live_t, live_k)
        left = tl.trans(tile(C, t, k, c_t, c_n, live_t, live_k))
        found = product(state, left) * exp(logs_t)[None, :]
        weights = product(right, left) * (between(logs_t, logs_t, False, True, Q) * step[:, None])
        if last >= 0:  # never without resets; another sequence's state may be a NaN
            begin = load_begin(begins, row * chunks + chunk, RESET, Q)
            found = tl.where((begin < 0)[None, :], found, 0.0)
            weights = tl.where(tl.arange(0, Q)[:, None] >= begin[None, :], weights, 0.0)
        found += product(given, weights)
        wide = given.to(tl.float32)
        if HAS_D:
            found += skip[:, None] * wide
        if HAS_Z:
            gate = tile(z, p, t, z_p, z_t, live_p, live_t).to(tl.float32)
            found *= gate * sigmoid(gate)
        put(y, p, t, y_p, y_t, live_p, live_t, found)
        weight = to_end(logs_t, whole, last, RESET, Q) * step
        state = carried(state, through(whole, last, RESET))
        state += product(wide * weight[None, :], right)
    if segment == tl.num_programs(2) - 1:
        put_state(end + head * width * n, p, k, n, live_p, live_k, state)
