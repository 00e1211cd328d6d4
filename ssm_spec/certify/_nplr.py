"""LegS as normal plus rank one, in closed form: its modes are the roots of a monotone function.

The state that u = e^{st} holds is (s − A)⁻¹B, the Legendre coefficients of x^s on [0, 1]:

    ((s − A)⁻¹B)_j = √(2j+1) s(s−1)⋯(s−j+1) / ((s+1)(s+2)⋯(s+j+1)).

With P = B/√2, the sum Pᵀ(s − A)⁻¹P telescopes to ½ − ½∏_{k<n} (s − k)/(s + k + 1), so that for N = A + PPᵀ

    det(s − N) = det(s − A)(1 − Pᵀ(s − A)⁻¹P) = ½[∏_{k=1}^{n} (s + k) + ∏_{k=0}^{n−1} (s − k)].

At s = −½ + iω, n even, the second product is the conjugate of the first: det(s − N) = |·| cos θ(ω), with

    θ(ω) = Σ_{k=1}^{n} arctan(ω/(k − ½)),   rising from 0 to nπ/2.

So the modes are exactly the ω with θ(ω) = (j + ½)π, j = 0, …, n/2 − 1, and their negatives. The residue
of 1 + p*(s − Λ)⁻¹p = det(s − A)/det(s − N) at a mode is |p|² = 1/θ'(ω), and (λ − N)v = 0 with v*P = p
is v = p (λ − A)⁻¹P. (S4, arXiv:2111.00396, theorem 1, has the matrices.)
"""

from __future__ import annotations

from math import pi

import numpy as np

from ssm_spec.certify._balls import Balls, conjugate
from ssm_spec.certify._flint import acb, arb, ctx
from ssm_spec.certify._tape import Variable

Outputs = dict[str, Variable]


def hippo_legs_nplr(n: int, *, dtype: str = "float64") -> Outputs:
    """A = V(diag(Λ) − PP*)V*: n/2 modes with ω > 0, rising, then their conjugates; P real and positive."""
    del dtype  # the numbers meant do not depend on it
    frequency = [_root(n, j) for j in range(n // 2)]
    low_rank = [1 / _slope(n, w).sqrt() for w in frequency]
    columns = np.array([_column(n, w, p) for w, p in zip(frequency, low_rank, strict=True)], object).T
    Lambda = np.array([acb(-0.5, w) for w in frequency], object)
    P = np.array([acb(p) for p in low_rank * 2], object)
    return {
        "Lambda": _whole(Lambda),
        "P": Variable(P, True),
        "B": Variable(P * arb(2).sqrt(), True),
        "V": _whole(columns),
    }


def s4d_legs(n: int, *, dtype: str = "float64") -> Outputs:
    """The modes with ω > 0, and their B = √2 P."""
    whole = hippo_legs_nplr(n, dtype=dtype)
    return {name: whole[name][: n // 2] for name in ("Lambda", "B")}


def _whole(half: Balls) -> Variable:
    return Variable(np.concatenate((half, conjugate(half)), axis=-1), True)


def _root(n: int, j: int) -> arb:
    """The ω with θ(ω) = (j + ½)π: near it by Newton's steps, and held between two ends by monotony."""
    target, middle = (arb(j) + arb(0.5)) * arb.pi(), arb(_near(n, j))
    bits = 50
    while bits < ctx.prec:
        middle = (middle - (_angle(n, middle) - target) / _slope(n, middle)).mid()
        bits *= 2
    radius = middle * arb(2) ** (16 - ctx.prec)
    while not (_angle(n, middle - radius) < target < _angle(n, middle + radius)):
        radius = 2 * radius
    return (middle - radius).union(middle + radius)


def _near(n: int, j: int) -> float:
    """ω_j in float64, by bisection: θ(n²) > (n − 1)π/2, since Σ (k − ½) = n²/2."""
    low, high, centres = 0.0, float(n * n), np.arange(n) + 0.5
    while low < (middle := 0.5 * (low + high)) < high:
        if np.sum(np.arctan(middle / centres)) < (j + 0.5) * pi:
            low = middle
        else:
            high = middle
    return high


def _angle(n: int, w: arb) -> arb:
    """θ(ω)."""
    return sum(((w / (arb(k) - arb(0.5))).atan() for k in range(1, n + 1)), arb(0))


def _slope(n: int, w: arb) -> arb:
    """θ'(ω) = Σ (k − ½)/((k − ½)² + ω²)."""
    centres = [arb(k) - arb(0.5) for k in range(1, n + 1)]
    return sum((c / (c * c + w * w) for c in centres), arb(0))


def _column(n: int, w: arb, p: arb) -> list[acb]:
    """v = p (λ − A)⁻¹P."""
    s, factor, column = acb(-0.5, w), acb(p), []
    for j in range(n):
        factor = factor / (s + j + 1)
        column.append(factor * (arb(j) + arb(0.5)).sqrt())
        factor = factor * (s - j)
    return column
