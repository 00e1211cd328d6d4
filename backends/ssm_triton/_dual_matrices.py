"""The gradients of B and C in the dual form: sums over the heads of a group, head after head in registers.

With q the cotangent before the gate, Λ that of the state after the chunk, S the state before it, X = Δ x::

    dC = dG B + Σ_heads exp(p_t) q_t S,   dB = dGᵀ C + Σ_heads exp(p_Q − p_s) X_s Λ

and what the decays get from S, for the gradients of the step sizes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_steps import (
    COUNTS,
    from_start,
    gated,
    load_begin,
    load_last,
    load_steps,
    put,
    slice_of_heads,
    state_tile,
    tile,
    to_end,
)


@triton.jit(do_not_specialize=COUNTS)
def backward_matrices(
    x, z, steps, logs, begins, B, C, states, cotangents, dy, dG, dB, dC, from_before, kept,
    length, heads, groups, per_group, each, slices, rows, width, n, chunks,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, b_b, b_t, b_g, b_n, c_b, c_t, c_g, c_n,
    y_b, y_t, y_h, y_p,
    HAS_Z: tl.constexpr, RESET: tl.constexpr, Q: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """N columns of dB and dC in one chunk of one group, of as many of its heads as belong to a slice.

    For each of these heads also their terms of what the weights from S to each step get, and of Λ · S.
    """
    row, chunk, group, first_head, count = slice_of_heads(groups, per_group, slices, each, chunks)
    i = tl.arange(0, Q)
    k = tl.program_id(1) * N + tl.arange(0, N)
    live_k = k < n
    t = (chunk * Q + i).to(tl.int64)
    live_t = t < length
    begin = load_begin(begins, row * chunks + chunk, RESET, Q)
    last = load_last(begins, row * chunks + chunk, RESET, Q)
    B += row * b_b + group * b_g
    C += row * c_b + group * c_g
    of_left, of_right = tl.zeros((Q, N), tl.float32), tl.zeros((Q, N), tl.float32)
    for past in range(count):
        h = first_head + past
        here = (row * chunks + chunk) * heads + h
        step, logs_t, whole = load_steps(steps, logs, here, Q)
        weight = to_end(logs_t, whole, last, RESET, Q) * step
        of_before, both = tl.zeros((Q,), tl.float32), tl.zeros((P,), tl.float32)
        for first in range(0, width, P):
            p = first + tl.arange(0, P)
            live_p = p < width
            given = tile(x + row * x_b + h * x_h, t, p, x_t, x_p, live_t, live_p)
            z_at = row * z_b + h * z_h
            q = gated(dy + row * y_b + h * y_h, z, z_at, t, p, y_t, y_p, z_t, z_p, live_t, live_p, HAS_Z)
            before = state_tile(states + here * width * n, p, k, n, live_p, live_k)
            seen = product(q, before) * from_start(logs_t, begin, RESET)[:, None]
            of_left += seen
            of_before += tl.sum(seen * tile(C, t, k, c_t, c_n, live_t, live_k).to(tl.float32), 1)
            after = state_tile(cotangents + here * width * n, p, k, n, live_p, live_k)
            of_right += product(given, after) * weight[:, None]
            both += tl.sum(before * after, 1)
        told = tl.program_id(1).to(tl.int64) * rows * chunks * heads + here
        tl.store(from_before + told * Q + i, of_before)
        tl.store(kept + told, tl.sum(both, 0))
    of_products = tl.load(dG + tl.program_id(0).to(tl.int64) * Q * Q + i[:, None] * Q + i[None, :])
    of_left += product(of_products, tile(B, t, k, b_t, b_n, live_t, live_k))
    of_right += product(tl.trans(of_products), tile(C, t, k, c_t, c_n, live_t, live_k))
    out = ((tl.program_id(0) % slices * rows + row) * length * groups + group) * n
    put(dC + out, t, k, groups * n, 1, live_t, live_k, of_left)
    put(dB + out, t, k, groups * n, 1, live_t, live_k, of_right)
