"""State space duality, the scan of Mamba-2, in chunks by matrix products; and its single step."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from ssm_torch.duality import scan_in_chunks
from ssm_torch.functions import compute_dtype, silu, softplus, split


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, inf),
    return_final_states: bool = False,
    *,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The chunked dual form (Dao & Gu 2024, listing 1), with the arguments of the operator.

    Its products multiply by zero where nothing may pass: a NaN stays in its row and its head, but may
    reach earlier steps, and other sequences, of its chunk, and from there on every step up to the next
    reset in a later chunk.

    Parameters
    ----------
    x, z : (b, l, h, p)
    dt : (b, l, h)
    A, dt_bias : (h)
    B, C : (b, l, g, n)
    D : (h) or (h, p)
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)) instead of dt + dt_bias.
    dt_limit
        (low, high): Δ is clamped to it, always.
    return_final_states
        Return (y, final_states).
    initial_states : (b, h, p, n)
    seq_idx : (b, l), int32 or int64
        The states are reset exactly where it changes along l.

    Returns
    -------
    y : (b, l, h, p), dtype of x
    final_states : (b, h, p, n), compute type; only with ``return_final_states``
    """
    y, final_states = scan_in_chunks(
        x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx, dt_softplus, dt_limit
    )
    return (y, final_states) if return_final_states else y


def ssd_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, inf),
) -> tuple[Tensor, Tensor]:
    """S = exp(ΔA) S⁻ + Δ x Bᵀ, y = (S C + D x) silu(z): one step (Dao & Gu 2024, equation 2).

    Parameters
    ----------
    state : (b, h, p, n)
    x, z : (b, h, p)
    dt : (b, h)
    A, dt_bias : (h)
    B, C : (b, g, n)
    D : (h) or (h, p)
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)) instead of dt + dt_bias.
    dt_limit
        (low, high): Δ is clamped to it, always.

    Returns
    -------
    y : (b, h, p), dtype of x
    state : (b, h, p, n), compute type
    """
    compute, groups = compute_dtype(x, A), B.shape[1]
    x_, raw = x.to(compute), dt.to(compute)
    raw = raw if dt_bias is None else raw + dt_bias
    step = (softplus(raw) if dt_softplus else raw).clamp(*dt_limit)
    # One row of B and C serves the heads of its group: (b, g, 1, 1, n) against states (b, g, r, p, n).
    rows, columns = (M.to(compute)[:, :, None, None] for M in (B, C))
    source = split(step.unsqueeze(-1) * x_, 1, (groups, -1)).unsqueeze(-1)
    decay = split(torch.exp(step * A), 1, (groups, -1))[..., None, None]
    new = torch.addcmul(source * rows, decay, split(state, 1, (groups, -1)))
    y = (new * columns).sum(-1).flatten(1, 2)
    if D is not None:
        y = y + (D if D.ndim == 2 else D.unsqueeze(-1)) * x_
    if z is not None:
        y = y * silu(z.to(compute))
    return y.to(x.dtype), new.flatten(1, 2)
