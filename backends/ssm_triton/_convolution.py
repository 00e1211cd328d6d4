"""The short causal convolution and its gradients: one kernel each, and one that adds up what spans found.

Every array is read from memory once, and from cache by the neighbours: a program of the forward pass reads
three steps more than it writes, of the backward pass six. The initial state is four steps before the first
one, which programs have where something is written there.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._convolution_steps import (
    filtered,
    four,
    four_go_on,
    goes_on,
    line,
    place_steps,
    put,
    put_four,
    reach,
    weights,
)
from ssm_triton._math import exp, sigmoid


@triton.jit
def sigmoid_of(p):
    """σ(p); in float32 its reciprocal is a root's square: two instructions, where a division takes five."""
    if p.dtype == tl.float64:
        gate = sigmoid(p)
    else:
        root = tl.rsqrt(1.0 + exp(-p))
        gate = root * root
    return gate


@triton.jit
def convolve(
    x, weight, bias, initial, seq_idx, y, last,
    dim, length, tiles, spans, first,
    x_b, x_d, x_t, i_b, i_d, i_v, s_b, s_t, y_b, y_d, y_t,
    W: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr,
    LAST: tl.constexpr, WIDE: tl.constexpr, TIME: tl.constexpr, DT: tl.constexpr, T: tl.constexpr,
    WALK: tl.constexpr,
):  # fmt: skip
    """y and the last W − 1 inputs of one row, DT channels, T steps."""
    row, _, d, _, t = place_steps(tiles, spans, first, DT, T, WALK, 1)
    live = d < dim
    x += row * x_b
    y += row * y_b
    w0, w1, w2, w3, b = weights(weight, bias, d, live, W, WIDE, HAS_BIAS)
    if INITIAL:
        initial += row * i_b
    if RESET:
        seq_idx += row * s_b
    if LAST:
        last += row * dim * (W - 1)
    _, a1, a2, a3 = line(x, initial, d, t - 4, x_d, x_t, i_d, i_v, live, length, W, WIDE, TIME, INITIAL, True)
    for _ in range(WALK):
        x0, x1, x2, x3 = line(
            x, initial, d, t, x_d, x_t, i_d, i_v, live, length, W, WIDE, TIME, INITIAL, True
        )
        km2 = goes_on(seq_idx, t - 2, s_t, length, RESET)
        km1 = goes_on(seq_idx, t - 1, s_t, length, RESET)
        k0, k1, k2, k3 = four_go_on(seq_idx, t, s_t, length, RESET)
        q1, q2, q3 = reach(a3, a2, a1, k0, km1, km2, RESET)
        y0 = filtered(x0, q1, q2, q3, w0, w1, w2, w3, b, W)
        q1, q2, q3 = reach(x0, a3, a2, k1, k0, km1, RESET)
        y1 = filtered(x1, q1, q2, q3, w0, w1, w2, w3, b, W)
        q1, q2, q3 = reach(x1, x0, a3, k2, k1, k0, RESET)
        y2 = filtered(x2, q1, q2, q3, w0, w1, w2, w3, b, W)
        q1, q2, q3 = reach(x2, x1, x0, k3, k2, k1, RESET)
        y3 = filtered(x3, q1, q2, q3, w0, w1, w2, w3, b, W)
        if SILU:
            y0, y1, y2, y3 = (
                y0 * sigmoid_of(y0),
                y1 * sigmoid_of(y1),
                y2 * sigmoid_of(y2),
                y3 * sigmoid_of(y3),
            )
        put_four(y, d, t, y_d, y_t, live, length, y0, y1, y2, y3, TIME, True)
        if LAST:  # the input of step s stands at s − length + W − 1
            k4 = goes_on(seq_idx, t + 4, s_t, length, RESET)
            k5 = goes_on(seq_idx, t + 5, s_t, length, RESET)
            k6 = goes_on(seq_idx, t + 6, s_t, length, RESET)
            from_end = t - length + W - 1
            put(last, d, from_end, W - 1, 1, live, tl.where(k1 & k2 & k3, x0, 0.0), 0, W - 1)
            put(last, d, from_end + 1, W - 1, 1, live, tl.where(k2 & k3 & k4, x1, 0.0), 0, W - 1)
            put(last, d, from_end + 2, W - 1, 1, live, tl.where(k3 & k4 & k5, x2, 0.0), 0, W - 1)
            put(last, d, from_end + 3, W - 1, 1, live, tl.where(k4 & k5 & k6, x3, 0.0), 0, W - 1)
        a1, a2, a3 = x1, x2, x3
        t += 4


