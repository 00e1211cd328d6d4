"""The short causal convolution in one kernel.

Its input is read from memory once, and from cache by the neighbours: a program reads the four steps before
those that it writes. The initial state is four steps before the first one, which programs have where
something is written there.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._convolution_steps import (
    eight,
    filtered,
    four_go_on,
    four_or_before,
    line,
    place_steps,
    put,
    put_eight,
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
    _, _, km2, km1, at_end = four_go_on(seq_idx, t - 4, s_t, length, 0, RESET, TIME, True)
    if TIME and WALK == 2:
        x0, x1, x2, x3, x4, x5, x6, x7 = eight(x, d, t, x_d, x_t, live, length, True)
        if INITIAL:
            x0, x1, x2, x3 = four_or_before(x0, x1, x2, x3, initial, d, t, i_d, i_v, live, W)
        k0, k1, k2, k3, at_end = four_go_on(seq_idx, t, s_t, length, at_end, RESET, TIME, True)
        k4, k5, k6, k7, at_end = four_go_on(seq_idx, t + 4, s_t, length, at_end, RESET, TIME, True)
        y0, y1, y2, y3 = _four_outputs(
            a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, w0, w1, w2, w3, b, W, SILU, RESET
        )
        y4, y5, y6, y7 = _four_outputs(
            x1, x2, x3, x4, x5, x6, x7, k2, k3, k4, k5, k6, k7, w0, w1, w2, w3, b, W, SILU, RESET
        )
        put_eight(y, d, t, y_d, y_t, live, length, y0, y1, y2, y3, y4, y5, y6, y7, True)
        if LAST:
            k8, k9, k10, _, _ = four_go_on(seq_idx, t + 8, s_t, length, at_end, RESET, TIME, True)
            _put_last(last, d, t, length, live, x0, x1, x2, x3, k1, k2, k3, k4, k5, k6, W)
            _put_last(last, d, t + 4, length, live, x4, x5, x6, x7, k5, k6, k7, k8, k9, k10, W)
    else:
        for _ in range(WALK):
            x0, x1, x2, x3 = line(
                x, initial, d, t, x_d, x_t, i_d, i_v, live, length, W, WIDE, TIME, INITIAL, True
            )
            k0, k1, k2, k3, at_end = four_go_on(seq_idx, t, s_t, length, at_end, RESET, TIME, True)
            y0, y1, y2, y3 = _four_outputs(
                a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, w0, w1, w2, w3, b, W, SILU, RESET
            )
            put_four(y, d, t, y_d, y_t, live, length, y0, y1, y2, y3, TIME, True)
            if LAST:
                k4, k5, k6, _, _ = four_go_on(seq_idx, t + 4, s_t, length, at_end, RESET, TIME, True)
                _put_last(last, d, t, length, live, x0, x1, x2, x3, k1, k2, k3, k4, k5, k6, W)
            a1, a2, a3, km2, km1 = x1, x2, x3, k2, k3
            t += 4


@triton.jit
def _four_outputs(
    a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, w0, w1, w2, w3, b,
    W: tl.constexpr, SILU: tl.constexpr, RESET: tl.constexpr,
):  # fmt: skip
    """y of four steps, from their inputs and the three before them."""
    q1, q2, q3 = reach(a3, a2, a1, k0, km1, km2, RESET)
    y0 = filtered(x0, q1, q2, q3, w0, w1, w2, w3, b, W)
    q1, q2, q3 = reach(x0, a3, a2, k1, k0, km1, RESET)
    y1 = filtered(x1, q1, q2, q3, w0, w1, w2, w3, b, W)
    q1, q2, q3 = reach(x1, x0, a3, k2, k1, k0, RESET)
    y2 = filtered(x2, q1, q2, q3, w0, w1, w2, w3, b, W)
    q1, q2, q3 = reach(x2, x1, x0, k3, k2, k1, RESET)
    y3 = filtered(x3, q1, q2, q3, w0, w1, w2, w3, b, W)
    if SILU:
        y0, y1, y2, y3 = y0 * sigmoid_of(y0), y1 * sigmoid_of(y1), y2 * sigmoid_of(y2), y3 * sigmoid_of(y3)
    return y0, y1, y2, y3


@triton.jit
def _put_last(last, d, t, length, live, x0, x1, x2, x3, k1, k2, k3, k4, k5, k6, W: tl.constexpr):
    """What the last state holds of four steps: the input of step s stands at s − length + W − 1."""
    from_end = t - length + W - 1
    put(last, d, from_end, W - 1, 1, live, tl.where(k1 & k2 & k3, x0, 0.0), 0, W - 1)
    put(last, d, from_end + 1, W - 1, 1, live, tl.where(k2 & k3 & k4, x1, 0.0), 0, W - 1)
    put(last, d, from_end + 2, W - 1, 1, live, tl.where(k3 & k4 & k5, x2, 0.0), 0, W - 1)
    put(last, d, from_end + 3, W - 1, 1, live, tl.where(k4 & k5 & k6, x3, 0.0), 0, W - 1)
