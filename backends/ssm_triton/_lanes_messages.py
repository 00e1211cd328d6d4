"""The adjoint recurrence alone in Gluon, over each segment of a split time but the first.

For the calls that `_lanes_backward` takes; `_messages` is its plain twin. A block of 32 steps at a time,
last first: Δ and q = dy silu(z) are computed once for each channel and step and laid in shared memory,
and the recurrence walks through them in registers. The product of a segment's decays is one exponential of
A ΣΔ, whose sum is kept in float64: its error is below that of the product, step by step.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from ssm_triton._lanes_layouts import (
    BLOCK,
    all_stored,
    fours,
    projections,
    rows,
    seen_as,
    sigmoid,
    stream,
    streams,
    widened,
)
from ssm_triton._lanes_pairs import by_lanes, numbers_of, of_a_lane, paired_rows
from ssm_triton._lanes_resets import NOTHING_PASSES, begins, restarted, some_begin
from ssm_triton._math import LOG2_E, softplus

AT_ONCE: gl.constexpr = gl.constexpr(16)  # steps unrolled
R: gl.constexpr = gl.constexpr(2)  # channels of a lane


@gluon.jit
def gone_back(
    m, tile, now, word, a2, x_rows, C_rows, row_of, both, dlast, dlast_b, last_at,
    OF: gl.constexpr, SD: gl.constexpr, SN: gl.constexpr, CUT: gl.constexpr, TO: gl.constexpr,
):  # fmt: skip
    """What goes back out of the first of so many steps at once, to the step before it.

    With CUT a sequence begins in one of them or more; with TO the one before it has a last state of its own.
    """
    for v in gl.static_range(AT_ONCE):
        step = tile * AT_ONCE + AT_ONCE - 1 - v
        s_v, q_v = numbers_of(x_rows, step, OF, SD)
        a_v = gl.exp2(s_v[None, :] * a2)
        m = a_v * (q_v[None, :] * C_rows.index(step).load(SN)[:, None] + m)
        if CUT:
            m = restarted(m, begins(word, step), row_of, now + step - 1, dlast, dlast_b, last_at, both, TO)
    return m


@gluon.jit
def messages_lanes(
    delta, A, C, z, bias, words, row_of, dy, dlast, decay, message,
    length, dim, n, per_C, tiles, batches, tiles_per_cell, cell, segments, SEGMENT,
    delta_b, delta_d, delta_l, C_b, C_g, C_n, C_l, z_b, z_d, z_l, dy_b, dy_d, dy_l, dlast_b, dlast_d, dlast_n,
    N: gl.constexpr, W: gl.constexpr, TIME: gl.constexpr, TIME_C: gl.constexpr,
    HAS_Z: gl.constexpr, HAS_BIAS: gl.constexpr, SOFTPLUS: gl.constexpr,
    RESET: gl.constexpr, PACKED: gl.constexpr, LAST: gl.constexpr,
):  # fmt: skip
    """m_t = a_t λ_t at a segment's start, from a zero message into its end, and its product of decays.

    RESET and PACKED are as in `_lanes_backward`.
    """
    DT: gl.constexpr = 128 * R * W // N
    PAD_C: gl.constexpr = 4 if TIME_C else 0
    S: gl.constexpr = fours(N, R, W)
    SN: gl.constexpr = gl.SliceLayout(1, S)
    SD: gl.constexpr = gl.SliceLayout(0, S)
    E: gl.constexpr = streams(DT, BLOCK, W, TIME)
    ED: gl.constexpr = gl.SliceLayout(0, E)
    P: gl.constexpr = projections(N, W, TIME_C)
    OF: gl.constexpr = of_a_lane(N, R, W)

    tile = gl.program_id(0) % tiles
    row = (gl.program_id(0) // tiles) % batches
    segment = 1 + gl.program_id(0) // tiles // batches
    inside = (tile % tiles_per_cell) * DT
    d0 = (tile // tiles_per_cell) * cell + inside
    left = cell - inside
    batch = row.to(gl.int64)
    first = segment * SEGMENT
    stop = gl.minimum(first + SEGMENT, length)
    count = gl.cdiv(stop - first, BLOCK)

    i = gl.arange(0, N, SN)
    j = gl.arange(0, DT, SD)
    both = (i < n)[:, None] & (j < left)[None, :]
    user_at = (d0 + j).to(gl.int64)[None, :] * n + i[:, None]
    a2 = gl.load(A + user_at, mask=both, other=0.0) * LOG2_E
    m = gl.zeros([N, DT], gl.float32, S)
    last_at = (d0 + j).to(gl.int64)[None, :] * dlast_d + i.to(gl.int64)[:, None] * dlast_n
    TO: gl.constexpr = PACKED and LAST
    elapsed = gl.zeros([BLOCK, DT], gl.float64, E)

    t = gl.arange(0, BLOCK, gl.SliceLayout(1, E))
    e = gl.arange(0, DT, ED)
    live = (e < left)[None, :]
    channel = (d0 + e).to(gl.int64)
    shift = gl.zeros([DT], gl.float32, ED)
    if HAS_BIAS:
        shift = gl.load(bias + channel, mask=e < left, other=0.0)
    delta += batch * delta_b
    dy += batch * dy_b
    if HAS_Z:
        z += batch * z_b
    tp = gl.arange(0, BLOCK, gl.SliceLayout(1, P))
    ip = gl.arange(0, N, gl.SliceLayout(0, P))
    ip_at = ip.to(gl.int64)
    known = (ip < n)[None, :]
    C += batch * C_b + (d0 // per_C).to(gl.int64) * C_g

    both_rows: gl.constexpr = [BLOCK, DT // R, R, 2]
    x_block = gl.allocate_shared_memory(gl.float32, both_rows, paired_rows(both_rows, DT, TIME))
    x_rows = seen_as(x_block, both_rows, paired_rows(both_rows[1:], DT, TIME))
    C_block = gl.allocate_shared_memory(gl.float32, [BLOCK, N], rows(N, PAD_C, BLOCK))
    C_rows = seen_as(C_block, [BLOCK, N], rows(N, PAD_C, 0))

    # One block ahead: its loads are under way while this one is computed. There is always one before.
    now = first + (count - 1) * BLOCK
    x_1 = stream(delta, delta_d, delta_l, channel, now, t, stop, live)
    r_1 = stream(dy, dy_d, dy_l, channel, now, t, stop, live)
    z_1 = r_1
    if HAS_Z:
        z_1 = stream(z, z_d, z_l, channel, now, t, stop, live)
    C_1 = stream(C, C_n, C_l, ip_at, now, tp, stop, known)
    word = first * 0
    cuts = word
    if RESET:
        words += batch * gl.cdiv(length, BLOCK)
        word_1 = gl.load(words + now // BLOCK)
    for block in range(count):
        now = first + (count - 1 - block) * BLOCK
        s = widened(x_1) + shift[None, :]
        if SOFTPLUS:
            s = softplus(s)
        s = gl.where((now + t < stop)[:, None] & live, s, 0.0)
        elapsed += s.to(gl.float64)
        q = widened(r_1)
        if HAS_Z:
            z_t = widened(z_1)
            q *= z_t * sigmoid(z_t)
        x_block.store(gl.join(by_lanes(s, R), by_lanes(q, R)))
        C_block.store(widened(C_1))
        ahead = now - BLOCK
        if RESET:
            word = word_1
            cuts = cuts | word
            word_1 = gl.load(words + ahead // BLOCK)
        x_1 = stream(delta, delta_d, delta_l, channel, ahead, t, stop, live)
        r_1 = stream(dy, dy_d, dy_l, channel, ahead, t, stop, live)
        if HAS_Z:
            z_1 = stream(z, z_d, z_l, channel, ahead, t, stop, live)
        C_1 = stream(C, C_n, C_l, ip_at, ahead, tp, stop, known)
        all_stored()
        for back in range(BLOCK // AT_ONCE):
            part = BLOCK // AT_ONCE - 1 - back
            if some_begin(word, part * AT_ONCE, AT_ONCE) if RESET else False:
                m = gone_back(
                    m, part, now, word, a2, x_rows, C_rows, row_of, both, dlast, dlast_b, last_at,
                    OF, SD, SN, True, TO,
                )  # fmt: skip
            else:
                m = gone_back(
                    m, part, now, word, a2, x_rows, C_rows, row_of, both, dlast, dlast_b, last_at,
                    OF, SD, SN, False, TO,
                )  # fmt: skip

    to = (row * segments + segment).to(gl.int64) * n * dim + i[:, None] * dim + (d0 + j)[None, :]
    whole = gl.convert_layout(gl.sum(elapsed, 0), SD)[None, :] * a2.to(gl.float64)
    product = gl.exp2(whole.to(gl.float32))
    if RESET:
        product = gl.where(cuts != 0, NOTHING_PASSES, product)
    gl.store(decay + to, product, mask=both)
    gl.store(message + to, m, mask=both)
