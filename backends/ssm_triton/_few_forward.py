"""The forward pass in Gluon where there are few warps, a few for each scheduler, and time in one piece.

The equations of `_lanes_forward`, for up to sixteen states. A warp that is alone on its scheduler has to fill
its own waits: lanes of two states make four times as many warps, a block of 64 steps is walked without
a jump, what four steps read is asked for four steps ahead, and the partial sums over the states go to shared
memory once a block. The next block is copied to shared memory meanwhile: a load to registers would hold
a scoreboard, and what shares it would wait for memory.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy

from ssm_triton._few_layouts import (
    BLOCK,
    G,
    N,
    by_fours,
    few_projections,
    few_states,
    few_streams,
    four,
    in_order_of_lanes,
    in_order_of_time,
    rows_of_four,
    rows_of_sums,
    steps_of_channels,
    steps_of_states,
    sums_of_streams,
    sums_of_walk,
)
from ssm_triton._lanes_layouts import seen_as, sigmoid, stacked, stream
from ssm_triton._math import LOG2_E, softplus

_NEWER = hasattr(async_copy, "async_load")
copy_to_shared = async_copy.async_load if _NEWER else async_copy.async_copy_global_to_shared
"""Triton 3.9 has another name for it."""


@gluon.jit
def asked(memory, x, x_d, x_l, channel, now, t, live, stop, COPY: gl.constexpr):
    """Ask for one block of a stream, zero from `stop` on: by a copy to shared memory, or in registers."""
    if COPY:
        at = x + channel[None, :] * x_d + (now + t).to(gl.int64)[:, None] * x_l
        copy_to_shared(memory, at, mask=(now + t < stop)[:, None] & live)
        block = 0.0  # a number that nobody reads
    else:
        block = stream(x, x_d, x_l, channel, now, t, stop, live)
    return block


@gluon.jit
def arrived(memory, block, layout: gl.constexpr, COPY: gl.constexpr):
    """What was asked for, when copies have been waited for."""
    if COPY:
        block = memory.load(layout)
    return block


@gluon.jit
def prepare(u_t, x_t, B_t, C_t, shift, valid, s_block, w_block, B_block, C_block, SOFTPLUS: gl.constexpr):
    """Δ, Δu, B and C of a block to shared memory."""
    s = x_t.to(gl.float32) + shift[None, :]
    if SOFTPLUS:
        s = softplus(s)
    s = gl.where(valid, s, 0.0)
    s_block.store(by_fours(s))
    w_block.store(by_fours(s * u_t.to(gl.float32)))
    B_block.store(by_fours(B_t.to(gl.float32)))
    C_block.store(by_fours(C_t.to(gl.float32)))


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
    INITIAL: gl.constexpr, LAST: gl.constexpr, SAVE: gl.constexpr, COPY: gl.constexpr,
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
    WALK: gl.constexpr = sums_of_walk(BLOCK, G, W)
    SUMS: gl.constexpr = sums_of_streams(BLOCK, G, W)
    OF_CHANNELS: gl.constexpr = steps_of_channels(W)
    OF_STATES: gl.constexpr = steps_of_states(N, W)

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
    known = (ip < n)[None, :]
    ip_at = ip.to(gl.int64)
    B += batch * B_b + (d0 // per_B).to(gl.int64) * B_g
    C += batch * C_b + (d0 // per_C).to(gl.int64) * C_g
    of_channels: gl.constexpr = [BLOCK // 4, DT, 4]
    of_states: gl.constexpr = [BLOCK // 4, N, 4]
    of_sums: gl.constexpr = [BLOCK // 4, W, 2, G, 2, 4]
    s_block = gl.allocate_shared_memory(gl.float32, of_channels, rows_of_four(of_channels))
    w_block = gl.allocate_shared_memory(gl.float32, of_channels, rows_of_four(of_channels))
    B_block = gl.allocate_shared_memory(gl.float32, of_states, rows_of_four(of_states))
    C_block = gl.allocate_shared_memory(gl.float32, of_states, rows_of_four(of_states))
    y_block = gl.allocate_shared_memory(gl.float32, of_sums, rows_of_sums(of_sums))
    s_rows = seen_as(s_block, of_channels, rows_of_four(of_channels[1:]))
    w_rows = seen_as(w_block, of_channels, rows_of_four(of_channels[1:]))
    B_rows = seen_as(B_block, of_states, rows_of_four(of_states[1:]))
    C_rows = seen_as(C_block, of_states, rows_of_four(of_states[1:]))
    IN_TIME: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0, 1])
    u_memory = gl.allocate_shared_memory(u.dtype.element_ty, [BLOCK, DT], IN_TIME)
    x_memory = gl.allocate_shared_memory(delta.dtype.element_ty, [BLOCK, DT], IN_TIME)
    B_memory = gl.allocate_shared_memory(B.dtype.element_ty, [BLOCK, N], IN_TIME)
    C_memory = gl.allocate_shared_memory(C.dtype.element_ty, [BLOCK, N], IN_TIME)
    if HAS_Z:
        z_memory = gl.allocate_shared_memory(z.dtype.element_ty, [BLOCK, DT], IN_TIME)

    u_1 = stream(u, u_d, u_l, channel, 0, t, length, live)
    z_1 = u_1
    if HAS_Z:
        z_1 = stream(z, z_d, z_l, channel, 0, t, length, live)
    x_1 = stream(delta, delta_d, delta_l, channel, 0, t, length, live)
    B_1 = stream(B, B_n, B_l, ip_at, 0, tp, length, known)
    C_1 = stream(C, C_n, C_l, ip_at, 0, tp, length, known)
    valid = (t < length)[:, None] & live
    prepare(u_1, x_1, B_1, C_1, shift, valid, s_block, w_block, B_block, C_block, SOFTPLUS)
    for now in range(0, length, BLOCK):
        u_t, z_t = u_1.to(gl.float32), z_1.to(gl.float32)
        coming = next_steps(s_rows, w_rows, B_rows, C_rows, 0, OF_CHANNELS, OF_STATES)
        ahead = now + BLOCK
        u_2 = asked(u_memory, u, u_d, u_l, channel, ahead, t, live, length, COPY)
        x_2 = asked(x_memory, delta, delta_d, delta_l, channel, ahead, t, live, length, COPY)
        if HAS_Z:
            z_2 = asked(z_memory, z, z_d, z_l, channel, ahead, t, live, length, COPY)
        B_2 = asked(B_memory, B, B_n, B_l, ip_at, ahead, tp, known, length, COPY)
        C_2 = asked(C_memory, C, C_n, C_l, ip_at, ahead, tp, known, length, COPY)
        if COPY:
            async_copy.commit_group()

        if SAVE:
            to_saved = saved + (row * blocks + now // SAVE).to(gl.int64) * n * dim + state_at
        sums = ()
        for k in gl.static_range(BLOCK // 4):
            if SAVE and 4 * k % SAVE == 0:
                gl.store(to_saved + 4 * k // SAVE * (n * dim), h, mask=both & (now + 4 * k < length))
            s_v, w_v, B_v, C_v = coming
            if k + 1 < BLOCK // 4:
                coming = next_steps(s_rows, w_rows, B_rows, C_rows, k + 1, OF_CHANNELS, OF_STATES)
            ss, ws = four(s_v, SD), four(w_v, SD)
            Bs, Cs = four(B_v, SN), four(C_v, SN)
            for v in gl.static_range(4):
                h = gl.fma(gl.exp2(ss[v][None, :] * a2), h, ws[v][None, :] * Bs[v][:, None])
                sums += (gl.sum((Cs[v][:, None] * h).reshape([2, G, DT]), 0),)
        y_block.store(in_order_of_lanes(stacked(sums), W, WALK))

        if COPY:
            async_copy.wait_group(0)
        y_t = in_order_of_time(gl.sum(y_block.load(SUMS), 3), E)
        if HAS_D:
            y_t += skip[None, :] * u_t
        if HAS_Z:
            y_t *= z_t * sigmoid(z_t)
        to = y + channel[None, :] * y_d + (now + t).to(gl.int64)[:, None] * y_l
        gl.store(to, y_t.to(y.dtype.element_ty), mask=(now + t < length)[:, None] & live)
        u_1 = arrived(u_memory, u_2, E, COPY)
        x_1 = arrived(x_memory, x_2, E, COPY)
        if HAS_Z:
            z_1 = arrived(z_memory, z_2, E, COPY)
        else:
            z_1 = u_1
        B_1 = arrived(B_memory, B_2, P, COPY)
        C_1 = arrived(C_memory, C_2, P, COPY)
        valid = (ahead + t < length)[:, None] & live
        prepare(u_1, x_1, B_1, C_1, shift, valid, s_block, w_block, B_block, C_block, SOFTPLUS)
    if LAST:
        gl.store(last + batch * n * dim + user_at, h, mask=both)
