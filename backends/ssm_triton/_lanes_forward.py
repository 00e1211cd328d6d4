"""The forward pass in Gluon: the equations of `_forward`, with every layout named.

For a real A in float32, B and C variable in time, no packing and no ZOH, time in one piece; `_forward` is
its plain twin. A block of 32 steps at a time: Δ and Δu are computed once for each channel and step and
laid in shared memory, the recurrence walks through them in registers, and Σ C h goes back the same way
to where D u and the gate are added.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from ssm_triton._lanes_layouts import (
    BLOCK,
    T,
    projections,
    rows,
    seen_as,
    sigmoid,
    stack_channels,
    states,
    stream,
    streams,
)
from ssm_triton._math import LOG2_E, softplus


@gluon.jit
def forward_lanes(
    u, delta, A, B, C, D, z, bias, initial, y, last, saved,
    length, dim, n, per_B, per_C, tiles, batches, tiles_per_cell, cell, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    z_b, z_d, z_l, y_b, y_d, y_l, initial_b, initial_d, initial_n,
    N: gl.constexpr, K: gl.constexpr, W: gl.constexpr, TIME: gl.constexpr, TIME_B: gl.constexpr,
    HAS_D: gl.constexpr, HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr, SOFTPLUS: gl.constexpr,
    INITIAL: gl.constexpr, LAST: gl.constexpr, SAVE: gl.constexpr,
):  # fmt: skip
    """One row, DT = 32 W K / N channels, from the first step to the last."""
    DT: gl.constexpr = 32 * W * K // N
    PAD: gl.constexpr = 1 if TIME else 4
    PAD_B: gl.constexpr = 4 if TIME_B else 0
    S: gl.constexpr = states(N, K, W)
    SN: gl.constexpr = gl.SliceLayout(1, S)
    SD: gl.constexpr = gl.SliceLayout(0, S)
    E: gl.constexpr = streams(DT, BLOCK, W, TIME)
    ED: gl.constexpr = gl.SliceLayout(0, E)
    P: gl.constexpr = projections(N, W, TIME_B)

    tile = gl.program_id(0) % tiles
    row = gl.program_id(0) // tiles
    inside = (tile % tiles_per_cell) * DT
    d0 = (tile // tiles_per_cell) * cell + inside
    left = cell - inside
    batch = row.to(gl.int64)

    i = gl.arange(0, N, SN)
    j = gl.arange(0, DT, SD)
    both = (i < n)[:, None] & (j < left)[None, :]
    state_at = i[:, None] * dim + (d0 + j)[None, :]
    user_at = (d0 + j).to(gl.int64)[None, :] * n + i[:, None]
    a2 = gl.load(A + user_at, mask=both, other=0.0) * LOG2_E
    h = gl.zeros([N, DT], gl.float32, S)
    if INITIAL:
        first_at = (d0 + j).to(gl.int64)[None, :] * initial_d + i.to(gl.int64)[:, None] * initial_n
        h = gl.load(initial + batch * initial_b + first_at, mask=both, other=0.0)

    t = gl.arange(0, BLOCK, gl.SliceLayout(1, E))
    e = gl.arange(0, DT, ED)
    live = (e < left)[None, :]
    channel = (d0 + e).to(gl.int64)
    skip = gl.zeros([DT], gl.float32, ED)
    if HAS_D:
        skip = gl.load(D + channel, mask=e < left, other=0.0)
    shift = gl.zeros([DT], gl.float32, ED)
    if HAS_BIAS:
        shift = gl.load(bias + channel, mask=e < left, other=0.0)
    u += batch * u_b
    delta += batch * delta_b
    y += batch * y_b
    if HAS_Z:
        z += batch * z_b
    tp = gl.arange(0, BLOCK, gl.SliceLayout(1, P))
    ip = gl.arange(0, N, gl.SliceLayout(0, P))
    B += batch * B_b + (d0 // per_B).to(gl.int64) * B_g
    C += batch * C_b + (d0 // per_C).to(gl.int64) * C_g

    s_block = gl.allocate_shared_memory(gl.float32, [BLOCK, DT], rows(DT, PAD, BLOCK))
    w_block = gl.allocate_shared_memory(gl.float32, [BLOCK, DT], rows(DT, PAD, BLOCK))
    y_block = gl.allocate_shared_memory(gl.float32, [BLOCK, DT], rows(DT, PAD, BLOCK))
    B_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N], rows(N, PAD_B, BLOCK))
    C_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N], rows(N, PAD_B, BLOCK))
    s_rows = seen_as(s_block, [BLOCK, DT], rows(DT, PAD, 0))
    w_rows = seen_as(w_block, [BLOCK, DT], rows(DT, PAD, 0))
    B_rows = seen_as(B_block, [BLOCK, N], rows(N, PAD_B, 0))
    C_rows = seen_as(C_block, [BLOCK, N], rows(N, PAD_B, 0))
    y_tiles = seen_as(y_block, [BLOCK // T, T, DT], rows(DT, PAD, T))

    # One block ahead: its loads are under way while this one is computed.
    u_1 = stream(u, u_d, u_l, channel, 0, t, length, live)
    x_1 = stream(delta, delta_d, delta_l, channel, 0, t, length, live)
    z_1 = u_1
    if HAS_Z:
        z_1 = stream(z, z_d, z_l, channel, 0, t, length, live)
    known = (ip < n)[None, :]
    ip_at = ip.to(gl.int64)
    B_1 = stream(B, B_n, B_l, ip_at, 0, tp, length, known)
    C_1 = stream(C, C_n, C_l, ip_at, 0, tp, length, known)
    for now in range(0, length, BLOCK):
        valid = (now + t < length)[:, None] & live
        u_t = u_1.to(gl.float32)
        s = x_1.to(gl.float32) + shift[None, :]
        if SOFTPLUS:
            s = softplus(s)
        s = gl.where(valid, s, 0.0)
        z_t = z_1
        s_block.store(s)
        w_block.store(s * u_t)
        B_block.store(B_1.to(gl.float32))
        C_block.store(C_1.to(gl.float32))
        own = skip[None, :] * u_t
        ahead = now + BLOCK
        u_1 = stream(u, u_d, u_l, channel, ahead, t, length, live)
        x_1 = stream(delta, delta_d, delta_l, channel, ahead, t, length, live)
        if HAS_Z:
            z_1 = stream(z, z_d, z_l, channel, ahead, t, length, live)
        B_1 = stream(B, B_n, B_l, ip_at, ahead, tp, length, known)
        C_1 = stream(C, C_n, C_l, ip_at, ahead, tp, length, known)
        if SAVE:
            slot = (row * blocks + now // BLOCK).to(gl.int64) * n * dim
            gl.store(saved + slot + state_at, h, mask=both)
        for step in range(0, BLOCK, 2 * T):
            for odd in gl.static_range(2):
                ys = ()
                for v in gl.static_range(T):
                    s_v = s_rows.index(step + odd * T + v).load(SD)[None, :]
                    w_v = w_rows.index(step + odd * T + v).load(SD)[None, :]
                    B_v = B_rows.index(step + odd * T + v).load(SN)[:, None]
                    C_v = C_rows.index(step + odd * T + v).load(SN)[:, None]
                    h = gl.exp2(s_v * a2) * h + w_v * B_v
                    ys += (gl.sum(C_v * h, 0),)
                y_tiles.index(step // T + odd).store(stack_channels(ys[0], ys[1], ys[2], ys[3]))
        y_t = y_block.load(E) + own
        if HAS_Z:
            g = z_t.to(gl.float32)
            y_t *= g * sigmoid(g)
        to = y + channel[None, :] * y_d + (now + t).to(gl.int64)[:, None] * y_l
        gl.store(to, y_t.to(y.dtype.element_ty), mask=valid)

    if LAST:
        gl.store(last + batch * n * dim + user_at, h, mask=both)
