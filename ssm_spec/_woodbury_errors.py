"""What S4's bilinear rule loses where Woodbury's identity stands for elimination.

With W = I − ½ΔA, A = diag(Λ) − P Q*, d = 1/(1 − ½Δλ), p = ½ΔdP, q = Q̄d and σ = 1 + Σ Q̄ p,

    W⁻¹ = diag(d) − p q/σ,     |W⁻¹| <= M = diag|d| + |p||q|/|σ|.

d is wrong by ρ = u(1 + k + |½Δλ d|) of itself, k units for a quotient, and σ by

    e_σ = Σ |Q||p|(ρ + 3u_m + κu) + u|σ|,

κ of n + 1 products. So W⁻¹ is wrong by

    E = diag(|d|ρ) + |p_i||q_j|/|σ| (ρ_i + ρ_j + 5u_m + k u + e_σ/|σ|)/(1 − e_σ/|σ|) + u M.
"""

from __future__ import annotations

import numpy as np

from ssm_spec._elimination_errors import Counts
from ssm_spec._products import roundings
from ssm_spec._roundoff import Arithmetic
from ssm_spec._s4_kernel import Dplr
from ssm_spec._validate import Array, Float


def woodbury_errors(
    call: Dplr, A_bar: Array, B_bar: Array, formed: Float, arithmetic: Arithmetic
) -> tuple[Float, Float]:
    """Bound what is wrong with Ā (d, n, n) and B̄ (d, n, 1); `formed` is what A in R = I + ½ΔA is wrong by.

    R may meet W⁻¹, or diag(d) and q apart, (E + (κu + 2u_m)M)|R| + M e_R + u|W⁻¹R|; or Ā is 2W⁻¹ − I.
    """
    u, u_m, n = arithmetic.u, arithmetic.product(complex_=True), call.Lambda.shape[-1]
    step, half = np.abs(call.delta)[:, None, None], 0.5 * call.delta[:, None]
    quotient, eye = Counts.of(arithmetic, complex_=True).quotient, np.eye(n)
    d = 1.0 / (1.0 - half * call.Lambda)
    p, q = half * d * call.P, np.conj(call.Q) * d
    rho = u * (1.0 + quotient + np.abs(half * call.Lambda * d))
    sigma = np.abs(1.0 + np.sum(np.conj(call.Q) * p, axis=-1))
    e_sigma = np.sum(np.abs(call.Q * p) * (rho + 3 * u_m + roundings(n + 1, True) * u), axis=-1) + u * sigma
    low, relative = (x[:, None, None] for x in (1.0 / sigma, e_sigma / sigma))
    low = np.abs(p)[..., :, None] * np.abs(q)[..., None, :] * low
    M = np.abs(d)[..., None] * eye + low
    each = rho[..., :, None] + rho[..., None, :] + 5 * u_m + quotient * u + relative
    E = (np.abs(d) * rho)[..., None] * eye + low * each / np.maximum(1.0 - relative, 0.0) + u * M
    met = E + (roundings(n, True) * u + 2 * u_m) * M
    R, Y = eye + 0.5 * call.delta[:, None, None] * call.A, step * np.abs(call.B)[..., None]
    e_R = u * (np.abs(R) + 0.5 * step * np.abs(call.A)) + 0.5 * step * formed
    of_A = met @ np.abs(R) + M @ e_R + u * np.abs(A_bar)
    of_B = met @ Y + u * (M @ Y + np.abs(B_bar))
    return np.maximum(of_A, 2 * E + u * np.abs(A_bar)), np.asarray(of_B)
