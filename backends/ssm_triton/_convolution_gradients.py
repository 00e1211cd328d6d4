"""Four steps of the gradients of the short causal convolution, as device code.

With p the sum before the activation, an output's cotangent reaches its own input and the three before it::

    g_t = dy_t silu'(p_t),   dx_t = Σ_i w_i g_{t+i},   dw_i = Σ_t g_t x_{t−i}
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._convolution import sigmoid_of
from ssm_triton._convolution_steps import filtered, put, reach


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
def cotangents(
    g0, g1, g2, g3, a1, a2, a3, x0, x1, x2, x3, km2, km1, k0, k1, k2, k3, t, length, w0, w1, w2, w3, b,
    W: tl.constexpr, SILU: tl.constexpr, RESET: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """g_t = dy_t silu'(p_t) at steps t to t + 3, from dy there."""
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
def four_steps(
    dlast, dinitial, d, t, live, length, w0, w1, w2, w3, s0, s1, s2, s3, sb,
    a1, a2, a3, x0, x1, x2, x3, g0, g1, g2, g3, g4, g5, g6, km2, km1, k0, k1, k2, k3, k4, k5, k6,
    dl_d, dl_v,
    W: tl.constexpr, INITIAL: tl.constexpr, RESET: tl.constexpr, LAST: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """dx at steps t to t + 3, and dinitial there; the sums with what these add."""
    q1, q2, q3 = reach(a3, a2, a1, k0, km1, km2, RESET)
    s1, s2, s3 = s1 + g0 * q1, s2 + g0 * q2, s3 + g0 * q3
    q1, q2, q3 = reach(x0, a3, a2, k1, k0, km1, RESET)
    s1, s2, s3 = s1 + g1 * q1, s2 + g1 * q2, s3 + g1 * q3
    q1, q2, q3 = reach(x1, x0, a3, k2, k1, k0, RESET)
    s1, s2, s3 = s1 + g2 * q1, s2 + g2 * q2, s3 + g2 * q3
    q1, q2, q3 = reach(x2, x1, x0, k3, k2, k1, RESET)
    s1, s2, s3 = s1 + g3 * q1, s2 + g3 * q2, s3 + g3 * q3
    s0 = s0 + g0 * x0 + g1 * x1 + g2 * x2 + g3 * x3
    sb += g0 + g1 + g2 + g3

    # An input reaches the outputs of its own step and of the next three: the filter, turned around.
    zero = tl.zeros_like(w0)
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
    if INITIAL and EDGE:
        put(dinitial, d, t + W - 1, W - 1, 1, live, dx0, 0, W - 1)
        put(dinitial, d, t + W, W - 1, 1, live, dx1, 0, W - 1)
        put(dinitial, d, t + W + 1, W - 1, 1, live, dx2, 0, W - 1)
        put(dinitial, d, t + W + 2, W - 1, 1, live, dx3, 0, W - 1)
    return s0, s1, s2, s3, sb, dx0, dx1, dx2, dx3


@triton.jit
def _of_last(dlast, d, at, step_d, step_v, live, reaches, W: tl.constexpr):
    """The last state's gradient at its input `at`, where no sequence began since."""
    inside = live[:, None] & ((at >= 0) & (at < W - 1))[None, :] & reaches
    return tl.load(dlast + d[:, None] * step_d + at[None, :].to(tl.int64) * step_v, mask=inside, other=0.0)
