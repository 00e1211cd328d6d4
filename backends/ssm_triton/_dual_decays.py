"""The gradients of the step sizes in the dual form, chunk by chunk: of dt, and the parts of A and the bias.

Every weight is exp of a sum of consecutive ΔA: what step r's gets is the sum over the weights that span r,
from s < r to t ≥ r, from the state before to t ≥ r, from s < r to the state after, and from state to state.
No differences are taken, so nothing cancels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_steps import between, ends, gated, load_steps, place, sequence_numbers, tile
from ssm_triton._math import sigmoid


@triton.jit
def backward_decays(
    x, z, dt, A, bias, B, C, seq_idx, states, cotangents, dy, of_steps, to_after, ddt, dA, dbias,
    length, heads, per_group, width, n, chunks, parts,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, d_b, d_t, d_h, b_b, b_t, b_g, b_n, c_b, c_t, c_g, c_n,
    i_b, i_t, y_b, y_t, y_h, y_p,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, RESET: tl.constexpr,
    LOW: tl.constexpr, HIGH: tl.constexpr,
    Q: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """ddt of one head in one chunk, and its terms of dA and dbias."""
    row, chunk, h = place(heads, chunks)
    here = (row * chunks + chunk) * heads + h
    t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
    live_t = t < length
    raw, free, step = load_steps(
        dt + row * d_b + h * d_h, bias, h, t, length, d_t, HAS_BIAS, SOFTPLUS, LOW, HIGH
    )
    number = sequence_numbers(seq_idx, row * i_b, t, length, i_t, RESET)
    rate = tl.load(A + h)
    logs = tl.cumsum(step * rate, 0)
    from_start, _, through = ends(logs, number, RESET, Q)
    x += row * x_b + h * x_h
    dy += row * y_b + h * y_h
    z_at = row * z_b + h * z_h
    B += row * b_b + h // per_group * b_g
    C += row * c_b + h // per_group * c_g
    states += here * width * n
    cotangents += here * width * n
    from_before = tl.zeros((Q,), tl.float32)
    kept = tl.zeros((P,), tl.float32)
    spans = tl.zeros((Q, Q), tl.float32)
    for first_p in range(0, width, P):
        p = first_p + tl.arange(0, P)
        live_p = p < width
        seen = tl.zeros((Q, P), tl.float32)
        for first in range(0, n, N):
            k = first + tl.arange(0, N)
            before = tile(states, p, k, n, 1, live_p, k < n)
            left = tile(C, t, k, c_t, c_n, live_t, k < n)
            seen += product(left, tl.trans(before))
            kept += tl.sum(before * tile(cotangents, p, k, n, 1, live_p, k < n), 1)
        q = gated(dy, z, z_at, t, p, y_t, y_p, z_t, z_p, live_t, live_p, HAS_Z)
        from_before += tl.sum(q.to(tl.float32) * seen, 1)
        given = tile(x, t, p, x_t, x_p, live_t, live_p)
        spans += product(q, tl.trans(given))
    spans *= between(logs, number, RESET, False, Q) * step[None, :]
    weights = tl.zeros((Q, Q), tl.float32)
    for first in range(0, n, N):
        k = first + tl.arange(0, N)
        left = tile(C, t, k, c_t, c_n, live_t, k < n)
        right = tile(B, t, k, b_t, b_n, live_t, k < n)
        weights += product(left, tl.trans(right))
    of_step, left_over = tl.zeros((Q,), tl.float32), tl.zeros((Q,), tl.float32)
    for part in range(parts):
        at = (part * tl.num_programs(0) + tl.program_id(0)) * Q + tl.arange(0, Q)
        of_step += tl.load(of_steps + at)
        left_over += tl.load(to_after + at)
    of_logs = _by_step(spans * weights, from_before * from_start, left_over, Q)
    of_logs += tl.where(through < 0, 0.0, through * tl.sum(kept, 0))
    of_step += of_logs * rate
    inside = (free >= tl.full((1,), LOW, tl.float32)) & (free <= tl.full((1,), HIGH, tl.float32))
    if SOFTPLUS:
        of_step *= sigmoid(raw)
    of_step = tl.where(inside & live_t, of_step, 0.0)
    tl.store(ddt + (row * length + t) * heads + h, of_step.to(ddt.dtype.element_ty), mask=live_t)
    tl.store(dA + here, tl.sum(of_logs * step, 0))
    if HAS_BIAS:
        tl.store(dbias + here, tl.sum(of_step, 0))


@triton.jit
def _by_step(spans, from_before, to_after, Q: tl.constexpr):
    """What the logarithm of each step's decay gets from the weights that span it, the chunk's own aside."""
    t = tl.arange(0, Q)
    earlier = t[:, None] < t[None, :]
    ones = tl.where(earlier, 1.0, 0.0).to(tl.bfloat16)
    past = product(spans, ones)  # at [t, r]: of all s < r
    return tl.sum(tl.where(earlier, to_after[:, None], past + from_before[:, None]), 0)
