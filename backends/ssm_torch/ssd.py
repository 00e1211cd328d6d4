"""State space duality, the scan of Mamba-2, in chunks by matrix products."""

from __future__ import annotations

from math import inf

from torch import Tensor

from ssm_torch.duality import scan_in_chunks


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
