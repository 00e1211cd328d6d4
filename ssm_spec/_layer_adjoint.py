"""How far errors in the gradients of Ā and B̄ move those of A, B and Δ: the adjoint of the rule, by modulus.

Zero-order hold. |exp(X)| <= exp(M) entry by entry, M the real part of X's diagonal beside the moduli of
its other entries, and the same majorant serves the derivative of exp (Higham, Functions of
Matrices, (10.15)): so the gradient at M of the moduli is a majorant. Bilinear: |W⁻ᴴ| directly.
Δ's gradient is Σ Re conj(A) dX + conj(B) dY over X = ΔA and Y = ΔB. It is Re⟨∂Ā/∂Δ, G_A⟩ + Re⟨∂B̄/∂Δ, G_B⟩ as
well: errors of the cotangents move it by Σ |∂Ā/∂Δ| E_A + |∂B̄/∂Δ| E_B and no more, beside what is rounded of E
as of any cotangent. By the moduli of W⁻ᴴ and A apart it is many times as much where A is large and Ā is not,
as LegS is in the basis of its modes.
"""

from __future__ import annotations

import numpy as np

from ssm_spec._discretize import discretize_zoh_vjp
from ssm_spec._layer import System, alpha_of, discretised, discretised_vjp_bounds
from ssm_spec._roundoff import Arithmetic
from ssm_spec._validate import Array, Float

_COVER = 1.0 + 2.0**-20
"""Covers the rounding of these bounds, computed in float64."""


def majorant(system: System, E_A: Float, E_B: Float) -> dict[str, Float]:
    """Bound the effect of errors E_A and E_B in the cotangents of Ā and B̄, in the shapes of `System`."""
    shapes = {name: getattr(system, name).shape for name in ("A", "B", "delta")}
    A, B = system.A, system.B
    if system.diagonal:
        # Each mode is a system of one state.
        A, E_A = (x.reshape(*shapes["A"], 1, 1) for x in (A, E_A))
        B, E_B = (x.reshape(*shapes["A"], 1, shapes["B"][-1]) for x in (B, E_B))
    step = np.broadcast_to(system.delta, A.shape[:-2])
    if system.rule == "zoh":
        dX, dY = _held(A, B, step, E_A, E_B)
    else:
        A_bar, B_bar = (x.reshape(y.shape) for x, y in zip(discretised(system), (A, B), strict=True))
        dX, dY = _solved(A, step, alpha_of(system.rule), A_bar, B_bar, E_A, E_B)
    size = np.abs(step)[..., None, None]
    d_step = np.sum(np.abs(A) * dX, axis=(-2, -1)) + np.sum(np.abs(B) * dY, axis=(-2, -1))
    if d_step.shape != shapes["delta"]:
        d_step = np.sum(d_step, axis=-1, keepdims=True)
    found = {"A": size * dX, "B": size * dY, "delta": d_step}
    return {name: _COVER * found[name].reshape(shapes[name]) for name in shapes}


def step_error(system: System, E_A: Float, E_B: Float, arithmetic: Arithmetic) -> Float:
    """Bound what errors E_A and E_B in the cotangents of Ā and B̄ do to the gradient of Δ, of dense systems.

    Δ is one of a system. Where the rule's bounds are not finite, neither is this.
    """
    slope_A, slope_B = _along_step(system)
    moved = np.sum(np.abs(slope_A) * E_A, axis=(-2, -1)) + np.sum(np.abs(slope_B) * E_B, axis=(-2, -1))
    by_moduli = majorant(system, E_A, E_B)["delta"]
    n, m = system.B.shape[-2:]
    count = (n * (n + m) + 2 * n + 4) * arithmetic.u
    rounded = discretised_vjp_bounds(system, E_A, E_B, arithmetic)["delta"].bound
    return np.asarray(moved + rounded + (count + 2.0**-20) * by_moduli)


def _along_step(system: System) -> tuple[Array, Array]:
    """Return ∂Ā/∂Δ and ∂B̄/∂Δ: AĀ and ĀB, or W⁻¹A((1 − α)I + αĀ) and W⁻¹(B + αAB̄)."""
    A, B, step = system.A, system.B, system.delta[..., None, None]
    A_bar, B_bar = discretised(system)
    if system.rule == "zoh":
        return A @ A_bar, A_bar @ B
    alpha, eye = alpha_of(system.rule), np.eye(A.shape[-1])
    inverse = np.linalg.inv(eye - alpha * step * A)
    return inverse @ (A @ ((1 - alpha) * eye + alpha * A_bar)), inverse @ (B + alpha * (A @ B_bar))


def _held(A: Array, B: Array, step: Float, E_A: Float, E_B: Float) -> tuple[Float, Float]:
    """Bound dX and dY through the exponential: the gradients at its majorant with Δ = 1."""
    X, Y = step[..., None, None] * A, np.abs(step[..., None, None] * B)
    eye = np.eye(A.shape[-1])
    M = np.where(eye > 0, X.real, np.abs(X))
    slopes = discretize_zoh_vjp({"A_bar": E_A, "B_bar": E_B}, ("A", "B"), A=M, B=Y, delta=np.ones(step.shape))
    # With Δ = 1 the gradients of A and B are those of X and Y.
    return slopes["A"], slopes["B"]


def _solved(
    A: Array, step: Float, alpha: float, A_bar: Array, B_bar: Array, E_A: Float, E_B: Float
) -> tuple[Float, Float]:
    """Bound dX = (1 − α) S + α (S Āᴴ + V B̄ᴴ) and dY = V, with S = |W⁻ᴴ| E_A, V = |W⁻ᴴ| E_B."""
    W = np.eye(A.shape[-1]) - alpha * step[..., None, None] * A
    back = np.swapaxes(np.abs(np.linalg.inv(W)), -1, -2)
    S, V = back @ E_A, back @ E_B
    through = S @ np.swapaxes(np.abs(A_bar), -1, -2) + V @ np.swapaxes(np.abs(B_bar), -1, -2)
    return (1 - alpha) * S + alpha * through, V
