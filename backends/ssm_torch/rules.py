"""From a continuous system to a discrete one by the name of a rule."""

from __future__ import annotations

from typing import Final

from torch import Tensor, exp

from ssm_torch.discretize import discretize_bilinear, discretize_zoh
from ssm_torch.functions import held_step

ALPHA: Final = {"forward_euler": 0.0, "bilinear": 0.5, "backward_euler": 1.0}
"""The generalised bilinear rules."""


def discretize(A: Tensor, B: Tensor, delta: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """Ā and B̄ of full matrices, as :func:`ssm_torch.discretize.discretize_zoh` takes them."""
    if rule == "zoh":
        return discretize_zoh(A, B, delta)
    return discretize_bilinear(A, B, delta, ALPHA[rule])


def discretize_modes(modes: Tensor, delta: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """ā and b̄/B of each mode by its own step: exp(Δλ) and expm1(Δλ)/λ, or the bilinear rule.

    Parameters
    ----------
    modes, delta
        Of one shape; delta is real.
    """
    if rule == "zoh":
        return exp(delta * modes), held_step(delta, modes)
    alpha, step = ALPHA[rule], delta * modes
    divisor = 1 - alpha * step
    return (1 + (1 - alpha) * step) / divisor, delta / divisor
