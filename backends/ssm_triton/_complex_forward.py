"""The forward pass with complex A: y_t = (2 Re Σ_n C_t h_t + D u_t) silu(z_t).

One of each conjugate pair of modes is kept (Gu, Gupta, Goel, Ré, "On the Parameterization and
Initialization of Diagonal State Space Models" (2022), section 3). The plan is the real kernel's.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._complex import compose, exponential, times, weigh
from ssm_triton._tiles import leap, locate, resets, silu, step_size, time_span


@triton.jit
def forward_complex(
    u, delta, A, B, C, D, z, bias, initial, seq_idx, cu_seqlens, y, last, saved,
    length, dim, n, per_B, per_C, tiles, rows, tiles_per_cell, cell, SEGMENT, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l, z_b, z_d, z_l,
    y_b, y_d, y_l, initial_b, initial_d, initial_n, seq_b, seq_l,
    T: tl.constexpr, N: tl.constexpr, DT: tl.constexpr, SAVE: tl.constexpr,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    ZOH: tl.constexpr, CONST_B: tl.constexpr, CONST_C: tl.constexpr, INITIAL: tl.constexpr,
    RESET: tl.constexpr, PACKED: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """One row, one tile of DT channels. Complex arrays are pairs of reals in memory; strides count reals."""
    compute: tl.constexpr = A.dtype.element_ty
    tile, row, segment, d0, left = locate(tiles, rows, tiles_per_cell, cell, DT)
    origin, batch, steps, first = time_span(cu_seqlens, row, segment, length, SEGMENT, PACKED)
    j = tl.arange(0, DT)
    i = tl.arange(0, N)
    t = tl.arange(0, T)
    wide = d0.to(tl.int64) + j
    live = j < left
    both = (i < n)[:, None] & live[None, :]
    padded = (i < n)[None, :]
    at = (origin + first).to(tl.int64) + t
    user_at = (wide[None, :] * n + i[:, None]) * 2
    state_at = (i[:, None] * dim + (d0 + j)[None, :]) * 2

    # A state of the padding decays: held, its input is about 1 / A times B u, and never overflows.
    Ar = tl.load(A + user_at, mask=both, other=-1.0)
    Ai = tl.load(A + user_at + 1, mask=both, other=0.0)
    hr = tl.zeros((N, DT), compute)
    hi = tl.zeros((N, DT), compute)
    if INITIAL:
        initial += (
            row.to(tl.int64) * initial_b + wide[None, :] * initial_d + i.to(tl.int64)[:, None] * initial_n
        )
        hr += tl.load(initial, mask=both, other=0.0)
        hi += tl.load(initial + 1, mask=both, other=0.0)
    u += batch * u_b + wide[None, :] * u_d + at[:, None] * u_l
    delta += batch * delta_b + wide[None, :] * delta_d + at[:, None] * delta_l
    if HAS_Z:
        z += batch * z_b + wide[None, :] * z_d + at[:, None] * z_l
    y += batch * y_b + wide[None, :] * y_d + at[:, None] * y_l
    if CONST_B:
        Br = tl.load(B + user_at, mask=both, other=0.0)[None, :, :]
        Bi = tl.load(B + user_at + 1, mask=both, other=0.0)[None, :, :]
    else:
        B += (
            batch * B_b + (d0 // per_B).to(tl.int64) * B_g + at[:, None] * B_l + i.to(tl.int64)[None, :] * B_n
        )
    if CONST_C:
        Cr = tl.load(C + user_at, mask=both, other=0.0)[None, :, :]
        Ci = tl.load(C + user_at + 1, mask=both, other=0.0)[None, :, :]
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
    start = (t == 0)[:, None, None]
    end = (t == T - 1)[:, None, None]

    for now in range(0, steps, T):
        if SAVE and (now % SAVE) == 0:
            block = row * blocks
            if PACKED:
                block = origin // SAVE + row
            slot = saved + (block + now // SAVE).to(tl.int64) * n * dim * 2 + state_at
            tl.store(slot, hr, mask=both)
            tl.store(slot + 1, hi, mask=both)
        inside = (now + t < steps)[:, None]
        valid = inside & live[None, :]
        u_t = tl.load(u, mask=valid, other=0.0).to(compute)
        s = step_size(tl.load(delta, mask=valid, other=0.0).to(compute), shift[None, :], valid, SOFTPLUS)
        if not CONST_B:
            Br = tl.load(B, mask=inside & padded, other=0.0)[:, :, None]
            Bi = tl.load(B + 1, mask=inside & padded, other=0.0)[:, :, None]
            B += leap(T, B_l)
        if not CONST_C:
            Cr = tl.load(C, mask=inside & padded, other=0.0)[:, :, None]
            Ci = tl.load(C + 1, mask=inside & padded, other=0.0)[:, :, None]
            C += leap(T, C_l)
        pr = s[:, None, :] * Ar[None, :, :]
        pi = s[:, None, :] * Ai[None, :, :]
        ar, ai = exponential(pr, pi)
        wr, wi = weigh(s[:, None, :], pr, pi, ar, ai, ZOH)
        xr, xi = times(wr, wi, u_t[:, None, :] * Br, u_t[:, None, :] * Bi)
        f = tl.zeros((T, N, DT), tl.int1)
        if RESET:
            f = tl.broadcast_to(
                resets(seq_idx + batch * seq_b, now + t, steps, seq_l)[:, None, None], (T, N, DT)
            )
        pastr, pasti = times(ar, ai, hr[None, :, :], hi[None, :, :])
        xr = tl.where(start & (f == 0), pastr + xr, xr)
        xi = tl.where(start & (f == 0), pasti + xi, xi)
        pr, pi, hsr, hsi, gr, gi, cuts = tl.associative_scan((ar, ai, xr, xi, xr, xi, f), 0, compose)
        hr = tl.sum(tl.where(end, hsr, 0.0), 0)
        hi = tl.sum(tl.where(end, hsi, 0.0), 0)
        v = 2.0 * tl.sum(hsr * Cr - hsi * Ci, 1) + skip[None, :] * u_t
        if HAS_Z:
            v *= silu(tl.load(z, mask=valid, other=0.0).to(compute))
            z += leap(T, z_l)
        tl.store(y, v.to(y.dtype.element_ty), mask=valid)
        u += leap(T, u_l)
        delta += leap(T, delta_l)
        y += leap(T, y_l)

    if LAST:
        to = last + row.to(tl.int64) * dim * n * 2 + user_at
        tl.store(to, hr, mask=both)
        tl.store(to + 1, hi, mask=both)