@triton.jit
def _before_activation(
    dy, x0, x1, x2, x3, w0, w1, w2, w3, bias, t, length,
    W: tl.constexpr, SILU: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """dy silu'(p); silu'(p) = σ(p)(1 + p σ(−p)). Zero beyond the ends, where p alone may overflow."""
    g = dy
    if SILU:
        p = filtered(x0, x1, x2, x3, w0, w1, w2, w3, bias, W)
        gate = sigmoid_of(p)
        g = dy * (gate * (1.0 + p * (1.0 - gate)))
        if EDGE:
            g = tl.where(((t >= 0) & (t < length))[None, :], g, 0.0)
    return g


@triton.jit
def _cotangents(
    dy, a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, d, t, dy_d, dy_t, live, length,
    w0, w1, w2, w3, b,
    W: tl.constexpr, SILU: tl.constexpr, RESET: tl.constexpr, WIDE: tl.constexpr, TIME: tl.constexpr,
    EDGE: tl.constexpr,
):  # fmt: skip
    """g_t = dy_t silu'(p_t) at steps t to t + 3."""
    g0, g1, g2, g3 = four(dy, d, t, dy_d, dy_t, live, length, WIDE, TIME, EDGE)
    q1, q2, q3 = reach(a3, a2, a1, k0, km1, km2, RESET)
    g0 = _before_activation(g0, x0, q1, q2, q3, w0, w1, w2, w3, b, t, length, W, SILU, EDGE)
    q1, q2, q3 = reach(x0, a3, a2, k1, k0, km1, RESET)
    g1 = _before_activation(g1, x1, q1, q2, q3, w0, w1, w2, w3, b, t + 1, length, W, SILU, EDGE)
    q1, q2, q3 = reach(x1, x0, a3, k2, k1, k0, RESET)
    g2 = _before_activation(g2, x2, q1, q2, q3, w0, w1, w2, w3, b, t + 2, length, W, SILU, EDGE)
    q1, q2, q3 = reach(x2, x1, x0, k3, k2, k1, RESET)
    g3 = _before_activation(g3, x3, q1, q2, q3, w0, w1, w2, w3, b, t + 3, length, W, SILU, EDGE)
    return g0, g1, g2, g3


@triton.jit
def _backward_tile(
    x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b, s0, s1, s2, s3, sb,
    x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
    W: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr, LAST: tl.constexpr,
    WIDE: tl.constexpr, TIME: tl.constexpr, TIME_DY: tl.constexpr, WALK: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """dx and dinitial of a tile, in which each lane has WALK times four steps; the sums with what it adds.

    EDGE: the tile, or what it reads before and after it, may reach beyond the ends, or to a state.
    """
    zero = w0 * 0.0
    _, a1, a2, a3 = line(x, initial, d, t - 4, x_d, x_t, i_d, i_v, live, length, W, WIDE, TIME, INITIAL, EDGE)
    x0, x1, x2, x3 = line(x, initial, d, t, x_d, x_t, i_d, i_v, live, length, W, WIDE, TIME, INITIAL, EDGE)
    km2 = goes_on(seq_idx, t - 2, s_t, length, RESET)
    km1 = goes_on(seq_idx, t - 1, s_t, length, RESET)
    k0, k1, k2, k3 = four_go_on(seq_idx, t, s_t, length, RESET)
    g0, g1, g2, g3 = _cotangents(
        dy, a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, d, t, dy_d, dy_t, live, length,
        w0, w1, w2, w3, b, W, SILU, RESET, WIDE, TIME_DY, EDGE,
    )  # fmt: skip
    for _ in range(WALK):
        x4, x5, x6, x7 = line(
            x, initial, d, t + 4, x_d, x_t, i_d, i_v, live, length, W, WIDE, TIME, INITIAL, EDGE
        )
        k4, k5, k6, k7 = four_go_on(seq_idx, t + 4, s_t, length, RESET)
        g4, g5, g6, g7 = _cotangents(
            dy, x1, x2, x3, x4, x5, x6, x7, k2, k3, k4, k5, k6, k7, d, t + 4, dy_d, dy_t, live, length,
            w0, w1, w2, w3, b, W, SILU, RESET, WIDE, TIME_DY, EDGE,
        )  # fmt: skip
        q1, q2, q3 = reach(a3, a2, a1, k0, km1, km2, RESET)
        s1, s2, s3 = s1 + g0 * q1, s2 + g0 * q2, s3 + g0 * q3
        q1, q2, q3 = reach(x0, a3, a2, k1, k0, km1, RESET)
        s1, s2, s3 = s1 + g1 * q1, s2 + g1 * q2, s3 + g1 * q3
        q1, q2, q3 = reach(x1, x0, a3, k2, k1, k0, RESET)
        s1, s2, s3 = s1 + g2 * q1, s2 + g2 * q2, s3 + g2 * q3
        q1, q2, q3 = reach(x2, x1, x0, k3, k2, k1, RESET)
        s1, s2, s3 = s1 + g3 * q1, s2 + g3 * q2, s3 + g3 * q3
        s0 += g0 * x0 + g1 * x1 + g2 * x2 + g3 * x3
        sb += g0 + g1 + g2 + g3

        # An input reaches the outputs of its own step and of the next three: the filter, turned around.
        q1, q2, q3 = reach(g1, g2, g3, k1, k2, k3, RESET)
        dx0 = filtered(g0, q1, q2, q3, w0, w1, w2, w3, zero, W)
        q1, q2, q3 = reach(g2, g3, g4, k2, k3, k4, RESET)
        dx1 = filtered(g1, q1, q2, q3, w0, w1, w2, w3, zero, W)
        q1, q2, q3 = reach(g3, g4, g5, k3, k4, k5, RESET)
        dx2 = filtered(g2, q1, q2, q3, w0, w1, w2, w3, zero, W)
        q1, q2, q3 = reach(g4, g5, g6, k4, k5, k6, RESET)
        dx3 = filtered(g3, q1, q2, q3, w0, w1, w2, w3, zero, W)
        if LAST and EDGE:
            e = t - length + W - 1
            dx0 += _of_last(dlast, d, e, dl_d, dl_v, live, k1 & k2 & k3, W).to(dx0.dtype)
            dx1 += _of_last(dlast, d, e + 1, dl_d, dl_v, live, k2 & k3 & k4, W).to(dx0.dtype)
            dx2 += _of_last(dlast, d, e + 2, dl_d, dl_v, live, k3 & k4 & k5, W).to(dx0.dtype)
            dx3 += _of_last(dlast, d, e + 3, dl_d, dl_v, live, k4 & k5 & k6, W).to(dx0.dtype)
        put_four(dx, d, t, dx_d, dx_t, live, length, dx0, dx1, dx2, dx3, TIME, EDGE)
        if INITIAL and EDGE:
            put(dinitial, d, t + W - 1, W - 1, 1, live, dx0, 0, W - 1)
            put(dinitial, d, t + W, W - 1, 1, live, dx1, 0, W - 1)
            put(dinitial, d, t + W + 1, W - 1, 1, live, dx2, 0, W - 1)
            put(dinitial, d, t + W + 2, W - 1, 1, live, dx3, 0, W - 1)
        a1, a2, a3, km2, km1 = x1, x2, x3, k2, k3
        x0, x1, x2, x3, k0, k1, k2, k3 = x4, x5, x6, x7, k4, k5, k6, k7
        g0, g1, g2, g3 = g4, g5, g6, g7
        t += 4
    return s0, s1, s2, s3, sb


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

    g_t = dy_t silu'(p_t) is made again at the three steps after a lane's, which its inputs reach.
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
    for _ in range(EACH):
        if (start >= 4) & (start + T + 4 <= length):
            s0, s1, s2, s3, sb = _backward_tile(
                x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b,
                s0, s1, s2, s3, sb, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
                W, SILU, INITIAL, RESET, LAST, WIDE, TIME, TIME_DY, WALK, False,
            )  # fmt: skip
        else:
            s0, s1, s2, s3, sb = _backward_tile(
                x, initial, seq_idx, dy, dlast, dx, dinitial, d, t, live, length, w0, w1, w2, w3, b,
                s0, s1, s2, s3, sb, x_d, x_t, i_d, i_v, s_t, dy_d, dy_t, dl_d, dl_v, dx_d, dx_t,
                W, SILU, INITIAL, RESET, LAST, WIDE, TIME, TIME_DY, WALK, True,
            )  # fmt: skip
        start += T
        t += T

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
def _of_last(dlast, d, at, step_d, step_v, live, reaches, W: tl.constexpr):
    """The last state's gradient at its input `at`, where no sequence began since."""
    inside = live[:, None] & ((at >= 0) & (at < W - 1))[None, :] & reaches
    return tl.load(dlast + d[:, None] * step_d + at[None, :].to(tl.int64) * step_v, mask=inside, other=0.0)


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
