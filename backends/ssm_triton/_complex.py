"""The scan's algebra over complex numbers, as device code: every value is a pair (real, imaginary)."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._math import exp


@triton.jit
def times(ar, ai, br, bi):
    """The product a b."""
    return ar * br - ai * bi, ar * bi + ai * br


@triton.jit
def over(ar, ai, br, bi):
    """The quotient a / b. b is first divided by its larger part, so that no square overflows."""
    largest = tl.maximum(tl.abs(br), tl.abs(bi))
    cr = br / largest
    ci = bi / largest
    size = cr * cr + ci * ci
    return (ar * cr + ai * ci) / size / largest, (ai * cr - ar * ci) / size / largest


@triton.jit
def exponential(pr, pi):
    """e^p = e^Re p (cos Im p + i sin Im p)."""
    size = exp(pr)
    return size * tl.cos(pi), size * tl.sin(pi)


@triton.jit
def series(pr, pi, limit, FIRST: tl.constexpr, TERMS: tl.constexpr):
    """Σ p^k / (k + 1)! (FIRST = 1) or Σ p^k (k + 1) / (k + 2)! (FIRST = 2), where |p| < `limit`.

    Returns whether that holds, and the sum (its value at p = 0 elsewhere).
    """
    cr = tl.minimum(tl.abs(pr), limit)  # squares of more may overflow
    ci = tl.minimum(tl.abs(pi), limit)
    small = cr * cr + ci * ci < limit * limit
    xr = tl.where(small, pr, 0.0)
    xi = tl.where(small, pi, 0.0)
    sr = xr * 0.0 + 1.0
    si = xi * 0.0
    for k in tl.static_range(TERMS, 0, -1):
        sr, si = times(sr, si, xr, xi)
        if FIRST == 1:
            sr = sr / (k + 1) + 1.0
            si = si / (k + 1)
        else:
            sr = sr * ((k + 1.0) / (k * (k + 2.0))) + 1.0
            si = si * ((k + 1.0) / (k * (k + 2.0)))
    if FIRST == 2:
        sr *= 0.5
        si *= 0.5
    return small, sr, si


@triton.jit
def phi(pr, pi, ar, ai):
    """φ(p) = (e^p − 1) / p, φ(0) = 1, given a = e^p."""
    terms: tl.constexpr = 15 if pr.dtype == tl.float64 else 8
    small, sr, si = series(pr, pi, 0.5, 1, terms)
    qr, qi = over(ar - 1.0, ai, tl.where(small, 1.0, pr), tl.where(small, 0.0, pi))
    return tl.where(small, sr, qr), tl.where(small, si, qi)


@triton.jit
def held_slope(s, pr, pi, ar, ai):
    """Δ² ψ(p) in two factors, as in `_math`: ψ(p) = (p e^p − e^p + 1) / p², ψ(0) = ½, given a = e^p."""
    terms: tl.constexpr = 20 if pr.dtype == tl.float64 else 11
    small, sr, si = series(pr, pi, 1.0, 2, terms)
    br = tl.where(small, 1.0, pr)
    bi = tl.where(small, 0.0, pi)
    nr, ni = times(br, bi, ar, ai)
    nr = tl.where(small, sr, nr - ar + 1.0)
    ni = tl.where(small, si, ni - ai)
    er, ei = over(s, s * 0.0, br, bi)
    nr, ni = times(nr, ni, er, ei)
    return nr, ni, er, ei


@triton.jit
def weigh(s, pr, pi, ar, ai, ZOH: tl.constexpr):
    """b̄ / B: Δ ("euler"), or Δ φ(ΔA) ("zoh")."""
    if ZOH:
        wr, wi = phi(pr, pi, ar, ai)
        wr *= s
        wi *= s
    else:
        wr = s + pr * 0.0
        wi = pi * 0.0
    return wr, wi


@triton.jit
def compose(a1r, a1i, x1r, x1i, g1r, g1i, f1, a2r, a2i, x2r, x2i, g2r, g2i, f2):
    """(a₁, x₁) ∘ (a₂, x₂) = (a₂a₁, a₂x₁ + x₂), with g = a_t h_{t−1} and resets, as for real numbers."""
    pr, pi = times(a2r, a2i, x1r, x1i)
    ar, ai = times(a2r, a2i, a1r, a1i)
    pr = tl.where(f2, 0.0, pr)
    pi = tl.where(f2, 0.0, pi)
    return ar, ai, pr + x2r, pi + x2i, pr + g2r, pi + g2i, f1 | f2


@triton.jit
def compose_adjoint(
    a1r, a1i, m1r, m1i, k1r, k1i, l1r, l1i, f1, o1, a2r, a2i, m2r, m2i, k2r, k2i, l2r, l2i, f2, o2
):
    """The adjoint recurrence, first in reversed time on the left.

    m_t = conj(a_t) λ_t and λ_t = c_t + m_{t+1}; a is given conjugated.
    """
    ar, ai = times(a2r, a2i, a1r, a1i)
    mr, mi = times(a2r, a2i, m1r, m1i)
    kr, ki = times(k2r, k2i, a1r, a1i)
    lr, li = times(k2r, k2i, m1r, m1i)
    mr = tl.where(f2, m2r, mr + m2r)
    mi = tl.where(f2, m2i, mi + m2i)
    lr = tl.where(o2, l2r, lr + l2r)
    li = tl.where(o2, l2i, li + l2i)
    return ar, ai, mr, mi, kr, ki, lr, li, f1 | f2, f1 | o2
