"""The backward pass: states again from saved ones, the adjoint recurrence in reversed time, gradients.

λ_t = c_t + a_{t+1} λ_{t+1} with c_t = q_t C_t, q = dy silu(z); then dC = Σ_d q h, dB = Σ_d Δ u λ,
du = D q + Δ Σ_n λ B, dΔ = u Σ_n λ B + Σ_n A λ a h⁻, dA = Σ_t Δ λ a h⁻, h⁻ the state one step before.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._math import (
    LN_2,
    LOG2_E,
    compose,
    compose_adjoint,
    compose_adjoint_reset,
    compose_reset,
    exp,
    held_slope,
    sigmoid,
)
from ssm_triton._reduce import add_to, at_channel, at_state, over_channels, over_states
from ssm_triton._tiles import input_weight, leap, place, resets, silu, step_size, time_span


@triton.jit
def carried_back(message, decay, messages, row, segment, segments, size, offsets, mask):
    """The message into a segment's end: m ← P m + m′ over the segments after it, last first."""
    m = message
    for k in range(segment + 1, segments):
        base = (row * segments + segments + segment - k).to(tl.int64) * size
        p = tl.load(decay + base + offsets, mask=mask, other=0.0)
        own = tl.load(messages + base + offsets, mask=mask, other=0.0)
        m = tl.where(p < 0.0, own, p * m + own)
    return m


@triton.jit
def states(s, weight, u, B, a, h, f, RESET: tl.constexpr, T: tl.constexpr):
    """h_t and a_t h_{t−1} over one tile of time, from the state before it."""
    x = weight * at_state(u) * B
    start = (tl.arange(0, T) == 0)[:, None, None, None, None, None]
    if RESET:
        past = tl.where(start & (f == 0), a * h[None], 0.0)
        unused, hs, g, cut = tl.associative_scan((a, past + x, past, f), 0, compose_reset)
    else:
        past = tl.where(start, a * h[None], -0.0)
        unused, hs, g = tl.associative_scan((a, past + x, past), 0, compose)
    return hs, g


