"""The backward pass with complex A, in PyTorch's convention: a gradient is ∂L/∂Re + i ∂L/∂Im.

λ_t = 2 q_t conj(C_t) + conj(a_{t+1}) λ_{t+1}; dC = 2 Σ_d q conj(h), dB = Σ_d Δ u λ,
dΔ = u Re Σ_n λ conj(B) + Re Σ_n conj(A) e and dA = Σ_t Δ e, with e = λ conj(a h⁻).
The plan is the real kernel's.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._complex import compose, compose_adjoint, exponential, held_slope, times, weigh
from ssm_triton._math import exp, sigmoid
from ssm_triton._reduce import at_channel, at_state, over_channels, over_states
from ssm_triton._tiles import leap, locate, resets, silu, step_size, time_span


@triton.jit
def states(wr, wi, u, Br, Bi, ar, ai, hr, hi, f, start):
    """h_t and a_t h_{t−1} over one tile of time, from the state before it."""
    xr, xi = times(wr, wi, at_state(u) * Br, at_state(u) * Bi)
    pr, pi = times(ar, ai, hr[None], hi[None])
    pr = tl.where(start & (f == 0), pr, 0.0)
    pi = tl.where(start & (f == 0), pi, 0.0)
    pr, pi, hsr, hsi, gr, gi, cut = tl.associative_scan((ar, ai, pr + xr, pi + xi, pr, pi, f), 0, compose)
    return hsr, hsi, gr, gi


@triton.jit
def backward_complex(
    u, delta, A, B, C, D, z, bias, seq_idx, cu_seqlens, saved, scratch, dy, dlast,
    du, ddelta, dz, dB, dC, dA, dD, dbias, dinitial,
    length, dim, n, per_B, per_C, tiles, rows, batches, tiles_per_cell, cell, SEGMENT, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l, z_b, z_d, z_l,
    dy_b, dy_d, dy_l, du_b, du_d, du_l, ddelta_b, ddelta_d, ddelta_l, dz_b, dz_d, dz_l,
    dlast_b, dlast_d, dlast_n, seq_b, seq_l,
    T: tl.constexpr, K: tl.constexpr, R: tl.constexpr, W: tl.constexpr, M: tl.constexpr, L: tl.constexpr,
    SAVE: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SOFTPLUS: tl.constexpr, ZOH: tl.constexpr, CONST_B: tl.constexpr, CONST_C: tl.constexpr,
    INITIAL: tl.constexpr, RESET: tl.constexpr, PACKED: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """One row and one tile of R·W·L channels, from the end of time to its start."""
    compute: tl.constexpr = A.dtype.element_ty
    DT: tl.constexpr = R * W * L
    N: tl.constexpr = K * M
    tile, row, segment, d0, left = locate(tiles, rows, tiles_per_cell, cell, DT)
    origin, batch, steps, first = time_span(cu_seqlens, row, segment, length, SEGMENT, PACKED)
    j = (
        tl.arange(0, R)[:, None, None] * (W * L)
        + tl.arange(0, W)[None, :, None] * L
        + tl.arange(0, L)[None, None, :]
    )
    i = tl.arange(0, K)[:, None] * M + tl.arange(0, M)[None, :]
    t = tl.arange(0, T)
    late = (t == T - 1)[:, None, None, None, None, None]
    early = (t == 0)[:, None, None, None, None, None]
    channel = d0.to(tl.int64) + j
    live = j < left
    state = i[:, None, None, :, None]
    both = (state < n) & live[None, :, :, None, :]
    padded = (i < n)[None]
    state_at = (state * dim + channel[None, :, :, None, :]) * 2
    user_at = (channel[None, :, :, None, :] * n + state) * 2

    # A state of the padding decays: held, its input is about 1 / A times B u, and never overflows.
    Ar = tl.load(A + user_at, mask=both, other=-1.0)
    Ai = tl.load(A + user_at + 1, mask=both, other=0.0)
    if CONST_B:
        Br = tl.load(B + user_at, mask=both, other=0.0)[None]
        Bi = tl.load(B + user_at + 1, mask=both, other=0.0)[None]
        acc_Br = tl.zeros((K, R, W, M, L), compute)
        acc_Bi = tl.zeros((K, R, W, M, L), compute)
    if CONST_C:
        Cr = tl.load(C + user_at, mask=both, other=0.0)[None]
        Ci = tl.load(C + user_at + 1, mask=both, other=0.0)[None]
        acc_Cr = tl.zeros((K, R, W, M, L), compute)
        acc_Ci = tl.zeros((K, R, W, M, L), compute)
    skip = tl.zeros((R, W, L), compute)
    if HAS_D:
        skip = tl.load(D + channel, mask=live, other=0.0)
    shift = tl.zeros((R, W, L), compute)
    if HAS_BIAS:
        shift = tl.load(bias + channel, mask=live, other=0.0)
    mr = tl.zeros((K, R, W, M, L), compute)
    mi = tl.zeros((K, R, W, M, L), compute)
    if LAST:
        dlast += (
            row.to(tl.int64) * dlast_b + channel[None, :, :, None, :] * dlast_d + state.to(tl.int64) * dlast_n
        )
        mr += tl.load(dlast, mask=both, other=0.0)
        mi += tl.load(dlast + 1, mask=both, other=0.0)

    count = tl.cdiv(steps, T)
    at = (origin + (count - 1) * T).to(tl.int64) + t
    at4 = at[:, None, None, None]
    at3 = at[:, None, None]
    u += batch * u_b + channel[None] * u_d + at4 * u_l
    delta += batch * delta_b + channel[None] * delta_d + at4 * delta_l
    dy += batch * dy_b + channel[None] * dy_d + at4 * dy_l
    du += batch * du_b + channel[None] * du_d + at4 * du_l
    ddelta += batch * ddelta_b + channel[None] * ddelta_d + at4 * ddelta_l
    if HAS_Z:
        z += batch * z_b + channel[None] * z_d + at4 * z_l
        dz += batch * dz_b + channel[None] * dz_d + at4 * dz_l
    row_at = (tile.to(tl.int64) * batches + batch) * length * N + at3 * N + i[None]
    if not CONST_B:
        B += batch * B_b + (d0 // per_B).to(tl.int64) * B_g + at3 * B_l + i.to(tl.int64)[None] * B_n
        dB += row_at * 2
    if not CONST_C:
        C += batch * C_b + (d0 // per_C).to(tl.int64) * C_g + at3 * C_l + i.to(tl.int64)[None] * C_n
        dC += row_at * 2
    base = row * blocks
    if PACKED:
        base = origin // SAVE + row
    program = (tl.program_id(0).to(tl.int64) * (SAVE // T)) * (N * DT * 2)
    scratch += program + (state * DT + j[None, :, :, None, :]) * 2

    acc_Ar = tl.zeros((K, R, W, M, L), compute)
    acc_Ai = tl.zeros((K, R, W, M, L), compute)
    acc_D = tl.zeros((T, R, W, L), compute)
    acc_bias = tl.zeros((T, R, W, L), compute)
    one = tl.full((T, K, R, W, M, L), 1.0, compute)
    zero = tl.zeros((T, K, R, W, M, L), compute)
    none = tl.zeros((T, K, R, W, M, L), tl.int1)
    now = (count - 1) * T
    for _ in range(count):
        inside = now + t < steps
        valid = inside[:, None, None, None] & live[None]
        inside3 = inside[:, None, None]

        # The state before this tile: swept from the last saved one at the end of a block, else kept.
        begin = now - now % SAVE
        slot = saved + (base + now // SAVE).to(tl.int64) * n * dim * 2 + state_at
        if (now + T >= steps) | ((now + T) % SAVE == 0):
            hr = tl.load(slot, mask=both, other=0.0)
            hi = tl.load(slot + 1, mask=both, other=0.0)
            for past in range(begin, now, T):
                kept = scratch + ((past - begin) // T) * (N * DT * 2)
                tl.store(kept, hr)
                tl.store(kept + 1, hi)
                back = (past - now).to(tl.int64)
                u_p = tl.load(u + back * u_l, mask=live[None], other=0.0).to(compute)
                delta_p = tl.load(delta + back * delta_l, mask=live[None], other=0.0).to(compute)
                if CONST_B:
                    Bpr = Br
                    Bpi = Bi
                else:
                    Bpr = at_channel(tl.load(B + back * B_l, mask=padded, other=0.0))
                    Bpi = at_channel(tl.load(B + back * B_l + 1, mask=padded, other=0.0))
                s = step_size(delta_p, shift[None], live[None], SOFTPLUS)
                pr = at_state(s) * Ar[None]
                pi = at_state(s) * Ai[None]
                ar, ai = exponential(pr, pi)
                wr, wi = weigh(at_state(s), pr, pi, ar, ai, ZOH)
                f = none
                if RESET:
                    f = resets(seq_idx + batch * seq_b, past + t, steps, seq_l)
                    f = tl.broadcast_to(f[:, None, None, None, None, None], (T, K, R, W, M, L))
                hsr, hsi, gr, gi = states(wr, wi, u_p, Bpr, Bpi, ar, ai, hr, hi, f, early)
                hr = tl.sum(tl.where(late, hsr, 0.0), 0)
                hi = tl.sum(tl.where(late, hsi, 0.0), 0)
            tl.debug_barrier()
        else:
            kept = scratch + ((now - begin) // T) * (N * DT * 2)
            hr = tl.load(kept)
            hi = tl.load(kept + 1)

        u_t = tl.load(u, mask=valid, other=0.0).to(compute)
        x_t = tl.load(delta, mask=valid, other=0.0).to(compute) + shift[None]
        r_t = tl.load(dy, mask=valid, other=0.0).to(compute)
        q = r_t
        if HAS_Z:
            z_t = tl.load(z, mask=valid, other=0.0).to(compute)
            q = r_t * silu(z_t)
        if not CONST_B:
            Br = at_channel(tl.load(B, mask=inside3 & padded, other=0.0))
            Bi = at_channel(tl.load(B + 1, mask=inside3 & padded, other=0.0))
        if not CONST_C:
            Cr = at_channel(tl.load(C, mask=inside3 & padded, other=0.0))
            Ci = at_channel(tl.load(C + 1, mask=inside3 & padded, other=0.0))
        s = step_size(x_t, 0.0, valid, SOFTPLUS)
        pr = at_state(s) * Ar[None]
        pi = at_state(s) * Ai[None]
        ar, ai = exponential(pr, pi)
        wr, wi = weigh(at_state(s), pr, pi, ar, ai, ZOH)
        f = none
        if RESET:
            f = resets(seq_idx + batch * seq_b, now + t, steps, seq_l)
            f = tl.broadcast_to(f[:, None, None, None, None, None], (T, K, R, W, M, L))
        hsr, hsi, gr, gi = states(wr, wi, u_t, Br, Bi, ar, ai, hr, hi, f, early)
        if HAS_Z:
            v = 2.0 * over_states(hsr * Cr - hsi * Ci) + skip[None] * u_t
            gate = sigmoid(z_t)
            tl.store(dz, (r_t * v * (gate * (1.0 + z_t * (1.0 - gate)))).to(dz.dtype.element_ty), mask=valid)
            z -= leap(T, z_l)
            dz -= leap(T, dz_l)
        q2 = 2.0 * at_state(q)
        if CONST_C:
            acc_Cr += tl.sum(q2 * hsr, 0)
            acc_Ci -= tl.sum(q2 * hsi, 0)
        else:
            tl.store(dC, over_channels(q2 * hsr, T, K, R, W, M, L), mask=inside3)
            tl.store(dC + 1, -over_channels(q2 * hsi, T, K, R, W, M, L), mask=inside3)
            C -= leap(T, C_l)
            dC -= T * N * 2

        lr = tl.where(late, q2 * Cr + mr[None], q2 * Cr)
        li = tl.where(late, mi[None] - q2 * Ci, -q2 * Ci)
        ar_r = tl.flip(ar, 0)
        ai_r = -tl.flip(ai, 0)
        lr = tl.flip(lr, 0)
        li = tl.flip(li, 0)
        f_r = f
        if RESET:
            f_r = tl.flip(f.to(tl.int32), 0) != 0
        mr_t, mi_t = times(ar_r, ai_r, lr, li)
        mr_t = tl.where(f_r, 0.0, mr_t)
        mi_t = tl.where(f_r, 0.0, mi_t)
        pr_r, pi_r, mr_t, mi_t, kr, ki, lr, li, cut, before = tl.associative_scan(
            (ar_r, ai_r, mr_t, mi_t, one, zero, lr, li, f_r, none), 0, compose_adjoint
        )
        lr = tl.flip(lr, 0)
        li = tl.flip(li, 0)
        mr = tl.sum(tl.where(late, mr_t, 0.0), 0)
        mi = tl.sum(tl.where(late, mi_t, 0.0), 0)

        er, ei = times(lr, li, gr, -gi)
        through_A = over_states(Ar[None] * er + Ai[None] * ei)
        br, bi = times(lr, li, Br, -Bi)
        acc_Ar += tl.sum(at_state(s) * er, 0)
        acc_Ai += tl.sum(at_state(s) * ei, 0)
        if ZOH:
            ds = u_t * over_states(br * ar + bi * ai) + through_A
            through_u = over_states(br * wr + bi * wi)
            sr, si, er, ei = held_slope(at_state(s), pr, pi, ar, ai)
            er, ei = times(at_state(u_t) * br, at_state(u_t) * bi, er, -ei)
            sr, si = times(er, ei, sr, -si)
            acc_Ar += tl.sum(sr, 0)
            acc_Ai += tl.sum(si, 0)
        else:
            through_b = over_states(br)
            ds = u_t * through_b + through_A
            through_u = s * through_b
        if SOFTPLUS:
            w = exp(-tl.abs(x_t))
            ds *= tl.where(x_t >= 0.0, 1.0, w) / (1.0 + w)
        ds = tl.where(valid, ds, 0.0)
        tl.store(du, (skip[None] * q + through_u).to(du.dtype.element_ty), mask=valid)
        tl.store(ddelta, ds.to(ddelta.dtype.element_ty), mask=valid)
        acc_D += q * u_t
        acc_bias += ds

        br, bi = times(at_state(u_t) * wr, -at_state(u_t) * wi, lr, li)
        if CONST_B:
            acc_Br += tl.sum(br, 0)
            acc_Bi += tl.sum(bi, 0)
        else:
            tl.store(dB, over_channels(br, T, K, R, W, M, L), mask=inside3)
            tl.store(dB + 1, over_channels(bi, T, K, R, W, M, L), mask=inside3)
            B -= leap(T, B_l)
            dB -= T * N * 2
        u -= leap(T, u_l)
        delta -= leap(T, delta_l)
        dy -= leap(T, dy_l)
        du -= leap(T, du_l)
        ddelta -= leap(T, ddelta_l)
        now -= T

    part = row.to(tl.int64) * n * dim * 2
    tl.store(dA + part + state_at, acc_Ar, mask=both)
    tl.store(dA + part + state_at + 1, acc_Ai, mask=both)
    if CONST_B:
        tl.store(dB + part + state_at, acc_Br, mask=both)
        tl.store(dB + part + state_at + 1, acc_Bi, mask=both)
    if CONST_C:
        tl.store(dC + part + state_at, acc_Cr, mask=both)
        tl.store(dC + part + state_at + 1, acc_Ci, mask=both)
    if HAS_D:
        tl.store(dD + row.to(tl.int64) * dim + channel, tl.sum(acc_D, 0), mask=live)
    if HAS_BIAS:
        tl.store(dbias + row.to(tl.int64) * dim + channel, tl.sum(acc_bias, 0), mask=live)
    if INITIAL:
        to = dinitial + row.to(tl.int64) * n * dim * 2 + user_at
        tl.store(to, mr, mask=both)
        tl.store(to + 1, mi, mask=both)
