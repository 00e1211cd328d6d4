"""The forward pass in Gluon: the equations of `_forward`, with every layout named.

For a real A in float32, B and C variable in time, and no ZOH; `_forward` is its plain twin. A block of 32
steps at a time: Δ and Δu are computed once for each channel and step and laid in shared memory, the
recurrence walks through them in registers, and Σ C h goes back the same way to where D u and the gate are
added.

Packed sequences lie one after another in a row of time. Steps in which one begins are rare: tiles that have
one take a second copy of the code.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from ssm_triton._forward_layouts import (
    TILE,
    by_warps,
    padded,
    paired_states,
    wide_projections,
    wide_rows,
    wide_states,
    wide_streams,
    wide_sums,
    wide_tile,
)
from ssm_triton._lanes_layouts import BLOCK, all_stored, in_turn, seen_as, sigmoid, stacked, stream
from ssm_triton._lanes_resets import NOTHING_PASSES, begins, passed_on, put_down, restarted, some_begin
from ssm_triton._math import LOG2_E, softplus


@gluon.jit
def carried_forward(state, decay, local, row, segment, segments, size, offsets, mask, RESET: gl.constexpr):
    """The state at a segment's start: h ← P h + x over the segments before it, in order.

    Four at a time, so that their loads are under way together.
    """
    h = state
    for k in range(0, segment, 4):
        ps, xs = (), ()
        for v in gl.static_range(4):
            base = (row * segments + k + v).to(gl.int64) * size
            here = mask & (k + v < segment)
            ps += (gl.load(decay + base + offsets, mask=here, other=1.0),)
            xs += (gl.load(local + base + offsets, mask=here, other=0.0),)
        for v in gl.static_range(4):
            h = passed_on(h, ps[v], xs[v], RESET)
    return h


@gluon.jit
def pair(rows, step, both: gl.constexpr, each: gl.constexpr):
    """The two vectors of a step that lie side by side."""
    x, y = gl.split(rows.index(step).load(both))
    return gl.convert_layout(x, each), gl.convert_layout(y, each)


@gluon.jit
def walked(
    h, product, tile, now, word, a2, x_rows, B_rows, y_tiles,
    row_of, both, initial, initial_b, first_at, last, last_b, last_at,
    SN: gl.constexpr, SD: gl.constexpr, PAIRS_N: gl.constexpr, PAIRS_D: gl.constexpr, Y: gl.constexpr,
    W: gl.constexpr, K: gl.constexpr, LOCAL: gl.constexpr,
    CUT: gl.constexpr, FROM: gl.constexpr, TO: gl.constexpr,
):  # fmt: skip
    """The state after a tile, and the product of decays with LOCAL; without, the tile's Σ C h are stored.

    With CUT a sequence begins in one of its steps or more: with FROM it has a first state of its own, and
    with TO the one before it a last one.
    """
    G: gl.constexpr = h.shape[0] // K
    ys = ()
    for v in gl.static_range(TILE):
        step = tile * TILE + v
        if CUT:
            cut = begins(word, step)
            if TO:
                put_down(h, cut, row_of, now + step - 1, last, last_b, last_at, both)
            h = restarted(h, cut, row_of, now + step, initial, initial_b, first_at, both, FROM)
        s_v, w_v = pair(x_rows, step, PAIRS_D, SD)
        a_v = gl.exp2(s_v[None, :] * a2)
        if LOCAL:
            h = a_v * h + w_v[None, :] * B_rows.index(step).load(SN)[:, None]
            product *= a_v
        else:
            B_v, C_v = pair(B_rows, step, PAIRS_N, SN)
            h = a_v * h + w_v[None, :] * B_v[:, None]
            ys += (in_turn((C_v[:, None] * h).reshape([G, K, h.shape[1]]).permute((0, 2, 1))),)
    if not LOCAL:
        y_tiles.index(tile).store(gl.convert_layout(by_warps(stacked(ys), W), Y))
    return h, product


@gluon.jit(do_not_specialize=["per_B", "per_C", "tiles", "rows", "tiles_per_cell", "segments", "blocks"])
def forward_lanes(
    u, delta, A, B, C, D, z, bias, initial, words, row_of, decay, local, y, last, saved,
    length, dim, n, per_B, per_C, tiles, rows, tiles_per_cell, cell, segments, SEGMENT, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    z_b, z_d, z_l, y_b, y_d, y_l, initial_b, initial_d, initial_n,
    N: gl.constexpr, K: gl.constexpr, R: gl.constexpr, W: gl.constexpr,
    TIME: gl.constexpr, TIME_B: gl.constexpr,
    HAS_D: gl.constexpr, HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr, SOFTPLUS: gl.constexpr,
    INITIAL: gl.constexpr, SPLIT: gl.constexpr, LOCAL: gl.constexpr, LAST: gl.constexpr, SAVE: gl.constexpr,
    RESET: gl.constexpr, PACKED: gl.constexpr,
):  # fmt: skip
    """One row, DT = 32 W K R / N channels, one segment of time; one saved state in SAVE steps (0: none).

    With RESET, `words` tell where sequences begin; with PACKED each has its own first and last state, and
    `row_of` tells which is whose.

    With LOCAL, the first of two passes over a time that is split: only `decay` and `local`, the product of
    a segment's decays and its last state from zero, are written.
    """
    DT: gl.constexpr = 32 * W * K * R // N
    G: gl.constexpr = N // K
    VECTOR: gl.constexpr = 128 // u.dtype.element_ty.primitive_bitwidth
    GATED: gl.constexpr = HAS_Z and not LOCAL
    S: gl.constexpr = wide_states(N, K, R, W)
    SN: gl.constexpr = gl.SliceLayout(1, S)
    SD: gl.constexpr = gl.SliceLayout(0, S)
    PAIRS: gl.constexpr = paired_states(N, K, R, W)
    PAIRS_N: gl.constexpr = gl.SliceLayout(1, PAIRS)
    PAIRS_D: gl.constexpr = gl.SliceLayout(0, PAIRS)
    E: gl.constexpr = wide_streams(DT, R, W, TIME, VECTOR)
    ED: gl.constexpr = gl.SliceLayout(0, E)
    ROWS: gl.constexpr = wide_rows(DT, R, W, TIME, VECTOR)
    SUMS: gl.constexpr = wide_sums(DT, G, R, W, TIME, VECTOR)
    Y: gl.constexpr = wide_tile(N, K, R, W)
    P: gl.constexpr = wide_projections(N, W, TIME_B)
    PAD: gl.constexpr = R if TIME else 0
    PAD_B: gl.constexpr = 4 if TIME_B else 0

    tile = gl.program_id(0) % tiles
    row = (gl.program_id(0) // tiles) % rows
    segment = gl.program_id(0) // tiles // rows
    inside = (tile % tiles_per_cell) * DT
    d0 = (tile // tiles_per_cell) * cell + inside
    left = cell - inside
    batch = row.to(gl.int64)
    first = segment * SEGMENT
    stop = gl.minimum(first + SEGMENT, length)

    i = gl.arange(0, N, SN)
    j = gl.arange(0, DT, SD)
    both = (i < n)[:, None] & (j < left)[None, :]
    state_at = i[:, None] * dim + (d0 + j)[None, :]
    user_at = (d0 + j).to(gl.int64)[None, :] * n + i[:, None]
    a2 = gl.load(A + user_at, mask=both, other=0.0) * LOG2_E
    h = gl.zeros([N, DT], gl.float32, S)
    product = h + 1.0
    first_at = (d0 + j).to(gl.int64)[None, :] * initial_d + i.to(gl.int64)[:, None] * initial_n
    if not LOCAL:
        if INITIAL:
            owner = batch
            if PACKED:
                owner = gl.load(row_of).to(gl.int64)
            h = gl.load(initial + owner * initial_b + first_at, mask=both, other=0.0)
        if SPLIT:
            h = carried_forward(h, decay, local, row, segment, segments, n * dim, state_at, both, RESET)
    FROM: gl.constexpr = PACKED and INITIAL
    TO: gl.constexpr = PACKED and LAST and not LOCAL

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

    # Side by side, what a step reads together: Δ with Δu, and B with C.
    x_block = gl.allocate_shared_memory(gl.float32, [BLOCK, DT, 2], padded([BLOCK, DT, 2], 2 * DT, 2 * PAD))
    x_rows = seen_as(x_block, [BLOCK, DT, 2], padded([DT, 2], 2 * DT, 2 * PAD))
    if LOCAL:
        B_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N], padded([BLOCK, N], N, PAD_B))
        B_rows = seen_as(B_block, [BLOCK, N], padded([N], N, PAD_B))
        y_tiles = None
    else:
        B_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N, 2], padded([BLOCK, N, 2], 2 * N, PAD_B))
        B_rows = seen_as(B_block, [BLOCK, N, 2], padded([N, 2], 2 * N, PAD_B))
        sums: gl.constexpr = [BLOCK, W, G, DT // W]
        y_block = gl.allocate_shared_memory(gl.float32, sums, padded(sums, G * DT, PAD))
        in_tiles: gl.constexpr = [BLOCK // TILE, TILE, W, G, DT // W]
        y_tiles = seen_as(y_block, in_tiles, padded(in_tiles[1:], G * DT, PAD))

    # One block ahead: its loads are under way while this one is computed.
    u_1 = stream(u, u_d, u_l, channel, first, t, stop, live)
    x_1 = stream(delta, delta_d, delta_l, channel, first, t, stop, live)
    known = (ip < n)[None, :]
    ip_at = ip.to(gl.int64)
    B_1 = stream(B, B_n, B_l, ip_at, first, tp, stop, known)
    if not LOCAL:
        C_1 = stream(C, C_n, C_l, ip_at, first, tp, stop, known)
    word = first * 0
    cuts = word
    if RESET:
        words += batch * gl.cdiv(length, BLOCK)
        word_1 = gl.load(words + first // BLOCK, mask=first < stop, other=0)
    for now in range(first, stop, BLOCK):
        valid = (now + t < stop)[:, None] & live
        u_t = u_1.to(gl.float32)
        s = x_1.to(gl.float32) + shift[None, :]
        if SOFTPLUS:
            s = softplus(s)
        s = gl.where(valid, s, 0.0)
        x_block.store(gl.join(gl.convert_layout(s, ROWS), gl.convert_layout(s * u_t, ROWS)))
        if LOCAL:
            B_block.store(B_1.to(gl.float32))
        else:
            B_block.store(gl.join(B_1.to(gl.float32), C_1.to(gl.float32)))
        if GATED:
            z_t = stream(z, z_d, z_l, channel, now, t, stop, live)
        ahead = now + BLOCK
        if RESET:
            word = word_1
            cuts = cuts | word
            word_1 = gl.load(words + ahead // BLOCK, mask=ahead < stop, other=0)
        u_1 = stream(u, u_d, u_l, channel, ahead, t, stop, live)
        x_1 = stream(delta, delta_d, delta_l, channel, ahead, t, stop, live)
        B_1 = stream(B, B_n, B_l, ip_at, ahead, tp, stop, known)
        if not LOCAL:
            C_1 = stream(C, C_n, C_l, ip_at, ahead, tp, stop, known)
            # A branch makes a warp wait for what is loaded ahead. With eight states a lane other warps fill
            # the wait, and no branch costs more.
            if SAVE and (K < 8 or now % SAVE == 0):
                slot = (row * blocks + now // SAVE).to(gl.int64) * n * dim
                gl.store(saved + slot + state_at, h, mask=both & (now % SAVE == 0))
        all_stored()
        for group in range(BLOCK // TILE):
            if some_begin(word, group * TILE, TILE) if RESET else False:
                h, product = walked(
                    h, product, group, now, word, a2, x_rows, B_rows, y_tiles,
                    row_of, both, initial, initial_b, first_at, last, n * dim, user_at,
                    SN, SD, PAIRS_N, PAIRS_D, Y, W, K, LOCAL, True, FROM, TO,
                )  # fmt: skip
            else:
                h, product = walked(
                    h, product, group, now, word, a2, x_rows, B_rows, y_tiles,
                    row_of, both, initial, initial_b, first_at, last, n * dim, user_at,
                    SN, SD, PAIRS_N, PAIRS_D, Y, W, K, LOCAL, False, FROM, TO,
                )  # fmt: skip
        if not LOCAL:
            y_t = gl.sum(y_block.load(SUMS), 2).reshape([BLOCK, DT])
            y_t = gl.convert_layout(y_t, E) + skip[None, :] * u_t
            if HAS_Z:
                g = z_t.to(gl.float32)
                y_t *= g * sigmoid(g)
            to = y + channel[None, :] * y_d + (now + t).to(gl.int64)[:, None] * y_l
            gl.store(to, y_t.to(y.dtype.element_ty), mask=valid)

    if LOCAL:
        if RESET:
            product = gl.where(cuts != 0, NOTHING_PASSES, product)
        base = (row * segments + segment).to(gl.int64) * n * dim
        gl.store(decay + base + state_at, product, mask=both)
        gl.store(local + base + state_at, h, mask=both)
    elif LAST and stop == length:
        owner = batch
        if PACKED:
            owner = gl.load(row_of + length - 1).to(gl.int64)
        gl.store(last + owner * n * dim + user_at, h, mask=both)
