"""The scalar functions of the scan, as device code: each equation once, for every kernel."""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def exp(x):
    """e^x as 2^(x log2 e): one special-function instruction in float32."""
    return tl.exp2(x * LOG2_E)


@triton.jit
def sigmoid(x):
    """σ(x) = 1 / (1 + e^−x)."""
    return 1.0 / (1.0 + exp(-x))


@triton.jit
def log1p_ratio(w):
    """log(1 + w) / w on [0, 1].

    float32: the polynomial of degree 9 of least relative error, 4.7e-9, found by Lawson's
    iteration on 4000 Chebyshev nodes; ten multiply-adds, where log1p of the library costs forty.
    float64: log(v) / (v − 1) at v = 1 + w, whose errors cancel (Higham, section 1.14.1).
    """
    if w.dtype == tl.float64:
        v = 1.0 + w
        r = tl.where(v == 1.0, 1.0, tl.log(v) / tl.where(v == 1.0, 1.0, v - 1.0))
    else:
        r = w * -0.003243980818162374 + 0.019851262433657833
        r = r * w - 0.05695915872743705
        r = r * w + 0.1060361683633459
        r = r * w - 0.15305570097855284
        r = r * w + 0.1967593145710364
        r = r * w - 0.2495413213441226
        r = r * w + 0.3332996226787255
        r = r * w - 0.4999990241717397
        r = r * w + 0.9999999952868707
    return r


@triton.jit
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log(1 + e^−|x|), without cancellation for any x."""
    w = exp(-tl.abs(x))
    return tl.maximum(x, 0.0) + w * log1p_ratio(w)


@triton.jit
def phi(p, a):
    """φ(p) = (e^p − 1) / p, φ(0) = 1, given a = e^p.

    Near zero its Taylor series Σ p^k / (k + 1)!; elsewhere a − 1 loses at most three bits.
    """
    terms: tl.constexpr = 15 if p.dtype == tl.float64 else 8
    small = tl.abs(p) < 0.5
    x = tl.where(small, p, 0.0)
    series = x * 0.0 + 1.0
    for k in tl.static_range(terms, 1, -1):
        series = series * x / k + 1.0
    return tl.where(small, series, (a - 1.0) / tl.where(small, 1.0, p))


@triton.jit
def held_slope(s, p, a):
    """Δ² ψ(p) in two factors, given a = e^p; ψ(p) = (p e^p − e^p + 1) / p², ψ(0) = ½, is dφ/dp.

    Near zero ψ is its Taylor series Σ p^k (k + 1) / (k + 2)!, and either factor has a Δ. Elsewhere either has
    Δ / p = 1 / A, for neither Δ² nor Δ times what the derivative meets need be a number of the type.
    """
    terms: tl.constexpr = 20 if p.dtype == tl.float64 else 11
    small = tl.abs(p) < 1.0
    x = tl.where(small, p, 0.0)
    series = x * 0.0
    for k in tl.static_range(terms, 0, -1):
        # Horner in the form c_{k−1} + x c_k, with c_k / c_{k−1} = (k + 1) / (k (k + 2)).
        series = (series * x + 1.0) * ((k + 1.0) / (k * (k + 2.0)))
    series = (series * x + 1.0) * 0.5
    q = tl.where(small, 1.0, p)
    each = s / q
    return each * tl.where(small, series, q * a - (a - 1.0)), each


@triton.jit
def compose(a1, x1, g1, a2, x2, g2):
    """(a₁, x₁) ∘ (a₂, x₂) = (a₂a₁, a₂x₁ + x₂), first in time on the left.

    g is the state before the last input is added, a_t h_{t−1}: a₂x₁ + g₂.
    """
    return a2 * a1, a2 * x1 + x2, a2 * x1 + g2


@triton.jit
def compose_reset(a1, x1, g1, f1, a2, x2, g2, f2):
    """The same with resets: f says that the past is cut off. It selects, it does not multiply by zero."""
    x = tl.where(f2, x2, a2 * x1 + x2)
    g = tl.where(f2, g2, a2 * x1 + g2)
    return a2 * a1, x, g, f1 | f2


@triton.jit
def compose_adjoint(a1, m1, k1, l1, a2, m2, k2, l2):
    """The adjoint recurrence, first in reversed time on the left.

    m_t = a_t λ_t is the message to step t − 1, and λ_t = c_t + m_{t+1}. k is the product of all
    decays of a block but its last: 1 for a single step, which the compiler folds away.
    """
    return a2 * a1, a2 * m1 + m2, k2 * a1, k2 * m1 + l2


@triton.jit
def compose_adjoint_reset(a1, m1, k1, l1, f1, o1, a2, m2, k2, l2, f2, o2):
    """The same with resets: f cuts the message to the left of a block, o inside it before its last step."""
    m = tl.where(f2, m2, a2 * m1 + m2)
    lam = tl.where(o2, l2, k2 * m1 + l2)
    return a2 * a1, m, k2 * a1, lam, f1 | f2, f1 | o2
