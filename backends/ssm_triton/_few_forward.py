"""The forward pass in Gluon where there are few warps, a few for each scheduler, and time in one piece.

The equations of `_lanes_forward`, for up to sixteen states. A warp that is alone on its scheduler has to fill
its own waits: lanes of two states, or four, make four times as many warps as eight do, or twice, a block of
32 steps is walked without a jump, what four steps read is asked for four steps ahead, and the partial sums
over the states go to shared memory once a block. Between the steps of a block the next one is prepared and
the last one finished, with no barrier in between. The one after the next is copied to shared memory
meanwhile: a load to registers would hold a scoreboard, and what shares it would wait for memory. Where a
packed sequence begins is looked up at every step: a branch would end what is overlapped.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy

from ssm_triton._few_layouts import (
    BLOCK,
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
from ssm_triton._lanes_layouts import in_turn, seen_as, sigmoid, stacked, stream
from ssm_triton._math import LOG2_E, softplus

# While a block is walked, four steps at a time, after which four the others come: B and C of the next block,
# its Δ and Δu, and y of the last one.
AT_PROJECTIONS: gl.constexpr = gl.constexpr(1)
AT_STREAMS: gl.constexpr = gl.constexpr(3)
AT_LAST: gl.constexpr = gl.constexpr(6)

_NEWER = hasattr(async_copy, "async_load")
copy_to_shared = async_copy.async_load if _NEWER else async_copy.async_copy_global_to_shared
"""Triton 3.9 has another name for it."""


@gluon.jit
def ask(memory, x, x_d, x_l, channel, now, t, live, stop):
    """Ask for a copy of one block of a stream to shared memory, zero from `stop` on."""
    at = x + channel[None, :] * x_d + (now + t).to(gl.int64)[:, None] * x_l
    copy_to_shared(memory, at, mask=(now + t < stop)[:, None] & live)


@gluon.jit
def arrived(memory, x, x_d, x_l, channel, now, t, live, stop, layout: gl.constexpr, COPY: gl.constexpr):
    """That block: what was copied, when the copy has been waited for, or a load."""
    if COPY:
        block = memory.load(layout)
    else:
        block = stream(x, x_d, x_l, channel, now, t, stop, live)
    return block


@gluon.jit
def prepare(u_t, x_t, shift, valid, s_block, w_block, SOFTPLUS: gl.constexpr):
    """Δ and Δu of a block to shared memory."""
    s = x_t.to(gl.float32) + shift[None, :]
    if SOFTPLUS:
        s = softplus(s)
    s = gl.where(valid, s, 0.0)
    s_block.store(by_fours(s))
    w_block.store(by_fours(s * u_t.to(gl.float32)))


@gluon.jit
def finish(
    y_block, u_t, z_t, skip, to, mask, E: gl.constexpr, SUMS: gl.constexpr,
    HAS_D: gl.constexpr, HAS_Z: gl.constexpr,
):  # fmt: skip
    """y of a block: the partial sums added up, D u and the gate."""
    y_t = in_order_of_time(gl.sum(y_block.load(SUMS), 3), E)
    if HAS_D:
        y_t += skip[None, :] * u_t.to(gl.float32)
    if HAS_Z:
        g = z_t.to(gl.float32)
        y_t *= g * sigmoid(g)
    gl.store(to, y_t.to(to.dtype.element_ty), mask=mask)


@gluon.jit
def next_steps(s_rows, w_rows, B_rows, C_rows, row, channels: gl.constexpr, states: gl.constexpr):
    """Δ, Δu, B and C of the four steps of a row."""
    return (
        s_rows.index(row).load(channels),
        w_rows.index(row).load(channels),
        B_rows.index(row).load(states),
        C_rows.index(row).load(states),
    )


@gluon.jit
def stepped(a, h, x, word, STEP: gl.constexpr):
    """a h + x, or x if a sequence begins at that step, in one multiply-add under a predicate."""
    BIT: gl.constexpr = 1 << STEP if STEP < 31 else -(1 << 31)
    L: gl.constexpr = h.type.layout
    word = gl.full(h.shape, word, gl.int32, L)
    return gl.inline_asm_elementwise(
        """{ .reg .pred begins; .reg .b32 bit; and.b32 bit, $4, $5; setp.ne.b32 begins, bit, 0;
        mov.b32 $0, $3; @!begins fma.rn.f32 $0, $1, $2, $3; }""",
        "=&f,f,f,f,r,r", [a, h, x, word, BIT], dtype=gl.float32, is_pure=True, pack=1,
    )  # fmt: skip


@gluon.jit(do_not_specialize=["per_B", "per_C", "tiles", "rows", "tiles_per_cell", "blocks"])
def forward_few(
    u, delta, A, B, C, D, z, bias, initial, words, y, last, saved,
    length, dim, n, per_B, per_C, tiles, rows, tiles_per_cell, cell, blocks,
    u_b, u_d, u_l, delta_b, delta_d, delta_l, B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    z_b, z_d, z_l, y_b, y_d, y_l, initial_b, initial_d, initial_n,
    K: gl.constexpr, W: gl.constexpr,
    HAS_D: gl.constexpr, HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr, SOFTPLUS: gl.constexpr,
    INITIAL: gl.constexpr, LAST: gl.constexpr, SAVE: gl.constexpr, COPY: gl.constexpr, RESET: gl.constexpr,
):  # fmt: skip
    """One row, 2 K W channels, all of time; one saved state in SAVE steps (0: none).

    With RESET, `words` tell where sequences begin, from zero.
    """
    gl.static_assert(SAVE == 0 or SAVE == BLOCK)
    DT: gl.constexpr = 2 * K * W
    G: gl.constexpr = N // K
    S: gl.constexpr = few_states(N, K, W)
    SN: gl.constexpr = gl.SliceLayout(1, S)
    SD: gl.constexpr = gl.SliceLayout(0, S)
    E: gl.constexpr = few_streams(BLOCK, K, W)
    ED: gl.constexpr = gl.SliceLayout(0, E)
    P: gl.constexpr = few_projections(BLOCK, N, W)
    WALK: gl.constexpr = sums_of_walk(BLOCK, G, K, W)
    SUMS: gl.constexpr = sums_of_streams(BLOCK, G, K, W)
    OF_CHANNELS: gl.constexpr = steps_of_channels(N, K, W)
    OF_STATES: gl.constexpr = steps_of_states(N, K, W)

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
    of_sums: gl.constexpr = [BLOCK // 4, W, K, G, 2, 4]
    of_rows: gl.constexpr = rows_of_four(of_channels[1:])
    of_projections: gl.constexpr = rows_of_four(of_states[1:])
    IN_TIME: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0, 1])
    # Of each two, for this block and the next one by turns: what is written meanwhile is not what is read.
    s_blocks, w_blocks, B_blocks, C_blocks, y_blocks = (), (), (), (), ()
    u_memory, x_memory, B_memory, C_memory, z_memory = (), (), (), (), ()
    for _ in gl.static_range(2):
        s_blocks += (gl.allocate_shared_memory(gl.float32, of_channels, rows_of_four(of_channels)),)
        w_blocks += (gl.allocate_shared_memory(gl.float32, of_channels, rows_of_four(of_channels)),)
        B_blocks += (gl.allocate_shared_memory(gl.float32, of_states, rows_of_four(of_states)),)
        C_blocks += (gl.allocate_shared_memory(gl.float32, of_states, rows_of_four(of_states)),)
        y_blocks += (gl.allocate_shared_memory(gl.float32, of_sums, rows_of_sums(of_sums)),)
        u_memory += (gl.allocate_shared_memory(u.dtype.element_ty, [BLOCK, DT], IN_TIME),)
        x_memory += (gl.allocate_shared_memory(delta.dtype.element_ty, [BLOCK, DT], IN_TIME),)
        B_memory += (gl.allocate_shared_memory(B.dtype.element_ty, [BLOCK, N], IN_TIME),)
        C_memory += (gl.allocate_shared_memory(C.dtype.element_ty, [BLOCK, N], IN_TIME),)
        if HAS_Z:
            z_memory += (gl.allocate_shared_memory(z.dtype.element_ty, [BLOCK, DT], IN_TIME),)

    u_1 = stream(u, u_d, u_l, channel, 0, t, length, live)
    z_1 = u_1
    if HAS_Z:
        z_1 = stream(z, z_d, z_l, channel, 0, t, length, live)
    u_0, z_0 = u_1, z_1
    x_1 = stream(delta, delta_d, delta_l, channel, 0, t, length, live)
    B_blocks[0].store(by_fours(stream(B, B_n, B_l, ip_at, 0, tp, length, known).to(gl.float32)))
    C_blocks[0].store(by_fours(stream(C, C_n, C_l, ip_at, 0, tp, length, known).to(gl.float32)))
    prepare(u_1, x_1, shift, (t < length)[:, None] & live, s_blocks[0], w_blocks[0], SOFTPLUS)
    if COPY:
        ask(u_memory[1], u, u_d, u_l, channel, BLOCK, t, live, length)
        ask(x_memory[1], delta, delta_d, delta_l, channel, BLOCK, t, live, length)
        if HAS_Z:
            ask(z_memory[1], z, z_d, z_l, channel, BLOCK, t, live, length)
        ask(B_memory[1], B, B_n, B_l, ip_at, BLOCK, tp, known, length)
        ask(C_memory[1], C, C_n, C_l, ip_at, BLOCK, tp, known, length)
        async_copy.commit_group()
    word = 0
    if RESET:
        words += batch * gl.cdiv(length, BLOCK)
        word_1 = gl.load(words, mask=length > 0, other=0)
    for pair in range(0, length, 2 * BLOCK):
        for p in gl.static_range(2):
            now = pair + p * BLOCK
            following = now + BLOCK
            if COPY:
                ahead = following + BLOCK
                ask(u_memory[p], u, u_d, u_l, channel, ahead, t, live, length)
                ask(x_memory[p], delta, delta_d, delta_l, channel, ahead, t, live, length)
                if HAS_Z:
                    ask(z_memory[p], z, z_d, z_l, channel, ahead, t, live, length)
                ask(B_memory[p], B, B_n, B_l, ip_at, ahead, tp, known, length)
                ask(C_memory[p], C, C_n, C_l, ip_at, ahead, tp, known, length)
                async_copy.commit_group()
                async_copy.wait_group(1)
            s_rows = seen_as(s_blocks[p], of_channels, of_rows)
            w_rows = seen_as(w_blocks[p], of_channels, of_rows)
            B_rows = seen_as(B_blocks[p], of_states, of_projections)
            C_rows = seen_as(C_blocks[p], of_states, of_projections)
            if RESET:
                word = word_1
                word_1 = gl.load(words + following // BLOCK, mask=following < length, other=0)
            sums = ()
            coming = next_steps(s_rows, w_rows, B_rows, C_rows, 0, OF_CHANNELS, OF_STATES)
            if SAVE:
                slot = (row * blocks + now // BLOCK).to(gl.int64) * n * dim
                gl.store(saved + slot + state_at, h, mask=both & (now < length))
            for k in gl.static_range(BLOCK // 4):
                s_v, w_v, B_v, C_v = coming
                if k + 1 < BLOCK // 4:
                    coming = next_steps(s_rows, w_rows, B_rows, C_rows, k + 1, OF_CHANNELS, OF_STATES)
                ss, ws = four(s_v, SD), four(w_v, SD)
                Bs, Cs = four(B_v, SN), four(C_v, SN)
                for v in gl.static_range(4):
                    a_v = gl.exp2(ss[v][None, :] * a2)
                    x_v = ws[v][None, :] * Bs[v][:, None]
                    if RESET:
                        h = stepped(a_v, h, x_v, word, 4 * k + v)
                    else:
                        h = gl.fma(a_v, h, x_v)
                    sums += (in_turn((Cs[v][:, None] * h).reshape([K, G, DT]).permute((1, 2, 0))),)
                if k == AT_PROJECTIONS:
                    B_2 = arrived(B_memory[1 - p], B, B_n, B_l, ip_at, following, tp, known, length, P, COPY)
                    C_2 = arrived(C_memory[1 - p], C, C_n, C_l, ip_at, following, tp, known, length, P, COPY)
                    B_blocks[1 - p].store(by_fours(B_2.to(gl.float32)))
                    C_blocks[1 - p].store(by_fours(C_2.to(gl.float32)))
                if k == AT_STREAMS:
                    u_2 = arrived(u_memory[1 - p], u, u_d, u_l, channel, following, t, live, length, E, COPY)
                    x_2 = arrived(
                        x_memory[1 - p], delta, delta_d, delta_l, channel, following, t, live, length, E, COPY
                    )
                    z_2 = u_2
                    if HAS_Z:
                        z_2 = arrived(
                            z_memory[1 - p], z, z_d, z_l, channel, following, t, live, length, E, COPY
                        )
                    valid = (following + t < length)[:, None] & live
                    prepare(u_2, x_2, shift, valid, s_blocks[1 - p], w_blocks[1 - p], SOFTPLUS)
                if k == AT_LAST:
                    past = now - BLOCK + t
                    to = y + channel[None, :] * y_d + past.to(gl.int64)[:, None] * y_l
                    here = ((past >= 0) & (past < length))[:, None] & live
                    finish(y_blocks[1 - p], u_0, z_0, skip, to, here, E, SUMS, HAS_D, HAS_Z)
            y_blocks[p].store(in_order_of_lanes(stacked(sums), K, W, WALK))
            u_0, z_0 = u_1, z_1
            u_1, z_1 = u_2, z_2
    if COPY:
        async_copy.wait_group(0)
    past = gl.cdiv(length, 2 * BLOCK) * (2 * BLOCK) - BLOCK + t
    to = y + channel[None, :] * y_d + past.to(gl.int64)[:, None] * y_l
    here = ((past >= 0) & (past < length))[:, None] & live
    finish(y_blocks[1], u_0, z_0, skip, to, here, E, SUMS, HAS_D, HAS_Z)
    if LAST:
        gl.store(last + batch * n * dim + user_at, h, mask=both)
