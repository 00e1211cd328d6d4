"""What an error of its argument, and honest rounding, do to the gate silu(z) = zσ(z) and to its slope."""

from __future__ import annotations

import numpy as np

from ssm_spec._functions import sigmoid
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._adjoint import gate_slope
from ssm_spec._selective_scan._local_errors import flushed, gate_slope_error, sigmoid_error
from ssm_spec._selective_scan._value import gate
from ssm_spec._validate import Float


def silu_error(z: Float, error: Float, arithmetic: Arithmetic) -> Float:
    """|silu'(z)|e + e²/4 + (ρ_σ + 2u)|silu(z)|: Taylor's theorem, for |silu''| <= ½ everywhere.

    `z` is the exact argument, `error` the bound e of what is given instead; same shape.
    """
    moved = np.abs(gate_slope(z)) * error + 0.25 * error * error
    relative = sigmoid_error(z, arithmetic) + 2.0 * arithmetic.u
    rounded = relative * (np.abs(gate(z)) + moved) + flushed(arithmetic, np.abs(z), sigmoid(z))
    total: Float = moved + rounded
    return total


def silu_slope_error(z: Float, error: Float, arithmetic: Arithmetic) -> Float:
    """|silu''(z)|e + e²/4, for |silu'''| <= ½ everywhere, and the rounding of silu' itself.

    silu''(z) = σ(z)σ(−z)(2 + z(σ(−z) − σ(z))).
    """
    near, far = sigmoid(z), sigmoid(-z)
    curvature = near * far * np.abs(2.0 + np.clip(z, -(2.0**127), 2.0**127) * (far - near))
    total: Float = curvature * error + 0.25 * error * error + gate_slope_error(z, arithmetic)
    return total
