"""What one step may lose before any state is involved: the errors of Δ, exp(ΔA), b̄u and the gate.

The letters are those of the derivation: E_s, E_a, E_φ, E_b, ρ_σ; u is the unit roundoff
and k_e, k_l, k_d, k_p count units of it. First order in u, except that exp's error is kept
whole. η, the smallest normal number, enters once for every product that may be flushed and
every factor that may be read as zero: a product of factors f_i loses at most η Π(1 + |f_i|),
since each loss is η times the product of the factors outside it and no two losses share one. On its
way it may be as large as Π max(1, |f_i|), the product of the factors above 1 being the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._functions import sigmoid
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._trajectory import Trajectory

Float = NDArray[np.float64]

_SOFTPLUS_CUT = 40.0
"""Above it PyTorch's softplus is taken for the identity: above 20 as it comes, but for float64 above 40."""


def flushed(arithmetic: Arithmetic, *factors: Any) -> Any:
    """η Π(1 + |f|): what flushing subnormals may lose in a product of non-negative factors."""
    loss: Any = arithmetic.eta
    for factor in factors:
        loss = loss * (1.0 + factor)
    return loss


def reached(arithmetic: Arithmetic, *factors: Any) -> Any:
    """Π (1 + u_m + κ) max(1, |f|): the largest product of any of the factors, in any order.

    The factors are not negative, and contain their own errors; u_m is that of a complex product, the larger.
    κ, two units of the operands' type, is for a factor and for what it is multiplied by, rounded to it.
    """
    rounded = 1.0 + arithmetic.product(complex_=True) + arithmetic.operand_rounding
    reach: Any = 1.0
    for factor in factors:
        reach = reach * (rounded * np.maximum(factor, 1.0))
    return reach


@dataclass(frozen=True, eq=False)
class LocalErrors:
    """Absolute errors of Δ, (l, b, d); a, φ and b̄u, (l, n, b, d); and of σ(x), (l, b, d)."""

    step: Float
    decay: Float
    phi: Float
    source: Float
    slope: Float


def local_errors(trajectory: Trajectory, arithmetic: Arithmetic, step: Float | None = None) -> LocalErrors:
    """Bound the errors of one step's coefficients; `step` that of Δ, where it comes from elsewhere."""
    step = step_error(trajectory, arithmetic) if step is None else step
    decay = _decay_error(trajectory, step, arithmetic)
    phi = _phi_error(trajectory, step, arithmetic)
    return LocalErrors(
        step, decay, phi, _source_error(trajectory, phi, arithmetic), _slope_error(trajectory, arithmetic)
    )


def step_error(trajectory: Trajectory, arithmetic: Arithmetic) -> Float:
    """E_s = u[σ(k_e + 3|x|) + k_l s] + 3η under softplus, u|x| + 3η for a sum, η as given.

    3|x|: the sum delta + delta_bias and the prescaled argument of exp. Without a guard,
    log(1 + eˣ) adds the rounding of 1 + eˣ: u, absolute.
    """
    x, scan = trajectory.x, trajectory.scan
    if scan.softplus:
        return softplus_error(x, trajectory.slope, trajectory.step, arithmetic)
    error = np.zeros_like(x) if scan.delta_bias is None else arithmetic.u * x
    return error + 3.0 * arithmetic.eta


def softplus_error(x: Float, slope: Float, step: Float, arithmetic: Arithmetic) -> Float:
    """E_s of softplus, from |x|, σ(x) and softplus(x)."""
    u = arithmetic.u
    error = u * (slope * (arithmetic.k_exp + 3.0 * x) + arithmetic.k_log * step) + 3.0 * arithmetic.eta
    return error + u if arithmetic.softplus == "naive" else error


def _decay_error(trajectory: Trajectory, step: Float, arithmetic: Arithmetic) -> Float:
    """E_a = |a| expm1(ρ) + η, ρ = |A|E_s + u(k_e + k_p|p|).

    Where |a| underflows in float64 there is nothing left but η.
    """
    k_exp = arithmetic.exponential(trajectory.scan.complex)
    rho = trajectory.A * step[:, None] + arithmetic.u * (k_exp + arithmetic.k_scale * trajectory.p)
    rho = rho + flushed(arithmetic, trajectory.A, trajectory.step[:, None])
    error: Float = np.where(trajectory.a == 0.0, 0.0, trajectory.a * np.expm1(rho)) + arithmetic.eta
    return error


