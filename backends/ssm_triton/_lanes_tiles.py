"""A tile of four steps in the backward pass in Gluon: its states forward, and the adjoint back through it."""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from ssm_triton._lanes_layouts import T, over_channels, over_states, stacked, sums_of_steps
from ssm_triton._lanes_pairs import by_lanes, numbers_of
from ssm_triton._lanes_resets import begins, put_down, restarted


@gluon.jit
def walked(
    h, a2, x_rows, B_rows, tile, then, word, row_of, both, initial, initial_b, initial_at,
    OF: gl.constexpr, SD: gl.constexpr, SN: gl.constexpr, CUT: gl.constexpr, FROM: gl.constexpr,
):  # fmt: skip
    """The state after a tile, from the state before it. CUT and FROM are as in `gone_back`."""
    ss, ws, Bs = (), (), ()
    for v in gl.static_range(T):
        s_v, w_v = numbers_of(x_rows, tile * T + v, OF, SD)
        ss += (s_v[None, :],)
        ws += (w_v[None, :],)
        Bs += (B_rows.index(tile * T + v).load(SN)[:, None],)
    for v in gl.static_range(T):
        if CUT:
            step = tile * T + v
            h = restarted(
                h, begins(word, step), row_of, then + step, initial, initial_b, initial_at, both, FROM
            )
        h = gl.exp2(ss[v] * a2) * h + ws[v] * Bs[v]
    return h


@gluon.jit
def walked_two(
    h, a2, x_rows, B_rows, tile, then, word, row_of, both, initial, initial_b, initial_at,
    OF: gl.constexpr, SD: gl.constexpr, SN: gl.constexpr, CUT: gl.constexpr, FROM: gl.constexpr,
):  # fmt: skip
    """The states after a tile and after the next one."""
    h_1 = walked(
        h, a2, x_rows, B_rows, tile, then, word, row_of, both, initial, initial_b, initial_at,
        OF, SD, SN, CUT, FROM,
    )  # fmt: skip
    h_2 = walked(
        h_1, a2, x_rows, B_rows, tile + 1, then, word, row_of, both, initial, initial_b, initial_at,
        OF, SD, SN, CUT, FROM,
    )  # fmt: skip
    return h_1, h_2


@gluon.jit
def gone_back(
    m, acc_A, tile, now, word, a2, x_rows, q_rows, x_tiles, q_tiles, B_rows, C_rows, dB_tiles, dC_tiles,
    starts, turn_B, turn_C,
    row_of, both, initial, initial_b, initial_at, dinitial, dinitial_b, dinitial_at, dlast, dlast_b, last_at,
    S: gl.constexpr, SN: gl.constexpr, SD: gl.constexpr, X: gl.constexpr, Q: gl.constexpr, OF: gl.constexpr,
    R: gl.constexpr, HAS_Z: gl.constexpr, CUT: gl.constexpr, FROM: gl.constexpr, TO: gl.constexpr,
):  # fmt: skip
    """One tile: its states again, and the adjoint through it; what its steps give goes to shared memory.

    Returns the adjoint that goes back out of its first step, to the step before it, and the gradient of A so
    far. With CUT a sequence begins in one of its steps or more: with FROM it has a first state of its own,
    and with TO the one before it a last one.
    """
    h = starts.index(tile).load(S)
    a, past, ss, ws, qs, Bs, Cs, ys, by_C = (), (), (), (), (), (), (), (), ()
    for v in gl.static_range(T):
        s_v, w_v = numbers_of(x_rows, tile * T + v, OF, SD)
        q_v, _ = numbers_of(q_rows, tile * T + v, OF, SD)
        ss += (s_v[None, :],)
        ws += (w_v[None, :],)
        qs += (q_v[None, :],)
        Bs += (B_rows.index(tile * T + v).load(SN)[:, None],)
        Cs += (C_rows.index(tile * T + v).load(SN)[:, None],)
        a += (gl.exp2(ss[v] * a2),)
        if CUT:
            step = tile * T + v
            h = restarted(
                h, begins(word, step), row_of, now + step, initial, initial_b, initial_at, both, FROM
            )
        past += (a[v] * h,)
        h = past[v] + ws[v] * Bs[v]
        by_C += (over_channels(qs[v] * h, R),)
        if HAS_Z:
            ys += (over_states(Cs[v] * h),)
    if HAS_Z:
        y = sums_of_steps(ys[0], ys[1], ys[2], ys[3], R)
    turn_C.store(gl.convert_layout(stacked(by_C), X))
    bs, es, by_B = (), (), ()
    for k in gl.static_range(T):
        lam = qs[T - 1 - k] * Cs[T - 1 - k] + m
        through_A = lam * past[T - 1 - k]
        m = lam * a[T - 1 - k]
        if CUT:
            step = tile * T + T - 1 - k
            cut = begins(word, step)
            if FROM:
                put_down(m, cut, row_of, now + step, dinitial, dinitial_b, dinitial_at, both)
            m = restarted(m, cut, row_of, now + step - 1, dlast, dlast_b, last_at, both, TO)
        acc_A += ss[T - 1 - k] * through_A
        bs += (over_states(lam * Bs[T - 1 - k]),)
        es += (over_states(a2 * through_A),)
        by_B += (over_channels(ws[T - 1 - k] * lam, R),)
    through_b = sums_of_steps(bs[3], bs[2], bs[1], bs[0], R)
    through_a = sums_of_steps(es[3], es[2], es[1], es[0], R)
    turn_B.store(gl.convert_layout(stacked((by_B[3], by_B[2], by_B[1], by_B[0])), X))
    dC_tiles.index(tile).store(gl.sum(turn_C.load(Q), 2))
    dB_tiles.index(tile).store(gl.sum(turn_B.load(Q), 2))
    if not HAS_Z:
        y = through_a  # a number that nobody reads
    x_tiles.index(tile).slice(1, 1, 3).store(
        by_lanes(through_b, R).reshape([T, through_b.shape[1] // R, R, 1])
    )
    q_tiles.index(tile).store(gl.join(by_lanes(y, R), by_lanes(through_a, R)))
    return m, acc_A
