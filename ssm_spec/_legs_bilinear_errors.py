"""What solves and inverses may do to Tustin's matrices of the LegS memory, by entry.

W = I − X/2, [Ā, B̄] = W⁻¹ R, R = [I + X/2, ΔB], X = ΔA. With 64 coefficients u|W⁻¹||L||U||W⁻¹||R|
(`_bilinear`) passes 1 in the first steps: it multiplies every error of the factors by |R|, some 1000 long.
But those of the factors belong to a nearby W, and meet W⁻¹R = [Ā, B̄] alone; only those of substitution,
another W for each column of an inverse, meet R.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_spec._norm import longest
from ssm_spec._roundoff import Arithmetic
from ssm_spec._validate import Float

_INFLATION: Final = 1.0 + 2.0**-10
"""Covers the rounding of the bounds themselves, which are computed in float64."""


def bilinear_errors(A: Float, B: Float, step: Float, arithmetic: Arithmetic) -> Float:
    """Bound what is wrong with [Ā, B̄] (s, n, n + 1), for A (n, n), B (n, 1) of LegS and steps Δ (s).

    A solve with factors wrong by g = 3(n + 2)u|L||U|, an inverse by columns and then a product, or either of
    them applied to a vector, with pivoting or without (Higham, theorems 8.5 and 9.4):

        M = |W⁻¹|[(g + δW)|Ā, B̄| + δR + (n + 2)u|R|] + u|Ā, B̄|
                                                     + |W⁻¹P|(c_L|L||L⁻¹|)Pᵀ|R| + |U⁻¹|c_U|U||W⁻¹||R|

    and (I − F)⁻¹ M is the bound, F = |W⁻¹|(g + δW), where ‖F‖₂ < 1: |(W + δ)⁻¹| <= (I − F)⁻¹|W⁻¹|.
    """
    return np.stack([_one(delta * A, delta * B, arithmetic) for delta in step])


def _one(X: Float, Y: Float, arithmetic: Arithmetic) -> Float:
    """Return M (n, n + 1) of one step, X = ΔA and Y = ΔB."""
    from scipy.linalg import lu, solve_triangular

    n, u, eye = len(X), arithmetic.u, np.eye(len(X))
    W, R = eye - 0.5 * X, np.hstack((eye + 0.5 * X, Y))
    inverse = np.tril(solve_triangular(W, eye, lower=True))
    result, size, R_size = np.abs(inverse @ R), np.abs(inverse), np.abs(R)
    formed_W = u * (np.abs(W) + 1.5 * np.abs(X))
    formed_R = u * (R_size + np.hstack((1.5 * np.abs(X), 2.0 * np.abs(Y))))
    lost = arithmetic.eta * (1 + size) @ (1 + np.abs(np.hstack((X, Y)))) * (n + 1)
    diagonal = np.diag(np.diag(W))
    found = np.zeros_like(R)
    for P, L, U in (lu(W), (eye, W / np.diag(W), diagonal)):
        factored = 3 * (n + 2) * u * P @ (np.abs(L) @ np.abs(U)) + formed_W
        solved = size @ (factored @ result + formed_R + (n + 2) * u * R_size)
        columns = _substitutions(P, L, U, inverse, R_size, arithmetic)
        again = size @ factored
        if longest(again) >= 1.0:
            return np.full_like(R, np.inf)
        found = np.maximum(found, np.linalg.solve(eye - again, solved + columns + u * result + lost))
    return np.asarray(_INFLATION * found)


def _substitutions(P: Float, L: Float, U: Float, inverse: Float, R: Float, arithmetic: Arithmetic) -> Float:
    """Return what solves for the columns of W⁻¹, W = PLU, lose before they meet R.

    Ly = e − δL y and Ux = y − δU x, so that x is wrong by −W⁻¹P δL y − U⁻¹ δU x. L has a unit diagonal
    and y begins with its column's 1: entry (i, j) of |L||L⁻¹| is a sum of i − j + 1 terms. U divides.
    """
    n, unit, u = len(L), np.eye(len(L)), arithmetic.u
    forward, back = (np.abs(np.linalg.solve(F, unit)) for F in (L, U))
    by_L = u * np.maximum(np.arange(n)[:, None] - np.arange(n) + 1.0, 0.0)
    by_U = u * (np.count_nonzero(U, axis=1)[:, None] + arithmetic.k_div)
    of_L = np.abs(inverse @ P) @ (by_L * (np.abs(L) @ forward)) @ (P.T @ R)
    of_U = back @ (by_U * np.abs(U)) @ (np.abs(inverse) @ R)
    return np.asarray(of_L + of_U)
