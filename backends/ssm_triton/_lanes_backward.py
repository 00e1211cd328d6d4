"""The backward pass in Gluon: the equations of `_backward`, with every layout named.

For a real A in float32, B and C variable in time, and no ZOH; `_backward` is its plain twin.

Time is walked in reverse, a block of 32 steps at a time. What depends on a channel and a step alone,
Δ and its derivative, Δu and q = dy silu(z), is computed once and laid in shared memory. A sweep from the
saved state leaves the state before each tile of four steps there; if that state lies a block further
back, the block before is prepared and swept through first. Then tile after tile, last first, the states
and the adjoint are run through registers. What the steps of a block give, Σ λB, y and Σ Aλah⁻, takes the
place of Δu and q and goes back to the layout of the loads, where du, dΔ and dz are finished.

dB and dC are summed over the channels of a program, and added up in slices: those of several programs,
one after another in a fixed order, each waiting until the one before has written its block.

Segments of time either know beforehand what reaches their end, from messages, or are chained: the program of
a segment waits for that of the next one, and goes on with its adjoint.

Packed sequences lie one after another in a row of time. Where one begins, the sweep takes its first state in
place of the one before, and the adjoint the cotangent of the last state of the sequence that ended.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from ssm_triton._lanes_layouts import (
    BLOCK,
    T,
    awaited,
    fours,
    handed_on,
    in_registers,
    projections,
    rows,
    seen_as,
    sigmoid,
    softplus_and_slope,
    stacked,
    stream,
    streams,
    turned,
    widened,
)
from ssm_triton._lanes_pairs import by_channels, by_lanes, of_a_lane, paired_rows, single_rows
from ssm_triton._lanes_resets import passed_on, some_begin
from ssm_triton._lanes_tiles import gone_back, walked, walked_two
from ssm_triton._math import LN_2, LOG2_E


@gluon.jit
def carried_back(message, decay, messages, row, segment, segments, size, offsets, mask, RESET: gl.constexpr):
    """The message into a segment's end: m ← P m + m′ over the segments after it, last first.

    Four at a time, so that their loads are under way together.
    """
    m = message
    for k in range(0, segments - 1 - segment, 4):
        ps, own = (), ()
        for v in gl.static_range(4):
            later = segments - 1 - k - v
            base = (row * segments + later).to(gl.int64) * size
            here = mask & (later > segment)
            ps += (gl.load(decay + base + offsets, mask=here, other=1.0),)
            own += (gl.load(messages + base + offsets, mask=here, other=0.0),)
        for v in gl.static_range(4):
            m = passed_on(m, ps[v], own[v], RESET)
    return m


@gluon.jit
def backward_lanes(
    u, delta, A, B, C, D, z, bias, initial, words, row_of, saved, decay, messages, dy, dlast,
    du, ddelta, dz, dB, dC, dA, dD, dbias, dinitial, turns,
    length, dim, n, per_B, per_C, tiles, each, batches, tiles_per_cell, cell, segments, SEGMENT, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    z_b, z_d, z_l, dy_b, dy_d, dy_l,
    du_b, du_d, du_l, ddelta_b, ddelta_d, ddelta_l, dz_b, dz_d, dz_l, dlast_b, dlast_d, dlast_n,
    initial_b, initial_d, initial_n,
    N: gl.constexpr, R: gl.constexpr, W: gl.constexpr, SAVE: gl.constexpr, TURNS: gl.constexpr,
    TIME: gl.constexpr, TIME_B: gl.constexpr,
    HAS_D: gl.constexpr, HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr, SOFTPLUS: gl.constexpr,
    INITIAL: gl.constexpr, SPLIT: gl.constexpr, CHAINED: gl.constexpr, LAST: gl.constexpr,
    RESET: gl.constexpr, PACKED: gl.constexpr,
):  # fmt: skip
    """One row, DT = 128 R W / N channels, R of a lane, one segment of time, from its end to its start.

    turns (1 + 2 programs,) int32, zero: tickets, so that programs come in the order in which they start;
    how many blocks each has written; and which have ended. Unused without TURNS and CHAINED. With RESET,
    `words` tell where sequences begin; with PACKED each has its own first and last state, and `row_of` tells
    which is whose.
    """
    DT: gl.constexpr = 128 * R * W // N
    TILES: gl.constexpr = BLOCK // T
    PART: gl.constexpr = DT // R
    PAD_B: gl.constexpr = 4 if TIME_B else 0
    S: gl.constexpr = fours(N, R, W)
    SN: gl.constexpr = gl.SliceLayout(1, S)
    SD: gl.constexpr = gl.SliceLayout(0, S)
    E: gl.constexpr = streams(DT, BLOCK, W, TIME)
    ED: gl.constexpr = gl.SliceLayout(0, E)
    P: gl.constexpr = projections(N, W, TIME_B)
    X: gl.constexpr = in_registers(N, T, W)
    Q: gl.constexpr = turned(N, T, W)
    OUT: gl.constexpr = projections(N, W, False)
    OF: gl.constexpr = of_a_lane(N, R, W)
    FLAT: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0, 1])
    FLAT_T: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 2, 0])

    program = gl.program_id(0)
    if TURNS or CHAINED:
        program = gl.atomic_add(turns, 1, sem="relaxed")
    place = program % tiles
    row = (program // tiles) % batches
    segment = program // tiles // batches
    if CHAINED:
        segment = segments - 1 - segment
    turn = turns + 1 + (row * segments + segment) * tiles + place
    ended = turn + tiles * batches * segments
    group, member = place // tiles_per_cell, place % tiles_per_cell
    inside = member * DT
    d0 = group * cell + inside
    left = cell - inside
    batch = row.to(gl.int64)
    first = segment * SEGMENT
    stop = gl.minimum(first + SEGMENT, length)
    count = gl.cdiv(stop - first, BLOCK)

    i = gl.arange(0, N, SN)
    j = gl.arange(0, DT, SD)
    both = (i < n)[:, None] & (j < left)[None, :]
    state_at = i[:, None] * dim + (d0 + j)[None, :]
    user_at = (d0 + j).to(gl.int64)[None, :] * n + i[:, None]
    a2 = gl.load(A + user_at, mask=both, other=0.0) * LOG2_E
    m = gl.zeros([N, DT], gl.float32, S)
    initial_at = (d0 + j).to(gl.int64)[None, :] * initial_d + i.to(gl.int64)[:, None] * initial_n
    last_at = (d0 + j).to(gl.int64)[None, :] * dlast_d + i.to(gl.int64)[:, None] * dlast_n
    if LAST:
        owner = batch
        if PACKED:
            owner = gl.load(row_of + length - 1).to(gl.int64)
        m += gl.load(dlast + owner * dlast_b + last_at, mask=both, other=0.0).to(gl.float32)
    if CHAINED:
        if segment + 1 < segments:
            ready = awaited(ended + tiles)
            while ready == 0:
                ready = awaited(ended + tiles)
            base = (row * segments + segment + 1).to(gl.int64) * n * dim
            m = gl.load(messages + base + state_at, mask=both, other=0.0, cache_modifier=".cg")
    elif SPLIT:
        m = carried_back(m, decay, messages, row, segment, segments, n * dim, state_at, both, RESET)
    acc_A = gl.zeros([N, DT], gl.float32, S)
    FROM: gl.constexpr = PACKED and INITIAL
    TO: gl.constexpr = PACKED and LAST

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
    own: gl.constexpr = min(8, DT // W) if TIME else 1
    acc_D = gl.sum(gl.zeros([BLOCK, DT], gl.float32, E).reshape([BLOCK // own, own, DT]), 1)
    acc_bias = acc_D
    u += batch * u_b
    delta += batch * delta_b
    dy += batch * dy_b
    du += batch * du_b
    ddelta += batch * ddelta_b
    if HAS_Z:
        z += batch * z_b
        dz += batch * dz_b
    word = first * 0
    if RESET:
        words += batch * gl.cdiv(length, BLOCK)

    tp = gl.arange(0, BLOCK, gl.SliceLayout(1, P))
    ip = gl.arange(0, N, gl.SliceLayout(0, P))
    B += batch * B_b + (d0 // per_B).to(gl.int64) * B_g
    C += batch * C_b + (d0 // per_C).to(gl.int64) * C_g
    tr = gl.arange(0, BLOCK, gl.SliceLayout(1, OUT))
    ir = gl.arange(0, N, gl.SliceLayout(0, OUT))
    slice_ = group * gl.cdiv(tiles_per_cell, each) + member // each
    slices = (slice_.to(gl.int64) * batches + batch) * length * N
    dB += slices
    dC += slices
    later = member % each > 0
    seen = count * (member % each == 0).to(gl.int32)

    # Side by side, what a step needs or gives together: Δ with Δu, then Σ λB; q, then y, with Σ Aλah⁻.
    whole: gl.constexpr = paired_rows([BLOCK, PART, R, 2], DT, TIME)
    x_block = gl.allocate_shared_memory(gl.float32, [BLOCK, PART, R, 2], whole)
    q_block = gl.allocate_shared_memory(gl.float32, [BLOCK, PART, R, 2], whole)
    slope_block = gl.allocate_shared_memory(gl.float32, [BLOCK, PART, R], single_rows(DT, R, TIME))
    x_rows = seen_as(x_block, [BLOCK, PART, R, 2], paired_rows([PART, R, 2], DT, TIME))
    q_rows = seen_as(q_block, [BLOCK, PART, R, 2], paired_rows([PART, R, 2], DT, TIME))
    x_tiles = seen_as(x_block, [TILES, T, PART, R, 2], paired_rows([T, PART, R, 2], DT, TIME))
    q_tiles = seen_as(q_block, [TILES, T, PART, R, 2], paired_rows([T, PART, R, 2], DT, TIME))
    B_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N], rows(N, PAD_B, BLOCK))
    C_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N], rows(N, PAD_B, BLOCK))
    B_rows = seen_as(B_block, [BLOCK, N], rows(N, PAD_B, 0))
    C_rows = seen_as(C_block, [BLOCK, N], rows(N, PAD_B, 0))
    dB_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N], rows(N, 0, BLOCK))
    dC_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N], rows(N, 0, BLOCK))
    dB_tiles = seen_as(dB_block, [TILES, T, N], rows(N, 0, T))
    dC_tiles = seen_as(dC_block, [TILES, T, N], rows(N, 0, T))
    starts = gl.allocate_shared_memory(gl.float32, [TILES, N, DT], FLAT)
    starts_of_two = seen_as(starts, [TILES // 2, 2, N, DT], FLAT_T)
    turn_B = gl.allocate_shared_memory(gl.float32, [T, N, PART], FLAT_T)
    turn_C = gl.allocate_shared_memory(gl.float32, [T, N, PART], FLAT_T)

    none = by_lanes(gl.zeros([BLOCK, DT], gl.float32, E), R)
    PAIRED: gl.constexpr = none.type.layout
    JOINED: gl.constexpr = gl.join(none, none).type.layout
    for block in range(count):
        now = first + (count - 1 - block) * BLOCK
        at = (now + t).to(gl.int64)[:, None]
        valid = (now + t < stop)[:, None] & live
        slot = (row * blocks + now // SAVE).to(gl.int64) * n * dim
        h = gl.load(saved + slot + state_at, mask=both, other=0.0)
        for half in range(now // BLOCK % (SAVE // BLOCK), -1, -1):
            then = now - half * BLOCK
            there = (then + t < stop)[:, None] & live
            if RESET:
                word = gl.load(words + then // BLOCK)
            B_0 = stream(B, B_n, B_l, ip.to(gl.int64), then, tp, stop, (ip < n)[None, :])
            C_0 = stream(C, C_n, C_l, ip.to(gl.int64), then, tp, stop, (ip < n)[None, :])
            u_0 = stream(u, u_d, u_l, channel, then, t, stop, live)
            x_0 = stream(delta, delta_d, delta_l, channel, then, t, stop, live)
            r_0 = stream(dy, dy_d, dy_l, channel, then, t, stop, live)
            if HAS_Z:
                z_0 = stream(z, z_d, z_l, channel, then, t, stop, live)
            s = widened(x_0) + shift[None, :]
            if SOFTPLUS:
                s, slope = softplus_and_slope(s)
                slope_block.store(by_lanes(slope, R))
            s = gl.where(there, s, 0.0)
            q = widened(r_0)
            if HAS_Z:
                z_t = widened(z_0)
                q *= z_t * sigmoid(z_t)
            B_block.store(widened(B_0))
            C_block.store(widened(C_0))
            x_block.store(gl.join(by_lanes(s, R), by_lanes(s * widened(u_0), R)))
            q_block.store(gl.join(by_lanes(q, R), by_lanes(q, R)))

            # Two tiles between barriers. The last two, below: after them the sweep need not go on.
            for two in range(TILES // 2 - 1 + gl.minimum(half, 1)):
                h_0 = h
                if some_begin(word, two * 2 * T, 2 * T) if RESET else False:
                    h_1, h = walked_two(
                        h_0, a2, x_rows, B_rows, 2 * two, then, word,
                        row_of, both, initial, initial_b, initial_at, OF, SD, SN, True, FROM,
                    )  # fmt: skip
                else:
                    h_1, h = walked_two(
                        h_0, a2, x_rows, B_rows, 2 * two, then, word,
                        row_of, both, initial, initial_b, initial_at, OF, SD, SN, False, FROM,
                    )  # fmt: skip
                starts_of_two.index(two).store(stacked((h_0, h_1)))
        if some_begin(word, (TILES - 2) * T, T) if RESET else False:
            h_1 = walked(
                h, a2, x_rows, B_rows, TILES - 2, now, word, row_of, both, initial, initial_b, initial_at,
                OF, SD, SN, True, FROM,
            )  # fmt: skip
        else:
            h_1 = walked(
                h, a2, x_rows, B_rows, TILES - 2, now, word, row_of, both, initial, initial_b, initial_at,
                OF, SD, SN, False, FROM,
            )  # fmt: skip
        starts_of_two.index(TILES // 2 - 1).store(stacked((h, h_1)))

        for back in range(TILES):
            tile = TILES - 1 - back
            if some_begin(word, tile * T, T) if RESET else False:
                m, acc_A = gone_back(
                    m, acc_A, tile, now, word, a2, x_rows, q_rows, x_tiles, q_tiles, B_rows, C_rows, dB_tiles,
                    dC_tiles, starts, turn_B, turn_C, row_of, both, initial, initial_b, initial_at,
                    dinitial, n * dim, user_at, dlast, dlast_b, last_at,
                    S, SN, SD, X, Q, OF, R, HAS_Z, True, FROM, TO,
                )  # fmt: skip
            else:
                m, acc_A = gone_back(
                    m, acc_A, tile, now, word, a2, x_rows, q_rows, x_tiles, q_tiles, B_rows, C_rows, dB_tiles,
                    dC_tiles, starts, turn_B, turn_C, row_of, both, initial, initial_b, initial_at,
                    dinitial, n * dim, user_at, dlast, dlast_b, last_at,
                    S, SN, SD, X, Q, OF, R, HAS_Z, False, FROM, TO,
                )  # fmt: skip

        u_1 = stream(u, u_d, u_l, channel, now, t, stop, live)
        r_1 = stream(dy, dy_d, dy_l, channel, now, t, stop, live)
        if HAS_Z:
            z_1 = stream(z, z_d, z_l, channel, now, t, stop, live)
        u_t = widened(u_1)
        r_t = widened(r_1)
        q = r_t
        s, through_b = gl.split(x_block.load(JOINED))
        y, through_a = gl.split(q_block.load(JOINED))
        through_b = by_channels(through_b, E)
        if HAS_Z:
            z_t = widened(z_1)
            gate = sigmoid(z_t)
            q = r_t * z_t * gate
            y = by_channels(y, E) + skip[None, :] * u_t
            dz_t = r_t * y * (gate * (1.0 + z_t * (1.0 - gate)))
            gl.store(dz + channel[None, :] * dz_d + at * dz_l, dz_t.to(dz.dtype.element_ty), mask=valid)
        du_t = skip[None, :] * q + by_channels(s, E) * through_b
        gl.store(du + channel[None, :] * du_d + at * du_l, du_t.to(du.dtype.element_ty), mask=valid)
        ds = u_t * through_b + by_channels(through_a, E) * LN_2
        if SOFTPLUS:
            ds *= by_channels(slope_block.load(PAIRED), E)
        ds = gl.where(valid, ds, 0.0)
        gl.store(
            ddelta + channel[None, :] * ddelta_d + at * ddelta_l, ds.to(ddelta.dtype.element_ty), mask=valid
        )
        to = (now + tr).to(gl.int64)[:, None] * N + ir[None, :]
        written = (now + tr < stop)[:, None]
        dB_t = dB_block.load(OUT)
        dC_t = dC_block.load(OUT)
        if TURNS:
            while seen <= block:
                seen = awaited(turn - 1)
            dB_t += gl.load(dB + to, mask=written & later, other=0.0, cache_modifier=".cg")
            dC_t += gl.load(dC + to, mask=written & later, other=0.0, cache_modifier=".cg")
        gl.store(dB + to, dB_t, mask=written)
        gl.store(dC + to, dC_t, mask=written)
        if TURNS:
            handed_on(turn, block + 1)
        acc_D += gl.sum((q * u_t).reshape([BLOCK // own, own, DT]), 1)
        acc_bias += gl.sum(ds.reshape([BLOCK // own, own, DT]), 1)

    part = (row * segments + segment).to(gl.int64)
    if CHAINED and segment > 0:
        gl.store(messages + part * n * dim + state_at, m, mask=both)
        handed_on(ended, 1)
    gl.store(dA + part * n * dim + state_at, acc_A, mask=both)
    if HAS_D:
        gl.store(dD + part * dim + channel, gl.convert_layout(gl.sum(acc_D, 0), ED), mask=e < left)
    if HAS_BIAS:
        gl.store(dbias + part * dim + channel, gl.convert_layout(gl.sum(acc_bias, 0), ED), mask=e < left)
    if INITIAL and segment == 0:
        owner = batch
        if PACKED:
            owner = gl.load(row_of).to(gl.int64)
        gl.store(dinitial + owner * n * dim + user_at, m, mask=both)
