"""The gradients of the short causal convolution: one kernel, and one that adds up what spans found.

Four steps need the cotangents before the activation, g, at the three after them. Where a lane walks through
time, it makes the next four before it uses these. Where steps lie next to each other in memory so do lanes:
each is given the next one's, and the last lane those of the tile after, which was gone through before. Gates
are made twice only after the end of a lane's walk, and in the first four steps of each lane after a span.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._convolution_gradients import cotangents, four_steps
from ssm_triton._convolution_steps import (
    eight,
    four,
    four_go_on,
    four_or_before,
    line,
    place_steps,
    put_eight,
    put_four,
    weights,
)


@triton.jit
def _walked_tile(
    x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b, s0, s1, s2, s3, sb,
    x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
    W: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr, LAST: tl.constexpr,
    WIDE: tl.constexpr, TIME_DY: tl.constexpr, WALK: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """A tile in which each lane walks through WALK times four steps; the sums with what it adds.

    EDGE: the tile, or what it reads before and after it, may reach beyond the ends, or to a state.
    """
    _, a1, a2, a3 = line(
        x, initial, d, t - 4, x_d, x_t, i_d, i_v, live, length, W, WIDE, False, INITIAL, EDGE
    )
    x0, x1, x2, x3 = line(x, initial, d, t, x_d, x_t, i_d, i_v, live, length, W, WIDE, False, INITIAL, EDGE)
    _, _, km2, km1, at_end = four_go_on(seq_idx, t - 4, s_t, length, 0, RESET, False, EDGE)
    k0, k1, k2, k3, at_end = four_go_on(seq_idx, t, s_t, length, at_end, RESET, False, EDGE)
    g0, g1, g2, g3 = four(dy, d, t, dy_d, dy_t, live, length, WIDE, TIME_DY, EDGE)
    g0, g1, g2, g3 = cotangents(
        g0, g1, g2, g3, a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, t, length,
        w0, w1, w2, w3, b, W, SILU, RESET, EDGE,
    )  # fmt: skip
    for _ in range(WALK):
        x4, x5, x6, x7 = line(
            x, initial, d, t + 4, x_d, x_t, i_d, i_v, live, length, W, WIDE, False, INITIAL, EDGE
        )
        k4, k5, k6, k7, at_end = four_go_on(seq_idx, t + 4, s_t, length, at_end, RESET, False, EDGE)
        g4, g5, g6, g7 = four(dy, d, t + 4, dy_d, dy_t, live, length, WIDE, TIME_DY, EDGE)
        g4, g5, g6, g7 = cotangents(
            g4, g5, g6, g7, x1, x2, x3, x4, x5, x6, x7, k2, k3, k4, k5, k6, k7, t + 4, length,
            w0, w1, w2, w3, b, W, SILU, RESET, EDGE,
        )  # fmt: skip
        s0, s1, s2, s3, sb, dx0, dx1, dx2, dx3 = four_steps(
            dlast, dinitial, d, t, live, length, w0, w1, w2, w3, s0, s1, s2, s3, sb,
            a1, a2, a3, x0, x1, x2, x3, g0, g1, g2, g3, g4, g5, g6, km2, km1, k0, k1, k2, k3, k4, k5, k6,
            dl_d, dl_v, W, INITIAL, RESET, LAST, EDGE,
        )  # fmt: skip
        put_four(dx, d, t, dx_d, dx_t, live, length, dx0, dx1, dx2, dx3, False, EDGE)
        a1, a2, a3, km2, km1 = x1, x2, x3, k2, k3
        x0, x1, x2, x3, k0, k1, k2, k3 = x4, x5, x6, x7, k4, k5, k6, k7
        g0, g1, g2, g3 = g4, g5, g6, g7
        t += 4
    return s0, s1, s2, s3, sb


@triton.jit
def _turned_fours(
    x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b, s0, s1, s2, s3, sb,
    n0, n1, n2, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
    W: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr, LAST: tl.constexpr,
    WIDE: tl.constexpr, TIME_DY: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """Each lane has four steps; what is given back is as in `_turned_tile`."""
    _, a1, a2, a3 = line(x, initial, d, t - 4, x_d, x_t, i_d, i_v, live, length, W, WIDE, True, INITIAL, EDGE)
    x0, x1, x2, x3 = line(x, initial, d, t, x_d, x_t, i_d, i_v, live, length, W, WIDE, True, INITIAL, EDGE)
    _, _, km2, km1, at_end = four_go_on(seq_idx, t - 4, s_t, length, 0, RESET, True, EDGE)
    k0, k1, k2, k3, at_end = four_go_on(seq_idx, t, s_t, length, at_end, RESET, True, EDGE)
    k4, k5, k6, _, _ = four_go_on(seq_idx, t + 4, s_t, length, at_end, RESET, True, EDGE)
    g0, g1, g2, g3 = four(dy, d, t, dy_d, dy_t, live, length, WIDE, TIME_DY, EDGE)
    g0, g1, g2, g3 = cotangents(
        g0, g1, g2, g3, a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, t, length,
        w0, w1, w2, w3, b, W, SILU, RESET, EDGE,
    )  # fmt: skip
    t0, t1, t2 = _turned(g0), _turned(g1), _turned(g2)
    s0, s1, s2, s3, sb, dx0, dx1, dx2, dx3 = four_steps(
        dlast, dinitial, d, t, live, length, w0, w1, w2, w3, s0, s1, s2, s3, sb,
        a1, a2, a3, x0, x1, x2, x3, g0, g1, g2, g3, _or_next(t0, n0), _or_next(t1, n1), _or_next(t2, n2),
        km2, km1, k0, k1, k2, k3, k4, k5, k6, dl_d, dl_v, W, INITIAL, RESET, LAST, EDGE,
    )  # fmt: skip
    put_four(dx, d, t, dx_d, dx_t, live, length, dx0, dx1, dx2, dx3, True, EDGE)
    return s0, s1, s2, s3, sb, t0, t1, t2


@triton.jit
def _turned_eights(
    x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b, s0, s1, s2, s3, sb,
    n0, n1, n2, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
    W: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr, LAST: tl.constexpr,
    TIME_DY: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """Each lane has eight steps, of 16 bits: an access of 16 bytes."""
    _, a1, a2, a3 = line(
        x, initial, d, t - 4, x_d, x_t, i_d, i_v, live, length, W, False, True, INITIAL, EDGE
    )
    x0, x1, x2, x3, x4, x5, x6, x7 = eight(x, d, t, x_d, x_t, live, length, EDGE)
    if INITIAL and EDGE:
        x0, x1, x2, x3 = four_or_before(x0, x1, x2, x3, initial, d, t, i_d, i_v, live, W)
    if TIME_DY:
        g0, g1, g2, g3, g4, g5, g6, g7 = eight(dy, d, t, dy_d, dy_t, live, length, EDGE)
    else:
        g0, g1, g2, g3 = four(dy, d, t, dy_d, dy_t, live, length, False, False, EDGE)
        g4, g5, g6, g7 = four(dy, d, t + 4, dy_d, dy_t, live, length, False, False, EDGE)
    _, _, km2, km1, at_end = four_go_on(seq_idx, t - 4, s_t, length, 0, RESET, True, EDGE)
    k0, k1, k2, k3, at_end = four_go_on(seq_idx, t, s_t, length, at_end, RESET, True, EDGE)
    k4, k5, k6, k7, at_end = four_go_on(seq_idx, t + 4, s_t, length, at_end, RESET, True, EDGE)
    k8, k9, k10, _, _ = four_go_on(seq_idx, t + 8, s_t, length, at_end, RESET, True, EDGE)
    g0, g1, g2, g3 = cotangents(
        g0, g1, g2, g3, a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, t, length,
        w0, w1, w2, w3, b, W, SILU, RESET, EDGE,
    )  # fmt: skip
    g4, g5, g6, g7 = cotangents(
        g4, g5, g6, g7, x1, x2, x3, x4, x5, x6, x7, k2, k3, k4, k5, k6, k7, t + 4, length,
        w0, w1, w2, w3, b, W, SILU, RESET, EDGE,
    )  # fmt: skip
    t0, t1, t2 = _turned(g0), _turned(g1), _turned(g2)
    s0, s1, s2, s3, sb, dx0, dx1, dx2, dx3 = four_steps(
        dlast, dinitial, d, t, live, length, w0, w1, w2, w3, s0, s1, s2, s3, sb,
        a1, a2, a3, x0, x1, x2, x3, g0, g1, g2, g3, g4, g5, g6, km2, km1, k0, k1, k2, k3, k4, k5, k6,
        dl_d, dl_v, W, INITIAL, RESET, LAST, EDGE,
    )  # fmt: skip
    s0, s1, s2, s3, sb, dx4, dx5, dx6, dx7 = four_steps(
        dlast, dinitial, d, t + 4, live, length, w0, w1, w2, w3, s0, s1, s2, s3, sb,
        x1, x2, x3, x4, x5, x6, x7, g4, g5, g6, g7, _or_next(t0, n0), _or_next(t1, n1), _or_next(t2, n2),
        k2, k3, k4, k5, k6, k7, k8, k9, k10, dl_d, dl_v, W, INITIAL, RESET, LAST, EDGE,
    )  # fmt: skip
    put_eight(dx, d, t, dx_d, dx_t, live, length, dx0, dx1, dx2, dx3, dx4, dx5, dx6, dx7, EDGE)
    return s0, s1, s2, s3, sb, t0, t1, t2


@triton.jit
def _turned_tile(
    x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b, s0, s1, s2, s3, sb,
    n0, n1, n2, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
    W: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr, LAST: tl.constexpr,
    WIDE: tl.constexpr, TIME_DY: tl.constexpr, WALK: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """A tile in which each lane has the WALK times four steps before the next one's.

    The sums with what it adds, and turned cotangents, as n0 to n2 are of the tile after.
    """
    if WALK == 2:
        s0, s1, s2, s3, sb, n0, n1, n2 = _turned_eights(
            x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b,
            s0, s1, s2, s3, sb, n0, n1, n2, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
            W, SILU, INITIAL, RESET, LAST, TIME_DY, EDGE,
        )  # fmt: skip
    else:
        s0, s1, s2, s3, sb, n0, n1, n2 = _turned_fours(
            x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b,
            s0, s1, s2, s3, sb, n0, n1, n2, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
            W, SILU, INITIAL, RESET, LAST, WIDE, TIME_DY, EDGE,
        )  # fmt: skip
    return s0, s1, s2, s3, sb, n0, n1, n2


@triton.jit
def _turned(g):
    """Each lane's is the next one's, and the last one's the first one's."""
    lanes: tl.constexpr = g.shape[1]
    after = (tl.arange(0, lanes) + 1) % lanes
    return tl.gather(g, tl.broadcast_to(after[None, :], g.shape), 1)


@triton.jit
def _or_next(turned, following):
    """The last lane's from the tile after: of its first lane, which stands last there, as both are turned."""
    lanes: tl.constexpr = turned.shape[1]
    return tl.where((tl.arange(0, lanes) == lanes - 1)[None, :], following, turned)


