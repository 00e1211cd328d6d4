"""The adjoint recurrence alone, over each segment of a split time: what it tells the one before it."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._math import LOG2_E, compose_adjoint, compose_adjoint_reset
from ssm_triton._tiles import leap, locate, resets, silu, step_size, time_span


@triton.jit
def messages(
    delta, A, C, z, bias, seq_idx, cu_seqlens, dy, decay, message,
    length, dim, n, per_C, tiles, rows, tiles_per_cell, cell, segments, SEGMENT,
    delta_b, delta_d, delta_l, C_b, C_g, C_n, C_l, z_b, z_d, z_l, dy_b, dy_d, dy_l, seq_b, seq_l,
    T: tl.constexpr, N: tl.constexpr, DT: tl.constexpr,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, CONST_C: tl.constexpr,
    RESET: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """m_t = a_t λ_t at each segment's start, from a zero message into its end, and its product of decays."""
    compute: tl.constexpr = A.dtype.element_ty
    tile, row, segment, d0, left = locate(tiles, rows, tiles_per_cell, cell, DT)
    origin, batch, steps, first = time_span(cu_seqlens, row, segment, length, SEGMENT, PACKED)
    j = tl.arange(0, DT)
    i = tl.arange(0, N)
    t = tl.arange(0, T)
    wide = d0.to(tl.int64) + j
    live = j < left
    both = (i < n)[:, None] & live[None, :]
    a2 = tl.load(A + wide[None, :] * n + i[:, None], mask=both, other=0.0) * LOG2_E
    shift = tl.zeros((DT,), compute)
    if HAS_BIAS:
        shift = tl.load(bias + wide, mask=live, other=0.0)
    count = tl.maximum(tl.cdiv(tl.minimum(first + SEGMENT, steps) - first, T), 0)
    now = first + (count - 1) * T
    at = (origin + now).to(tl.int64) + t
    delta += batch * delta_b + wide[None, :] * delta_d + at[:, None] * delta_l
    dy += batch * dy_b + wide[None, :] * dy_d + at[:, None] * dy_l
    if HAS_Z:
        z += batch * z_b + wide[None, :] * z_d + at[:, None] * z_l
    if CONST_C:
        C_t = tl.load(C + wide[None, :] * n + i[:, None], mask=both, other=0.0)[None, :, :]
    else:
        C += (
            batch * C_b + (d0 // per_C).to(tl.int64) * C_g + at[:, None] * C_l + i.to(tl.int64)[None, :] * C_n
        )

    late = (t == T - 1)[:, None, None]
    one = tl.full((T, N, DT), 1.0, compute)
    m = tl.zeros((N, DT), compute)
    product = tl.full((N, DT), 1.0, compute)
    cut = tl.zeros((), tl.int1)
    for _ in range(count):
        inside = (now + t < steps)[:, None]
        valid = inside & live[None, :]
        q = tl.load(dy, mask=valid, other=0.0).to(compute)
        if HAS_Z:
            q *= silu(tl.load(z, mask=valid, other=0.0).to(compute))
            z -= leap(T, z_l)
        s = step_size(tl.load(delta, mask=valid, other=0.0).to(compute), shift[None, :], valid, SOFTPLUS)
        if not CONST_C:
            C_t = tl.load(C, mask=inside & (i < n)[None, :], other=0.0).to(compute)[:, :, None]
            C -= leap(T, C_l)
        a = tl.exp2(s[:, None, :] * a2[None, :, :])
        c = q[:, None, :] * C_t
        a = tl.flip(a, 0)
        lam = tl.flip(tl.where(late, c + m[None, :, :], c), 0)
        if RESET:
            f = resets(seq_idx + batch * seq_b, now + t, steps, seq_l)
            cut = cut | (tl.max(f.to(tl.int32), 0) > 0)
            f = tl.broadcast_to(f[:, None, None], (T, N, DT))
            none = tl.zeros((T, N, DT), tl.int1)
            f = tl.flip(f.to(tl.int32), 0) != 0
            p, ms, short, lams, cuts, before = tl.associative_scan(
                (a, tl.where(f, 0.0, a * lam), one, lam, f, none), 0, compose_adjoint_reset
            )
        else:
            p, ms, short, lams = tl.associative_scan((a, a * lam, one, lam), 0, compose_adjoint)
        m = tl.sum(tl.where(late, ms, 0.0), 0)
        product *= tl.sum(tl.where(late, p, 0.0), 0)
        delta -= leap(T, delta_l)
        dy -= leap(T, dy_l)
        now -= T
    at_state = (row * segments + segment).to(tl.int64) * n * dim + i[:, None] * dim + (d0 + j)[None, :]
    tl.store(decay + at_state, tl.where(cut, -1.0, product), mask=both)
    tl.store(message + at_state, m, mask=both)
