"""The forward pass in Gluon where there are few warps: two a scheduler at most, and time in one piece.

The equations of `_lanes_forward`, for up to sixteen states. A warp that is alone on its scheduler has to fill
its own waits: lanes of two states make four times as many warps, a block of 64 steps is walked without
a jump, what four steps read is asked for four steps ahead, and the sums over the states are exchanged between
the steps of the next tile.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from ssm_triton._few_layouts import (
    BLOCK,
    STEPS,
    G,
    N,
    by_fours,
    few_projections,
    few_states,
    few_streams,
    few_sums,
    four,
    halved,
    of_tile,
    rows_of_four,
    steps_of_channels,
    steps_of_states,
    summed,
)
from ssm_triton._lanes_layouts import seen_as, sigmoid, stream
from ssm_triton._math import LOG2_E, softplus


@gluon.jit
def next_steps(s_rows, w_rows, B_rows, C_rows, row, channels: gl.constexpr, states: gl.constexpr):
    """Δ, Δu, B and C of the four steps of a row."""
    return (
        s_rows.index(row).load(channels),
        w_rows.index(row).load(channels),
        B_rows.index(row).load(states),
        C_rows.index(row).load(states),
    )


@gluon.jit(do_not_specialize=["per_B", "per_C", "tiles", "rows", "tiles_per_cell", "blocks"])
def forward_few(
    u, delta, A, B, C, D, z, bias, initial, y, last, saved,
    length, dim, n, per_B, per_C, tiles, rows, tiles_per_cell, cell, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    z_b, z_d, z_l, y_b, y_d, y_l, initial_b, initial_d, initial_n,
    W: gl.constexpr,
    HAS_D: gl.constexpr, HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr, SOFTPLUS: gl.constexpr,
    INITIAL: gl.constexpr, LAST: gl.constexpr, SAVE: gl.constexpr,
):  # fmt: skip
    """One row, 4 W channels, all of time; one saved state in SAVE steps (0: none)."""
    gl.static_assert(SAVE == 0 or BLOCK % SAVE == 0)
    DT: gl.constexpr = 4 * W
    S: gl.constexpr = few_states(N, W)
    SN: gl.constexpr = gl.SliceLayout(1, S)
    SD: gl.constexpr = gl.SliceLayout(0, S)
    E: gl.constexpr = few_streams(BLOCK, W)
    ED: gl.constexpr = gl.SliceLayout(0, E)
    P: gl.constexpr = few_projections(BLOCK, N, W)
    Y: gl.constexpr = summed(STEPS, W)
    OF_CHANNELS: gl.constexpr = steps_of_channels(W)
    OF_STATES: gl.constexpr = steps_of_states(N, W)
    OF_TILE: gl.constexpr = few_sums(STEPS, W)

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
    if HAS_Z:
        z += batch * z_b
    tp = gl.arange(0, BLOCK, gl.SliceLayout(1, P))
    ip = gl.arange(0, N, gl.SliceLayout(0, P))
    known = (ip < n)[None, :]
    ip_at = ip.to(gl.int64)
    B += batch * B_b + (d0 // per_B).to(gl.int64) * B_g
    C += batch * C_b + (d0 // per_C).to(gl.int64) * C_g
    ty = gl.arange(0, STEPS, gl.SliceLayout(0, Y))
    ey = gl.arange(0, DT, gl.SliceLayout(1, Y))
    y += batch * y_b + (d0 + ey).to(gl.int64)[:, None] * y_d + ty.to(gl.int64)[None, :] * y_l
    written = (ey < left)[:, None]

    of_channels: gl.constexpr = [BLOCK // 4, DT, 4]
    of_states: gl.constexpr = [BLOCK // 4, N, 4]
    of_tiles: gl.constexpr = [BLOCK // STEPS, STEPS // 4, DT, 4]
    s_block = gl.allocate_shared_memory(gl.float32, of_channels, rows_of_four(of_channels))
    w_block = gl.allocate_shared_memory(gl.float32, of_channels, rows_of_four(of_channels))
    B_block = gl.allocate_shared_memory(gl.float32, of_states, rows_of_four(of_states))
    C_block = gl.allocate_shared_memory(gl.float32, of_states, rows_of_four(of_states))
    skip_block = gl.allocate_shared_memory(gl.float32, of_channels, rows_of_four(of_channels))
    gate_block = gl.allocate_shared_memory(gl.float32, of_channels, rows_of_four(of_channels))
    s_rows = seen_as(s_block, of_channels, rows_of_four(of_channels[1:]))
    w_rows = seen_as(w_block, of_channels, rows_of_four(of_channels[1:]))
    B_rows = seen_as(B_block, of_states, rows_of_four(of_states[1:]))
    C_rows = seen_as(C_block, of_states, rows_of_four(of_states[1:]))
    skip_tiles = seen_as(skip_block, of_tiles, rows_of_four(of_tiles[1:]))
    gate_tiles = seen_as(gate_block, of_tiles, rows_of_four(of_tiles[1:]))

    # One block ahead: its loads are under way while this one is computed.
    u_1 = stream(u, u_d, u_l, channel, 0, t, length, live)
    x_1 = stream(delta, delta_d, delta_l, channel, 0, t, length, live)
    z_1 = u_1
    if HAS_Z:
        z_1 = stream(z, z_d, z_l, channel, 0, t, length, live)
    B_1 = stream(B, B_n, B_l, ip_at, 0, tp, length, known)
    C_1 = stream(C, C_n, C_l, ip_at, 0, tp, length, known)
    for now in range(0, length, BLOCK):
        u_t = u_1.to(gl.float32)
        s = x_1.to(gl.float32) + shift[None, :]
        if SOFTPLUS:
            s = softplus(s)
        s = gl.where((now + t < length)[:, None] & live, s, 0.0)
        s_block.store(by_fours(s))
        w_block.store(by_fours(s * u_t))
        B_block.store(by_fours(B_1.to(gl.float32)))
        C_block.store(by_fours(C_1.to(gl.float32)))
        if HAS_D:
            skip_block.store(by_fours(skip[None, :] * u_t))
        if HAS_Z:
            g = z_1.to(gl.float32)
            gate_block.store(by_fours(g * sigmoid(g)))
        ahead = now + BLOCK
        u_1 = stream(u, u_d, u_l, channel, ahead, t, length, live)
        x_1 = stream(delta, delta_d, delta_l, channel, ahead, t, length, live)
        if HAS_Z:
            z_1 = stream(z, z_d, z_l, channel, ahead, t, length, live)
        B_1 = stream(B, B_n, B_l, ip_at, ahead, tp, length, known)
        C_1 = stream(C, C_n, C_l, ip_at, ahead, tp, length, known)

        if SAVE:
            to_saved = saved + (row * blocks + now // SAVE).to(gl.int64) * n * dim + state_at
            gl.store(to_saved, h, mask=both)
        sums, before = (), ()
        coming = next_steps(s_rows, w_rows, B_rows, C_rows, 0, OF_CHANNELS, OF_STATES)
        for k in gl.static_range(BLOCK // 4 + STEPS // 4):
            if SAVE and k > 0 and 4 * k < BLOCK and 4 * k % SAVE == 0:
                gl.store(to_saved + 4 * k // SAVE * (n * dim), h, mask=both & (now + 4 * k < length))
            if k < BLOCK // 4:
                s_v, w_v, B_v, C_v = coming
                if k + 1 < BLOCK // 4:
                    coming = next_steps(s_rows, w_rows, B_rows, C_rows, k + 1, OF_CHANNELS, OF_STATES)
                ss, ws = four(s_v, SD), four(w_v, SD)
                Bs, Cs = four(B_v, SN), four(C_v, SN)
                for v in gl.static_range(4):
                    h = gl.fma(gl.exp2(ss[v][None, :] * a2), h, ws[v][None, :] * Bs[v][:, None])
                    sums += (gl.sum((Cs[v][:, None] * h).reshape([2, G, DT]), 0),)
            if len(before) > 2:
                before = halved(before, len(before) // 4)
            if k % (STEPS // 4) == STEPS // 4 - 1:
                if len(before) == 2:
                    past = k // (STEPS // 4) - 1
                    y_t = of_tile(before, Y)
                    if HAS_D:
                        of_skip = skip_tiles.index(past).load(OF_TILE)
                        y_t += gl.convert_layout(of_skip.permute((1, 0, 2)).reshape([DT, STEPS]), Y)
                    if HAS_Z:
                        of_gate = gate_tiles.index(past).load(OF_TILE)
                        y_t *= gl.convert_layout(of_gate.permute((1, 0, 2)).reshape([DT, STEPS]), Y)
                    at = now + past * STEPS
                    to = y + at.to(gl.int64) * y_l
                    gl.store(to, y_t.to(y.dtype.element_ty), mask=written & (at + ty < length)[None, :])
                before, sums = sums, ()
    if LAST:
        gl.store(last + batch * n * dim + user_at, h, mask=both)