def _phi_error(trajectory: Trajectory, step: Float, arithmetic: Arithmetic) -> Float:
    """E_φ: E_s under the Euler rule; |a|(E_s + k_p u s) + (k_e + k_d)u|φ| + η for expm1(p)/A.

    ∂φ/∂Δ = a; a prescaled argument moves φ as much as a change of Δ by k_p u Δ. Where p is
    flushed to zero the quotient loses η/|A|, and never more than φ. Where A is read as zero φ becomes Δ,
    and moves by |Δ|ψ(Re p) times p.
    """
    if not trajectory.scan.zoh:
        return step[:, None]
    u, k_exp = arithmetic.u, arithmetic.exponential(trajectory.scan.complex)
    moved = trajectory.a * (step[:, None] + arithmetic.k_scale * u * trajectory.step[:, None])
    zero = trajectory.A == 0.0
    lost = np.where(zero, 0.0, np.minimum(arithmetic.eta / np.where(zero, 1.0, trajectory.A), trajectory.phi))
    lost = lost + trajectory.hold_moves * flushed(arithmetic, trajectory.A, trajectory.step[:, None])
    error: Float = moved + (k_exp + arithmetic.k_div) * u * trajectory.phi + lost + arithmetic.eta
    return error


def _source_error(trajectory: Trajectory, phi: Float, arithmetic: Arithmetic) -> Float:
    """E_b = |u_t B|E_φ + (u + u_m)|b| + η(1 + φ)(1 + |u_t|)(1 + |B|)."""
    u_t = trajectory.u[:, None]
    rounding = (arithmetic.u + arithmetic.product(trajectory.scan.complex)) * trajectory.source
    lost: Float = flushed(arithmetic, trajectory.phi, u_t, trajectory.B)
    return u_t * trajectory.B * phi + rounding + lost


def _slope_error(trajectory: Trajectory, arithmetic: Arithmetic) -> Float:
    """E_σ for the slope of softplus; no slope, no error."""
    if not trajectory.scan.softplus:
        return np.zeros_like(trajectory.slope)
    return softplus_slope_error(trajectory.x, trajectory.slope, arithmetic)


def softplus_slope_error(x: Float, slope: Float, arithmetic: Arithmetic) -> Float:
    """E_σ, from |x| and σ(x)."""
    factor = (arithmetic.k_exp + 3.0 * x) * (1.0 - slope) + 1.0 + arithmetic.k_div
    error: Float = arithmetic.u * slope * factor + arithmetic.eta
    return error


def softplus_slope_reach(step: Float, d_step: Float, arithmetic: Arithmetic) -> Float:
    """The largest number on the way to σ(x)dΔ, from softplus(x) and |dΔ|.

    PyTorch takes (dΔ eˣ)/(eˣ + 1), up to where softplus is the identity.
    """
    grown = np.expm1(np.minimum(step, _SOFTPLUS_CUT))
    reach: Float = reached(arithmetic, d_step, grown)
    return reach


def sigmoid_error(z: Float, arithmetic: Arithmetic) -> Float:
    """ρ_σ, relative: u[(k_e + 2|z|)(1 − σ) + 1 + k_d], for 1/(1 + exp(−z)).

    2|z|: the prescaled argument of exp. 1 + e⁻ᶻ moves by (1 − σ) times what exp(−z) does.
    """
    # z·σ(−z) → 0 for large z; at ±∞ itself nothing is judged, but no NaN may spread from here.
    magnitude = np.minimum(np.abs(z), 2.0**127)
    return arithmetic.u * ((arithmetic.k_exp + 2.0 * magnitude) * sigmoid(-z) + 1.0 + arithmetic.k_div)


def gate_slope_error(z: Float, arithmetic: Arithmetic) -> Float:
    """Error of silu' = σ + zσ(1 − σ) in either form; 1 − σ is a subtraction: σρ_σ + u, absolute."""
    u, sigma, relative = arithmetic.u, sigmoid(z), sigmoid_error(z, arithmetic)
    size = sigma * (1.0 + np.abs(z) * sigmoid(-z))
    subtracted = sigma * np.abs(z) * (sigma * relative + 2.0 * u)
    error: Float = (relative + 4.0 * u) * size + subtracted + flushed(arithmetic, np.abs(z))
    return error
