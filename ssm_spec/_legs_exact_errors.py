"""What scaling and squaring may do to e^{ΔA} and B̄ of the LegS memory, in the 2-norm.

By entry (`_expm_bounds`) each squaring multiplies an error by |e^{ΔA/2^i}|, whose powers grow without limit:
with 64 coefficients the bound passes 1000. But ‖e^{sA}‖₂ <= e^{−s/2}. With X = Δ [[0, 0], [B, A]] let α, β
and ζ bound in the 2-norm what is wrong with the blocks Ā_i, B̄_i and 1 of exp(X/2^i), τ_i = e^{−Δ/2^(i+1)}:

    α ← 2τ_i α + α² + ‖R_A‖,    β ← (1 + τ_i + ζ + α)β + (α + ζ)‖B̄_i‖ + ‖R_B‖,    ζ ← 2ζ + ζ² + R₁

R, whose norm is that of its moduli, rounds the square: entry (i, j) of a product of triangular matrices is a
sum of i − j + 1 products.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_spec._expm_bounds import LARGEST_ARGUMENT, SMALLEST_ARGUMENT, START, positive_exponential
from ssm_spec._norm import euclidean, longest
from ssm_spec._roundoff import Arithmetic
from ssm_spec._validate import Float

_INFLATION: Final = 1.0 + 2.0**-10
"""Covers the rounding of the levels and of the bounds themselves, which are computed in float64."""


def exact_errors(A: Float, B: Float, step: Float, arithmetic: Arithmetic) -> Float:
    """Bound ‖δĀ‖₂ and ‖δB̄‖₂ (s, 2) for A (n, n), B (n, 1) of LegS and steps Δ (s).

    The start is that of `_expm_bounds`, for each number of squarings that is granted there, with the products
    of term j of the series counted each: u (N + 1)|Y| e^{|Y|} + 10 u e^{|Y|}, Y = X/2^k.
    """
    X = step[:, None, None] * np.block([[np.zeros((1, len(A) + 1))], [B, A]])
    size, N, u = np.max(np.sum(np.abs(X), axis=-2), axis=-1), X.shape[-1], arithmetic.u
    deepest = max(0, int(np.ceil(np.log2(np.max(size) / SMALLEST_ARGUMENT))))
    level, majorant = (positive_exponential(Y * 2.0**-deepest) for Y in (X, np.abs(X)))
    count = np.maximum(np.arange(N)[:, None] - np.arange(N) + 1.0, 0.0)
    found = np.zeros((3, len(step)))
    for i in range(deepest, -1, -1):
        here = size * 2.0**-i
        if i < deepest:
            found = np.where(
                2.0 * here > SMALLEST_ARGUMENT,
                _squared(found, level, step * 0.5 ** (i + 1), count, arithmetic),
                0.0,
            )
            level, majorant = level @ level, majorant @ majorant
        terms = np.minimum(
            (N + START) * majorant, (N + 1.0) * np.abs(X) * 2.0**-i @ majorant + START * majorant
        )
        may_start = (here <= LARGEST_ARGUMENT) & ((here > SMALLEST_ARGUMENT) | (i == 0))
        started = np.stack(_blocks(u * terms + N * arithmetic.eta))
        found = np.maximum(found, np.where(may_start, started, 0.0))
    rounded = np.stack(_blocks(u * np.abs(level)))
    return np.asarray(_INFLATION * (found + rounded)[:2].T)


def _squared(found: Float, level: Float, step: Float, count: Float, arithmetic: Arithmetic) -> Float:
    """Return α, β and ζ of T² from those of T = exp(X/2^i), Δ/2^i being `step`."""
    alpha, beta, zeta = found
    tau, N, size = np.exp(-0.5 * step), level.shape[-1], np.abs(level)
    of_A, of_B, of_one = _blocks(arithmetic.u * count * (size @ size) + N * arithmetic.eta)
    # What is rounded has its errors already: a matrix of norm α is at most √N as long by moduli.
    whole = np.sqrt(N) * (alpha + beta + zeta)
    more = (N + 2) * arithmetic.u * whole * (2.0 * longest(size) + whole)
    return np.stack(
        (
            2.0 * tau * alpha + alpha**2 + of_A + more,
            (1.0 + tau + zeta + alpha) * beta + (alpha + zeta) * euclidean(level[:, 1:, 0]) + of_B + more,
            2.0 * zeta + zeta**2 + of_one + more,
        )
    )


def _blocks(M: Float) -> tuple[Float, Float, Float]:
    """Return the norms (s) of the blocks Ā, B̄ and 1 of matrices [[1, 0], [B̄, Ā]] of moduli."""
    return longest(M[:, 1:, 1:]), euclidean(M[:, 1:, 0]), M[:, 0, 0]