@triton.jit
def _turned_after(
    x, initial, seq_idx, dy, d, t, live, length, w0, w1, w2, w3, b,
    x_d, x_t, i_d, i_v, s_t, dy_d, dy_t,
    W: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr, WIDE: tl.constexpr,
    TIME_DY: tl.constexpr,
):  # fmt: skip
    """The turned cotangents of the tile after a span, which another program goes through.

    Those of the last lane alone are used.
    """
    _, a1, a2, a3 = line(x, initial, d, t - 4, x_d, x_t, i_d, i_v, live, length, W, WIDE, True, INITIAL, True)
    x0, x1, x2, x3 = line(x, initial, d, t, x_d, x_t, i_d, i_v, live, length, W, WIDE, True, INITIAL, True)
    _, _, km2, km1, at_end = four_go_on(seq_idx, t - 4, s_t, length, 0, RESET, True, True)
    k0, k1, k2, k3, at_end = four_go_on(seq_idx, t, s_t, length, at_end, RESET, True, True)
    g0, g1, g2, g3 = four(dy, d, t, dy_d, dy_t, live, length, WIDE, TIME_DY, True)
    g0, g1, g2, _ = cotangents(
        g0, g1, g2, g3, a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, t, length,
        w0, w1, w2, w3, b, W, SILU, RESET, True,
    )  # fmt: skip
    return _turned(g0), _turned(g1), _turned(g2)


