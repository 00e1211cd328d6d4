"""The outputs of the dual form from the states before the chunks; and the gradient of the gate."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_steps import (
    COUNTS,
    between,
    from_start,
    group_of,
    load_begin,
    load_steps,
    place,
    put,
    skip_of,
    state_tile,
    tile,
)
from ssm_triton._math import sigmoid


@triton.jit(do_not_specialize=COUNTS)
def outputs(
    x, z, steps, logs, begins, B, C, D, states, dy, y,
    length, heads, per_group, width, n, chunks,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, b_b, b_t, b_g, b_n, c_b, c_t, c_g, c_n,
    skip_h, skip_p, o_b, o_t, o_h, o_p, y_b, y_t, y_h, y_p,
    HAS_Z: tl.constexpr, HAS_D: tl.constexpr, OF_GATE: tl.constexpr, RESET: tl.constexpr,
    Q: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """y_t = (exp(p_t) S C_t + Σ_s L_ts (C_t · B_s) Δ_s x_s + D x_t) silu(z_t), P channels of one head.

    OF_GATE: what is put into y is the gradient of z, of the same with silu'(z_t) dy_t in place of silu(z_t).
    """
    row, chunk, h = place(heads, chunks)
    here = (row * chunks + chunk) * heads + h
    p = tl.program_id(1) * P + tl.arange(0, P)
    t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
    live_t, live_p = t < length, p < width
    step, logs_t, _ = load_steps(steps, logs, here, Q)
    begin = load_begin(begins, row * chunks + chunk, RESET, Q)
    B += row * b_b + group_of(h, per_group) * b_g
    C += row * c_b + group_of(h, per_group) * c_g
    states += here * width * n
    found = tl.zeros((Q, P), tl.float32)
    for first in range(0, n, N):
        k = first + tl.arange(0, N)
        before = state_tile(states, p, k, n, live_p, k < n)
        found += product(tile(C, t, k, c_t, c_n, live_t, k < n), tl.trans(before))
    found *= from_start(logs_t, begin, RESET)[:, None]
    if RESET:  # where it is zero of another sequence's state, which may be a NaN
        found = tl.where((begin < 0)[:, None], found, 0.0)
    weights = tl.zeros((Q, Q), tl.float32)
    for first in range(0, n, N):
        k = first + tl.arange(0, N)
        right = tile(B, t, k, b_t, b_n, live_t, k < n)
        weights += product(tile(C, t, k, c_t, c_n, live_t, k < n), tl.trans(right))
    weights *= between(logs_t, begin, RESET, False, Q) * step[None, :]
    given = tile(x + row * x_b + h * x_h, t, p, x_t, x_p, live_t, live_p)
    found += product(weights, given)
    if HAS_D:
        skip = skip_of(D, h, p, skip_h, skip_p, live_p)
        found += skip[None, :] * given.to(tl.float32)
    if HAS_Z:
        gate = tile(z + row * z_b + h * z_h, t, p, z_t, z_p, live_t, live_p).to(tl.float32)
        if OF_GATE:
            cotangent = tile(dy + row * o_b + h * o_h, t, p, o_t, o_p, live_t, live_p).to(tl.float32)
            found *= cotangent * (sigmoid(gate) * (1.0 + gate * sigmoid(-gate)))
        else:
            found *= gate * sigmoid(gate)
    put(y + row * y_b + h * y_h, t, p, y_t, y_p, live_t, live_p, found)
