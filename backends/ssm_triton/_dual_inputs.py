"""The gradient of x in the dual form, chunk by chunk, from the cotangents of the states after the chunks.

With q the cotangent before the gate, Λ that of the state after the chunk, X = Δ x::

    dX_s = exp(p_Q − p_s) Λ B_s + Σ_t L_ts (C_t · B_s) q_t,   dx = Δ dX + D q

and what the decays get from the same products, for the gradients of the step sizes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_steps import (
    COUNTS,
    between,
    gated,
    group_of,
    load_begin,
    load_last,
    load_steps,
    place,
    put,
    skip_of,
    state_tile,
    tile,
    to_end,
)


@triton.jit(do_not_specialize=COUNTS)
def backward_inputs(
    x, z, steps, logs, begins, B, C, D, cotangents, dy, dx, dD, of_steps, to_after, of_spans,
    length, heads, per_group, width, n, chunks,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, b_b, b_t, b_g, b_n, c_b, c_t, c_g, c_n,
    skip_h, skip_p, y_b, y_t, y_h, y_p, o_b, o_t, o_h, o_p,
    HAS_Z: tl.constexpr, HAS_D: tl.constexpr, RESET: tl.constexpr,
    Q: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """dx of P channels of one head; their terms of dD, of dΔ through X, and of what the decays get.

    These are of the weights to the state after, by s, and of those that span a step, by step.
    """
    row, chunk, h = place(heads, chunks)
    here = (row * chunks + chunk) * heads + h
    p = tl.program_id(1) * P + tl.arange(0, P)
    t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
    live_t, live_p = t < length, p < width
    step, logs_t, whole = load_steps(steps, logs, here, Q)
    begin = load_begin(begins, row * chunks + chunk, RESET, Q)
    last = load_last(begins, row * chunks + chunk, RESET, Q)
    B += row * b_b + group_of(h, per_group) * b_g
    C += row * c_b + group_of(h, per_group) * c_g
    cotangents += here * width * n
    weights, found = tl.zeros((Q, Q), tl.float32), tl.zeros((Q, P), tl.float32)
    for first in range(0, n, N):
        k = first + tl.arange(0, N)
        left = tile(B, t, k, b_t, b_n, live_t, k < n)
        right = tile(C, t, k, c_t, c_n, live_t, k < n)
        after = state_tile(cotangents, p, k, n, live_p, k < n)
        weights += product(left, tl.trans(right))
        found += product(left, tl.trans(after))
    found *= to_end(logs_t, whole, last, RESET, Q)[:, None]
    given = tile(x + row * x_b + h * x_h, t, p, x_t, x_p, live_t, live_p)
    wide = given.to(tl.float32)
    at = (tl.program_id(1) * tl.num_programs(0).to(tl.int64) + here) * Q + tl.arange(0, Q)
    tl.store(to_after + at, tl.sum(wide * found, 1) * step)
    z_at = row * z_b + h * z_h
    q = gated(dy + row * y_b + h * y_h, z, z_at, t, p, y_t, y_p, z_t, z_p, live_t, live_p, HAS_Z)
    weights *= between(logs_t, begin, RESET, True, Q)
    found += product(weights, q)
    tl.store(of_steps + at, tl.sum(found * wide, 1))
    found *= step[:, None]
    if HAS_D:
        skip = skip_of(D, h, p, skip_h, skip_p, live_p)
        found += skip[None, :] * q.to(tl.float32)
        tl.store(dD + here * width + p, tl.sum(q.to(tl.float32) * wide, 0), mask=live_p)
    put(dx + row * o_b + h * o_h, t, p, o_t, o_p, live_t, live_p, found)
    weights *= product(given, tl.trans(q)) * step[:, None]
    tl.store(of_spans + at, _by_step(weights, Q))


@triton.jit
def _by_step(spans, Q: tl.constexpr):
    """What the logarithm of each step r's decay gets from the weights from s < r to t ≥ r, at [s, t]."""
    i = tl.arange(0, Q)
    ones = tl.where(i[:, None] >= i[None, :], 1.0, 0.0).to(tl.bfloat16)
    future = product(spans, ones)  # at [s, r]: of all t ≥ r
    return tl.sum(tl.where(i[:, None] < i[None, :], future, 0.0), 0)