@triton.jit
def convolve_backward(
    x, weight, bias, initial, seq_idx, dy, dlast, dx, dinitial, pieces,
    dim, length, tiles, spans, first,
    x_b, x_d, x_t, i_b, i_d, i_v, s_b, s_t, dy_b, dy_d, dy_t, dl_b, dl_d, dl_v, dx_b, dx_d, dx_t,
    W: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr,
    LAST: tl.constexpr, WIDE: tl.constexpr, TIME: tl.constexpr, TIME_DY: tl.constexpr, DT: tl.constexpr,
    T: tl.constexpr, WALK: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    """dx and dinitial of one row, DT channels, EACH tiles of T steps; a piece of the sums dweight and dbias.

    TIME: steps lie next to each other, and tiles are gone through from the last to the first; elsewhere EACH
    is one.
    """
    row, span, d, start, t = place_steps(tiles, spans, first, DT, T, WALK, EACH)
    live = d < dim
    x += row * x_b
    dy += row * dy_b
    dx += row * dx_b
    if INITIAL:
        initial += row * i_b
        dinitial += row * dim * (W - 1)
    if RESET:
        seq_idx += row * s_b
    if LAST:
        dlast += row * dl_b
    w0, w1, w2, w3, b = weights(weight, bias, d, live, W, WIDE, HAS_BIAS)
    s0 = tl.zeros((DT, T // (4 * WALK)), w0.dtype)
    s1, s2, s3, sb = s0, s0, s0, s0
    if TIME:
        count = tl.minimum(tl.cdiv(length - start, T), EACH)
        start += count * T
        t += count * T
        n0, n1, n2 = s0, s0, s0
        if start < length:
            n0, n1, n2 = _turned_after(
                x, initial, seq_idx, dy, d, t, live, length, w0, w1, w2, w3, b, x_d, x_t, i_d, i_v, s_t, dy_d,
                dy_t, W, SILU, INITIAL, RESET, WIDE, TIME_DY,
            )  # fmt: skip
        for _ in range(count):
            start -= T
            t -= T
            if (start >= 4) & (start <= length - T - 4):
                s0, s1, s2, s3, sb, n0, n1, n2 = _turned_tile(
                    x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b,
                    s0, s1, s2, s3, sb, n0, n1, n2, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v,
                    dx_d, dx_t, W, SILU, INITIAL, RESET, LAST, WIDE, TIME_DY, WALK, False,
                )  # fmt: skip
            else:
                s0, s1, s2, s3, sb, n0, n1, n2 = _turned_tile(
                    x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b,
                    s0, s1, s2, s3, sb, n0, n1, n2, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v,
                    dx_d, dx_t, W, SILU, INITIAL, RESET, LAST, WIDE, TIME_DY, WALK, True,
                )  # fmt: skip
    elif (start >= 4) & (start <= length - T - 4):
        s0, s1, s2, s3, sb = _walked_tile(
            x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b,
            s0, s1, s2, s3, sb, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
            W, SILU, INITIAL, RESET, LAST, WIDE, TIME_DY, WALK, False,
        )  # fmt: skip
    else:
        s0, s1, s2, s3, sb = _walked_tile(
            x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b,
            s0, s1, s2, s3, sb, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
            W, SILU, INITIAL, RESET, LAST, WIDE, TIME_DY, WALK, True,
        )  # fmt: skip

    # This program's share of the gradients of taps and bias.
    pieces += ((row * spans + span) * (W + 1)) * dim + d
    tl.store(pieces + (W - 1) * dim, tl.sum(s0, 1), mask=live)
    if W > 1:
        tl.store(pieces + (W - 2) * dim, tl.sum(s1, 1), mask=live)
    if W > 2:
        tl.store(pieces + (W - 3) * dim, tl.sum(s2, 1), mask=live)
    if W > 3:
        tl.store(pieces + (W - 4) * dim, tl.sum(s3, 1), mask=live)
    if HAS_BIAS:
        tl.store(pieces + W * dim, tl.sum(sb, 1), mask=live)


@triton.jit
def sum_spans(
    pieces, dweight, dbias, dim, count,
    W: tl.constexpr, HAS_BIAS: tl.constexpr, J: tl.constexpr, DT: tl.constexpr,
):  # fmt: skip
    """One tap, or the bias, of DT channels: the sum over spans and rows, J at a time, in a fixed order."""
    tap = tl.program_id(0) % (W + HAS_BIAS)
    d = tl.program_id(0) // (W + HAS_BIAS) * DT + tl.arange(0, DT)
    live = d < dim
    total = tl.zeros((J, DT), pieces.dtype.element_ty)
    for start in range(0, count, J):
        k = (start + tl.arange(0, J)).to(tl.int64)
        at = pieces + (k[:, None] * (W + 1) + tap) * dim + d[None, :]
        total += tl.load(at, mask=(k < count)[:, None] & live[None, :], other=0.0)
    found = tl.sum(total, 0)
    which = tap + 0 * d
    tl.store(dweight + d * W + tap, found.to(dweight.dtype.element_ty), mask=live & (which < W))
    if HAS_BIAS:
        tl.store(dbias + d, found.to(dbias.dtype.element_ty), mask=live & (which == W))