@triton.jit
def backward_tile(
    k, slice_, slices,
    u, delta, A, B, C, D, z, bias, seq_idx, cu_seqlens, saved, scratch, decay, messages, dy, dlast,
    du, ddelta, dz, dB, dC, dA, dD, dbias, dinitial,
    length, dim, n, per_B, per_C, tiles, rows, batches, tiles_per_cell, cell,
    segments, SEGMENT, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    z_b, z_d, z_l, dy_b, dy_d, dy_l,
    du_b, du_d, du_l, ddelta_b, ddelta_d, ddelta_l, dz_b, dz_d, dz_l,
    dlast_b, dlast_d, dlast_n, seq_b, seq_l,
    T: tl.constexpr, K: tl.constexpr, R: tl.constexpr, W: tl.constexpr, M: tl.constexpr, L: tl.constexpr,
    SAVE: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SOFTPLUS: tl.constexpr, ZOH: tl.constexpr, CONST_B: tl.constexpr, CONST_C: tl.constexpr,
    INITIAL: tl.constexpr, RESET: tl.constexpr, PACKED: tl.constexpr, SPLIT: tl.constexpr,
    LAST: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    """One row, one tile of R·W·L channels, one segment of time, from its end to its start.

    The tile is (T, K, R, W, M, L): channel (R, W, L), state (K, M). T, K and R lie in a thread's
    registers, W across warps, M and L across the lanes of one.
    """
    compute: tl.constexpr = A.dtype.element_ty
    DT: tl.constexpr = R * W * L
    N: tl.constexpr = K * M
    row = (tl.program_id(0) // slices) % rows
    segment = tl.program_id(0) // slices // rows
    d0, left = place(slice_ * EACH + k, tiles_per_cell, cell, DT)
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
    state_at = state * dim + channel[None, :, :, None, :]
    user_at = channel[None, :, :, None, :] * n + state

    # A state of the padding decays: held, its input is about 1 / A times B u, and never overflows.
    a2 = tl.load(A + user_at, mask=both, other=-1.0) * LOG2_E
    if CONST_B:
        B_t = tl.load(B + user_at, mask=both, other=0.0)[None]
        acc_B = tl.zeros((K, R, W, M, L), compute)
    if CONST_C:
        C_t = tl.load(C + user_at, mask=both, other=0.0)[None]
        acc_C = tl.zeros((K, R, W, M, L), compute)
    skip = tl.zeros((R, W, L), compute)
    if HAS_D:
        skip = tl.load(D + channel, mask=live, other=0.0)
    shift = tl.zeros((R, W, L), compute)
    if HAS_BIAS:
        shift = tl.load(bias + channel, mask=live, other=0.0)

    m = tl.zeros((K, R, W, M, L), compute)
    if LAST:
        m += tl.load(
            dlast + row.to(tl.int64) * dlast_b + channel[None, :, :, None, :] * dlast_d
            + state.to(tl.int64) * dlast_n, mask=both, other=0.0,
        ).to(compute)  # fmt: skip
    if SPLIT:
        m = carried_back(m, decay, messages, row, segment, segments, n * dim, state_at, both)

    stop = tl.minimum(first + SEGMENT, steps)
    count = tl.maximum(tl.cdiv(stop - first, T), 0)
    at = (origin + first + (count - 1) * T).to(tl.int64) + t
    at4 = at[:, None, None, None]
    u += batch * u_b + channel[None] * u_d + at4 * u_l
    delta += batch * delta_b + channel[None] * delta_d + at4 * delta_l
    dy += batch * dy_b + channel[None] * dy_d + at4 * dy_l
    du += batch * du_b + channel[None] * du_d + at4 * du_l
    ddelta += batch * ddelta_b + channel[None] * ddelta_d + at4 * ddelta_l
    if HAS_Z:
        z += batch * z_b + channel[None] * z_d + at4 * z_l
        dz += batch * dz_b + channel[None] * dz_d + at4 * dz_l
    at3 = at[:, None, None]
    row_at = at3 * N + i[None]
    padded = (i < n)[None]
    if not CONST_B:
        B += batch * B_b + (d0 // per_B).to(tl.int64) * B_g + at3 * B_l + i.to(tl.int64)[None] * B_n
        dB += (slice_.to(tl.int64) * batches + batch) * length * N + row_at
    if not CONST_C:
        C += batch * C_b + (d0 // per_C).to(tl.int64) * C_g + at3 * C_l + i.to(tl.int64)[None] * C_n
        dC += (slice_.to(tl.int64) * batches + batch) * length * N + row_at
    base = row * blocks
    if PACKED:
        base = origin // SAVE + row
    program = (tl.program_id(0).to(tl.int64) * (SAVE // T)) * (N * DT)
    scratch += program + (state * DT + j[None, :, :, None, :])

    acc_A = tl.zeros((K, R, W, M, L), compute)
    acc_D = tl.zeros((T, R, W, L), compute)
    acc_bias = tl.zeros((T, R, W, L), compute)
    now = first + (count - 1) * T

    # One tile ahead, already wide: the loads overlap the arithmetic, and the compiler keeps
    # softplus and silu in the layout of the load, where no lane repeats another's work.
    inside = (now + t < steps) & (now + t >= first)
    valid = inside[:, None, None, None] & live[None]
    u_next = tl.load(u, mask=valid, other=0.0).to(compute)
    x_next = tl.load(delta, mask=valid, other=0.0).to(compute)
    r_next = tl.load(dy, mask=valid, other=0.0).to(compute)
    if HAS_Z:
        z_next = tl.load(z, mask=valid, other=0.0).to(compute)
    if not CONST_B:
        B_next = tl.load(B, mask=inside[:, None, None] & padded, other=0.0).to(compute)
    if not CONST_C:
        C_next = tl.load(C, mask=inside[:, None, None] & padded, other=0.0).to(compute)
    for _ in range(count):
        inside = now + t < steps
        valid = inside[:, None, None, None] & live[None]
        inside3 = inside[:, None, None]
        more = (now + 0 * t > first)[:, None, None]
        earlier = more[:, :, :, None] & live[None]

        # The state before this tile: saved, or swept from the last saved one.
        begin = now - now % SAVE
        slot = saved + (base + now // SAVE).to(tl.int64) * n * dim + state_at
        if SAVE == T:
            h = tl.load(slot, mask=both, other=0.0)
        elif (now + T >= stop) | ((now + T) % SAVE == 0):
            h = tl.load(slot, mask=both, other=0.0)
            back = (begin - now).to(tl.int64)
            some = (begin + 0 * t < now)[:, None, None, None] & live[None]
            u_ahead = tl.load(u + back * u_l, mask=some, other=0.0).to(compute)
            x_ahead = tl.load(delta + back * delta_l, mask=some, other=0.0).to(compute)
            if not CONST_B:
                wanted_B = (begin + 0 * t < now)[:, None, None] & padded
                B_ahead = tl.load(B + back * B_l, mask=wanted_B, other=0.0).to(compute)
            for past in range(begin, now, T):
                tl.store(scratch + ((past - begin) // T) * (N * DT), h)
                u_p = u_ahead
                s = step_size(x_ahead, shift[None], live[None], SOFTPLUS)
                if CONST_B:
                    B_p = B_t
                else:
                    B_p = at_channel(B_ahead)
                back += T
                again = past + T + 0 * t < now
                wanted = again[:, None, None, None] & live[None]
                u_ahead = tl.load(u + back * u_l, mask=wanted, other=0.0).to(compute)
                x_ahead = tl.load(delta + back * delta_l, mask=wanted, other=0.0).to(compute)
                if not CONST_B:
                    again_B = again[:, None, None] & padded
                    B_ahead = tl.load(B + back * B_l, mask=again_B, other=0.0).to(compute)
                a = tl.exp2(at_state(s) * a2[None])
                weight = input_weight(at_state(s), a2[None], a, ZOH)
                f = early
                if RESET:
                    f = resets(seq_idx + batch * seq_b, past + t, steps, seq_l)
                    f = tl.broadcast_to(f[:, None, None, None, None, None], (T, K, R, W, M, L))
                hs, unused = states(s, weight, u_p, B_p, a, h, f, RESET, T)
                h = tl.sum(tl.where(late, hs, 0.0), 0)
            tl.debug_barrier()
        else:
            h = tl.load(scratch + ((now - begin) // T) * (N * DT))

        u_t = u_next
        x_t = x_next + shift[None]
        r_t = r_next
        q = r_t
        u -= leap(T, u_l)
        delta -= leap(T, delta_l)
        dy -= leap(T, dy_l)
        u_next = tl.load(u, mask=earlier, other=0.0).to(compute)
        x_next = tl.load(delta, mask=earlier, other=0.0).to(compute)
        r_next = tl.load(dy, mask=earlier, other=0.0).to(compute)
        if HAS_Z:
            z_t = z_next
            z -= leap(T, z_l)
            z_next = tl.load(z, mask=earlier, other=0.0).to(compute)
            q = r_t * silu(z_t)
        if not CONST_B:
            B_t = at_channel(B_next)
            B -= leap(T, B_l)
            B_next = tl.load(B, mask=more & padded, other=0.0).to(compute)
        if not CONST_C:
            C_t = at_channel(C_next)
            C -= leap(T, C_l)
            C_next = tl.load(C, mask=more & padded, other=0.0).to(compute)

        s = step_size(x_t, 0.0, valid, SOFTPLUS)
        a = tl.exp2(at_state(s) * a2[None])
        weight = input_weight(at_state(s), a2[None], a, ZOH)
        f = early
        if RESET:
            f = resets(seq_idx + batch * seq_b, now + t, steps, seq_l)
            f = tl.broadcast_to(f[:, None, None, None, None, None], (T, K, R, W, M, L))
        hs, g = states(s, weight, u_t, B_t, a, h, f, RESET, T)
        if HAS_Z:
            v = over_states(hs * C_t) + skip[None] * u_t
            gate = sigmoid(z_t)
            tl.store(dz, (r_t * v * (gate * (1.0 + z_t * (1.0 - gate)))).to(dz.dtype.element_ty), mask=valid)
        by_C = at_state(q) * hs
        if CONST_C:
            acc_C += tl.sum(by_C, 0)
        else:
            add_to(dC, over_channels(by_C, T, K, R, W, M, L), inside3, k, EACH)
            dC -= T * N

        c = at_state(q) * C_t
        lam = tl.where(late, c + m[None], c)
        # The scan of reversed time, as a scan of flipped tiles: T lies in registers, so that a flip
        # is a renaming, where the compiler's own reverse scan shuffles every value twice.
        a_r = tl.flip(a, 0)
        lam_r = tl.flip(lam, 0)
        one = tl.full((T, K, R, W, M, L), 1.0, compute)
        if RESET:
            f_r = tl.flip(f.to(tl.int32), 0) != 0
            none = tl.zeros((T, K, R, W, M, L), tl.int1)
            m_r = tl.where(f_r, 0.0, a_r * lam_r)
            product, ms, short, lam_r, cut, before = tl.associative_scan(
                (a_r, m_r, one, lam_r, f_r, none), 0, compose_adjoint_reset
            )
        else:
            product, ms, short, lam_r = tl.associative_scan(
                (a_r, a_r * lam_r, one, lam_r), 0, compose_adjoint
            )
        lam = tl.flip(lam_r, 0)
        m = tl.sum(tl.where(late, ms, 0.0), 0)

        e = lam * g
        through_A = over_states(a2[None] * e) * LN_2
        if ZOH:
            p = at_state(s) * a2[None] * LN_2
            through_u = over_states(lam * B_t * weight)
            ds = u_t * over_states(lam * B_t * a) + through_A
            slope, each = held_slope(at_state(s), p, a)
            acc_A += tl.sum(at_state(s) * e + lam * B_t * at_state(u_t) * each * slope, 0)
        else:
            through_b = over_states(lam * B_t)
            through_u = s * through_b
            ds = u_t * through_b + through_A
            acc_A += tl.sum(at_state(s) * e, 0)
        if SOFTPLUS:
            w = exp(-tl.abs(x_t))
            ds *= tl.where(x_t >= 0.0, 1.0, w) / (1.0 + w)
        ds = tl.where(valid, ds, 0.0)
        tl.store(du, (skip[None] * q + through_u).to(du.dtype.element_ty), mask=valid)
        tl.store(ddelta, ds.to(ddelta.dtype.element_ty), mask=valid)
        acc_D += q * u_t
        acc_bias += ds

        if ZOH:
            by_B = weight * at_state(u_t) * lam
        else:
            by_B = at_state(s * u_t) * lam
        if CONST_B:
            acc_B += tl.sum(by_B, 0)
        else:
            add_to(dB, over_channels(by_B, T, K, R, W, M, L), inside3, k, EACH)
            dB -= T * N
        du -= leap(T, du_l)
        ddelta -= leap(T, ddelta_l)
        if HAS_Z:
            dz -= leap(T, dz_l)
        now -= T

    part = (row * segments + segment).to(tl.int64)
    tl.store(dA + part * n * dim + state_at, acc_A, mask=both)
    if CONST_B:
        tl.store(dB + part * n * dim + state_at, acc_B, mask=both)
    if CONST_C:
        tl.store(dC + part * n * dim + state_at, acc_C, mask=both)
    if HAS_D:
        tl.store(dD + part * dim + channel, tl.sum(acc_D, 0), mask=live)
    if HAS_BIAS:
        tl.store(dbias + part * dim + channel, tl.sum(acc_bias, 0), mask=live)
    if INITIAL and segment == 0:
        tl.store(dinitial + row.to(tl.int64) * n * dim + user_at, m, mask=both)


@triton.jit
def backward(
    u, delta, A, B, C, D, z, bias, seq_idx, cu_seqlens, saved, scratch, decay, messages, dy, dlast,
    du, ddelta, dz, dB, dC, dA, dD, dbias, dinitial,
    length, dim, n, per_B, per_C, tiles, rows, batches, tiles_per_cell, cell,
    segments, SEGMENT, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    z_b, z_d, z_l, dy_b, dy_d, dy_l,
    du_b, du_d, du_l, ddelta_b, ddelta_d, ddelta_l, dz_b, dz_d, dz_l,
    dlast_b, dlast_d, dlast_n, seq_b, seq_l,
    T: tl.constexpr, K: tl.constexpr, R: tl.constexpr, W: tl.constexpr, M: tl.constexpr, L: tl.constexpr,
    SAVE: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SOFTPLUS: tl.constexpr, ZOH: tl.constexpr, CONST_B: tl.constexpr, CONST_C: tl.constexpr,
    INITIAL: tl.constexpr, RESET: tl.constexpr, PACKED: tl.constexpr, SPLIT: tl.constexpr,
    LAST: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    """EACH tiles of channels of one row and one segment, one after the other.

    They share one slice of dB and dC, in a fixed order: the slices are few, whatever d.
    """
    slices = tiles // EACH
    slice_ = tl.program_id(0) % slices
    for k in range(EACH):
        backward_tile(
            k, slice_, slices,
            u, delta, A, B, C, D, z, bias, seq_idx, cu_seqlens, saved, scratch, decay, messages, dy, dlast,
            du, ddelta, dz, dB, dC, dA, dD, dbias, dinitial, length, dim, n, per_B, per_C, tiles, rows,
            batches,
            tiles_per_cell, cell, segments, SEGMENT, blocks, u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b,
            B_g, B_n, B_l, C_b, C_g, C_n, C_l, z_b, z_d, z_l, dy_b, dy_d, dy_l, du_b, du_d, du_l, ddelta_b,
            ddelta_d, ddelta_l, dz_b, dz_d, dz_l, dlast_b, dlast_d, dlast_n, seq_b, seq_l, T, K, R, W, M, L,
            SAVE, HAS_D, HAS_Z, HAS_BIAS, SOFTPLUS, ZOH, CONST_B, CONST_C, INITIAL, RESET, PACKED, SPLIT,
            LAST, EACH,
        )  # fmt: skip
        tl.debug_barrier()
