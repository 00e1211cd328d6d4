"""LegS as a memory on the tape, by the modes of its matrix; and the signal read back by Legendre polynomials.

A, as rounded to float64, is lower triangular with −1, …, −n on its diagonal, so that A = V diag(−m) V⁻¹
with V unit lower triangular: (i − m) V_im = Σ_{m ≤ k < i} A_ik V_km. In w = V⁻¹c, with β = V⁻¹B, each
step of c' = (A c + B f)/t is a number for each mode m = 1, …, n:

    exact      w_m ← r^m w_m + (1 − r^m) β_m f_k/m,   r = (k − 1)/k
    bilinear   w_m ← ((2τ − m) w_m + 2 β_m f_k)/(2τ + m),   τ = k − 1

(HiPPO, arXiv:2008.07669, theorem 2, over log t.) V is far from unitary: some 3n bits are lost in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._hippo import hippo_legs
from ssm_spec.certify._balls import Balls, elementwise, exact, filled
from ssm_spec.certify._flint import arb
from ssm_spec.certify._tape import Variable, stack

Outputs = dict[str, Variable]


def hippo_legs_compress(f: Variable, n: int, *, method: str = "exact", prefixes: bool = False) -> Outputs:
    """c₁ = f₁ e₀, then one step for each sample."""
    V, start, beta = _modes(n)
    w = Variable(np.broadcast_to(filled((n,)), (*f.shape[:-1], n)), False)
    states = []
    for k in range(1, f.shape[-1] + 1):
        now = f[..., k - 1 : k]
        if k == 1:
            w = now * Variable(start, False)
        else:
            kept, gained = _step(k, n, beta, method)
            w = Variable(kept, False) * w + Variable(gained, False) * now
        states.append(w)
    back = Variable(V, False)
    if not prefixes:
        return {"c": (back @ w[..., None])[..., 0]}
    return {"c": back @ stack(states, len(f.shape), w[..., None][..., :0])}


def hippo_legs_reconstruct(c: Variable, points: ArrayLike) -> Outputs:
    """f(x) = Σ_n c_n √(2n+1) P_n(2x − 1) (HiPPO, (11))."""
    degrees = np.arange(c.shape[-1]).astype(object)[:, None]
    basis = elementwise(
        lambda i, x: arb(2 * i + 1).sqrt() * (2 * x - 1).legendre_p(i), degrees, exact(points)
    )
    return {"f": (c[..., None, :] @ Variable(basis, False))[..., 0, :]}


def _modes(n: int) -> tuple[Balls, Balls, Balls]:
    """V (n, n), V⁻¹e₀ (n) and β (n)."""
    A, B = (exact(x) for x in hippo_legs(n))
    V = filled((n, n))
    for m in range(n):
        V[m, m] = arb(1)
        for i in range(m + 1, n):
            V[i, m] = np.dot(A[i, m:i], V[m:i, m]) / (i - m)
    solved = filled((n, 2))
    solved[0, 0], solved[:, 1] = arb(1), B[:, 0]
    for i in range(1, n):
        solved[i] -= V[i, :i] @ solved[:i]
    return V, solved[:, 0], solved[:, 1]


def _step(k: int, n: int, beta: Balls, method: str) -> tuple[Balls, Balls]:
    """What step k keeps of each mode, and what it gains from the sample."""
    m = np.arange(1, n + 1).astype(object)
    if method == "exact":
        kept = (arb(k - 1) / k) ** m
        return kept, (1 - kept) * beta / m
    denominator = arb(1) / (2 * (k - 1) + m)
    return denominator * (2 * (k - 1) - m), 2 * denominator * beta
