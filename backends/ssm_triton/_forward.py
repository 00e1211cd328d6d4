"""The forward pass: Δ, u, z, B, C in; discretisation, recurrence, output and gate on chip; y out.

Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), algorithm 2:
h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t,  y_t = (Σ_n C_t h_t + D u_t) silu(z_t).
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._math import LOG2_E, compose, compose_reset
from ssm_triton._tiles import input_weight, leap, locate, resets, silu, step_size, time_span


@triton.jit
def carried_in(state, decay, local, row, segment, segments, size, offsets, mask):
    """The state at a segment's start: h ← P h + x over the segments before it, in order.

    P and x are each segment's product of decays and its last state from zero. P = −1 says that
    a reset lies inside: nothing passes.
    """
    h = state
    for j in range(segment):
        base = (row * segments + j).to(tl.int64) * size
        p = tl.load(decay + base + offsets, mask=mask, other=0.0)
        x = tl.load(local + base + offsets, mask=mask, other=0.0)
        h = tl.where(p < 0.0, x, p * h + x)
    return h


@triton.jit
def forward(
    u, delta, A, B, C, D, z, bias, initial, seq_idx, cu_seqlens, decay, local, y, last, saved,
    length, dim, n, per_B, per_C, tiles, rows, tiles_per_cell, cell,
    segments, SEGMENT, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    z_b, z_d, z_l, y_b, y_d, y_l,
    initial_b, initial_d, initial_n, seq_b, seq_l,
    T: tl.constexpr, N: tl.constexpr, DT: tl.constexpr, SAVE: tl.constexpr,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    ZOH: tl.constexpr, CONST_B: tl.constexpr, CONST_C: tl.constexpr, INITIAL: tl.constexpr,
    RESET: tl.constexpr, PACKED: tl.constexpr, SPLIT: tl.constexpr, LAST: tl.constexpr,
    LOCAL: tl.constexpr,
):  # fmt: skip
    """One row, one tile of DT channels, one segment of time.

    With LOCAL, the first of two passes over a time that is split: only `decay` and `local`, the
    product of a segment's decays and its last state from zero, are written.

    The tile is (T, N, DT): time and part of the state in a thread's registers, so that the scan
    over T is a plain recurrence in order; channels and the rest of the state across the lanes.
    """
    compute: tl.constexpr = A.dtype.element_ty
    tile, row, segment, d0, left = locate(tiles, rows, tiles_per_cell, cell, DT)
    origin, batch, steps, first = time_span(cu_seqlens, row, segment, length, SEGMENT, PACKED)
    j = tl.arange(0, DT)
    i = tl.arange(0, N)
    t = tl.arange(0, T)
    wide = d0.to(tl.int64) + j
    live = j < left
    both = (i < n)[:, None] & live[None, :]
    at = (origin + first).to(tl.int64) + t

    state_at = i[:, None] * dim + (d0 + j)[None, :]
    # A state of the padding decays: held, its input is about 1 / A times B u, and never overflows.
    a2 = tl.load(A + wide[None, :] * n + i[:, None], mask=both, other=-1.0) * LOG2_E
    h = tl.zeros((N, DT), compute)
    if INITIAL:
        h += tl.load(
            initial + row.to(tl.int64) * initial_b + wide[None, :] * initial_d
            + i.to(tl.int64)[:, None] * initial_n, mask=both, other=0.0,
        ).to(compute)  # fmt: skip
    if SPLIT and not LOCAL:
        h = carried_in(h, decay, local, row, segment, segments, n * dim, state_at, both)
    if LOCAL:
        h = tl.zeros((N, DT), compute)
        product = tl.full((N, DT), 1.0, compute)

    u += batch * u_b + wide[None, :] * u_d + at[:, None] * u_l
    delta += batch * delta_b + wide[None, :] * delta_d + at[:, None] * delta_l
    if HAS_Z:
        z += batch * z_b + wide[None, :] * z_d + at[:, None] * z_l
    y += batch * y_b + wide[None, :] * y_d + at[:, None] * y_l
    if CONST_B:
        constant_B = tl.load(B + wide[None, :] * n + i[:, None], mask=both, other=0.0)
    else:
        B += (
            batch * B_b + (d0 // per_B).to(tl.int64) * B_g + at[:, None] * B_l + i.to(tl.int64)[None, :] * B_n
        )
    if CONST_C:
        constant_C = tl.load(C + wide[None, :] * n + i[:, None], mask=both, other=0.0)
    else:
        C += (
            batch * C_b + (d0 // per_C).to(tl.int64) * C_g + at[:, None] * C_l + i.to(tl.int64)[None, :] * C_n
        )
    skip = tl.zeros((DT,), compute)
    if HAS_D:
        skip = tl.load(D + wide, mask=live, other=0.0)
    shift = tl.zeros((DT,), compute)
    if HAS_BIAS:
        shift = tl.load(bias + wide, mask=live, other=0.0)

    # One tile ahead, and u and delta already wide: the loads overlap the arithmetic, and the
    # compiler keeps softplus in the layout of the load, where no lane repeats another's work.
    stop = tl.minimum(first + SEGMENT, steps)
    ahead = (first + t < steps)[:, None]
    u_next = tl.load(u, mask=ahead & live[None, :], other=0.0).to(compute)
    delta_next = tl.load(delta, mask=ahead & live[None, :], other=0.0).to(compute)
    if HAS_Z and not LOCAL:
        z_next = tl.load(z, mask=ahead & live[None, :], other=0.0)
    if not CONST_B:
        B_next = tl.load(B, mask=ahead & (i < n)[None, :], other=0.0).to(compute)
    if not CONST_C and not LOCAL:
        C_next = tl.load(C, mask=ahead & (i < n)[None, :], other=0.0).to(compute)
    if RESET:
        cut = tl.zeros((), tl.int1)

    for now in range(first, stop, T):
        if SAVE and not LOCAL and (now % SAVE) == 0:
            block = row * blocks
            if PACKED:
                block = origin // SAVE + row
            slot = (block + now // SAVE).to(tl.int64) * n * dim
            tl.store(saved + slot + state_at, h, mask=both)
        valid = ahead & live[None, :]
        u_t = u_next
        delta_t = delta_next
        u += leap(T, u_l)
        delta += leap(T, delta_l)
        ahead = (now + T + t < steps)[:, None]
        u_next = tl.load(u, mask=ahead & live[None, :], other=0.0).to(compute)
        delta_next = tl.load(delta, mask=ahead & live[None, :], other=0.0).to(compute)
        if HAS_Z and not LOCAL:
            z_t = z_next.to(compute)
            z += leap(T, z_l)
            z_next = tl.load(z, mask=ahead & live[None, :], other=0.0)
        if CONST_B:
            B_t = constant_B[None, :, :]
        else:
            B_t = B_next[:, :, None]
            B += leap(T, B_l)
            B_next = tl.load(B, mask=ahead & (i < n)[None, :], other=0.0).to(compute)
        if not LOCAL:
            if CONST_C:
                C_t = constant_C[None, :, :]
            else:
                C_t = C_next[:, :, None]
                C += leap(T, C_l)
                C_next = tl.load(C, mask=ahead & (i < n)[None, :], other=0.0).to(compute)

        s = step_size(delta_t, shift[None, :], valid, SOFTPLUS)
        a = tl.exp2(s[:, None, :] * a2[None, :, :])
        if ZOH:
            x = input_weight(s[:, None, :], a2[None, :, :], a, ZOH) * u_t[:, None, :] * B_t
        else:
            x = (s * u_t)[:, None, :] * B_t
        start = (t == 0)[:, None, None]
        if RESET:
            f = resets(seq_idx + batch * seq_b, now + t, steps, seq_l)
            cut = cut | (tl.max(f.to(tl.int32), 0) > 0)
            f = tl.broadcast_to(f[:, None, None], (T, N, DT))
            x = tl.where(start & (f == 0), a * h[None, :, :] + x, x)
            p, hs, before, cuts = tl.associative_scan((a, x, x, f), 0, compose_reset)
        else:
            x = tl.where(start, a * h[None, :, :] + x, x)
            p, hs, before = tl.associative_scan((a, x, x), 0, compose)
        end = (t == T - 1)[:, None, None]
        h = tl.sum(tl.where(end, hs, 0.0), 0)
        if LOCAL:
            product *= tl.sum(tl.where(end, p, 0.0), 0)
        else:
            v = tl.sum(hs * C_t, 1) + skip[None, :] * u_t
            if HAS_Z:
                v *= silu(z_t)
            tl.store(y, v.to(y.dtype.element_ty), mask=valid)
            y += leap(T, y_l)

    if LOCAL:
        base = (row * segments + segment).to(tl.int64) * n * dim
        if RESET:
            product = tl.where(cut, -1.0, product)
        tl.store(decay + base + state_at, product, mask=both)
        tl.store(local + base + state_at, h, mask=both)
    elif LAST and (stop == steps) and ((first < steps) | (segment == 0)):
        tl.store(last + (row.to(tl.int64) * dim + wide[None, :]) * n + i[:, None], h, mask=both)
