"""Sums of powers, Σ_n c_n λ_nʲ b_n and C Āʲ B̄, for all j < l: two tables of √l powers and one product.

With j = qS + r the powers factor, so that memory is √l a state and not l.
"""

from __future__ import annotations

import torch
from torch import Tensor


def powers_of_modes(modes: Tensor, length: int) -> Tensor:
    """λʲ for j < l, (*s, n, l), by doubling: each is a product of at most log₂ l earlier ones."""
    powers = torch.ones_like(modes).unsqueeze(-1)
    while powers.shape[-1] < length:
        next_power = powers[..., -1:] * modes.unsqueeze(-1)
        powers = torch.cat([powers, powers * next_power], dim=-1)
    return powers[..., :length]


def vandermonde(weights: Tensor, modes: Tensor, length: int) -> Tensor:
    """Σ_n w_n λ_nʲ for j < l.

    Parameters
    ----------
    weights : (*b, *s, n)
    modes : (*s, n)

    Returns
    -------
    (*b, *s, l)
    """
    short = max(1, int(length**0.5))
    low = powers_of_modes(modes, short)
    high = powers_of_modes(low[..., -1] * modes, -(-length // short))
    return ((weights.unsqueeze(-1) * high).mT @ low).flatten(-2)[..., :length]


def dense_kernel(A: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """C Aʲ B for j < l.

    Parameters
    ----------
    A, B, C : (d, n, n), (d, n, 1), (d, 1, n)

    Returns
    -------
    (d, l)
    """
    short = max(1, int(length**0.5))
    low, steps = _reach(A, B, short)
    high, _ = _reach(steps.mT, C.mT, -(-length // short))
    return (high.mT @ low).flatten(-2)[..., :length]


def _reach(A: Tensor, B: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """B, AB, … A^{l−1}B side by side, (d, n, l), and A^l: by doubling, [V, A^k V]."""
    found, power, total = B, A, None
    rest = length
    while rest:
        if rest & 1:
            total = power if total is None else power @ total
        if found.shape[-1] < length:
            found = torch.cat([found, power @ found], dim=-1)
        rest >>= 1
        if rest:
            power = power @ power
    return found[..., :length], A if total is None else total
