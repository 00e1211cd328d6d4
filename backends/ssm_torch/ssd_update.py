"""One step of state space duality, the scan of Mamba-2, on a state for each row or on a pool of states."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from ssm_backends.writable import check_writable
from ssm_torch import pools
from ssm_torch.functions import compute_dtype, silu, softplus, split
from ssm_torch.optional import may_be_differentiated
from ssm_torch.precision import not_cast_down


@not_cast_down
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
    *,
    state_indices: Tensor | None = None,
    inplace: bool = False,
) -> tuple[Tensor, Tensor]:
    """S = exp(ΔA) S⁻ + Δ x Bᵀ, y = (S C + D x) silu(z): one step (Dao & Gu 2024, equation 2).

    With ``state_indices`` and without ``inplace`` the rows to skip are found first: a GPU is waited for once.

    Parameters
    ----------
    state : (b, h, p, n), or a pool (slots, h, p, n) with `state_indices`
    x, z : (b, h, p)
    dt : (b, h)
    A, dt_bias : (h)
    B, C : (b, g, n)
    D : (h) or (h, p)
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)) instead of dt + dt_bias.
    dt_limit
        (low, high): Δ is clamped to it, always.
    state_indices : (b), int32 or int64
        The slot of each row, each at most once; −1 skips the row.
    inplace
        Write the new state over `state`.

    Returns
    -------
    y : (b, h, p), dtype of x; 0 in skipped rows
    state : as `state`, in its dtype; ``state`` itself with ``inplace``

    Raises
    ------
    ArgumentError
        If `state` cannot be written element by element where `inplace` is set.
        If `state_indices` names a slot that the pool does not have, or one twice: on a CPU alone, since a
        GPU would have to be waited for.
    """
    if inplace and not torch.compiler.is_compiling():
        check_writable("state", state)
    inputs = (state, x, dt, A, B, C, D, z, dt_bias)

    def advance(
        before: Tensor, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, z: Tensor | None, skipped: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return _advance(before, x, dt, A, B, C, D, z, dt_bias, dt_softplus, dt_limit, skipped)

    return pools.stepped(
        advance,
        state,
        (x, dt, B, C, z),
        state_indices,
        inplace=inplace,
        differentiated=state_indices is not None and may_be_differentiated(*inputs),
    )


def _advance(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    dt_limit: tuple[float, float],
    skipped: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """y (b, h, p) and the new state (b, h, p, n) of rows that each have a state; some take no step."""
    compute, groups = compute_dtype(x, A), B.shape[1]
    x_, raw = x.to(compute), dt.to(compute)
    raw = raw if dt_bias is None else raw + dt_bias
    step = (softplus(raw) if dt_softplus else raw).clamp(*dt_limit)
    if skipped is not None:
        step = step.masked_fill(skipped[:, None], 0)
    # One row of B and C serves the heads of its group: (b, g, 1, 1, n) against states (b, g, r, p, n).
    rows, columns = (M.to(compute)[:, :, None, None] for M in (B, C))
    source = split(step.unsqueeze(-1) * x_, 1, (groups, -1)).unsqueeze(-1)
    decay = split(torch.exp(step * A), 1, (groups, -1))[..., None, None]
    new = torch.addcmul(source * rows, decay, split(state.to(compute), 1, (groups, -1)))
    y = (new * columns).sum(-1).flatten(1, 2)
    if D is not None:
        y = y + (D if D.ndim == 2 else D.unsqueeze(-1)) * x_
    if z is not None:
        y = y * silu(z.to(compute))
    return y.to(x.dtype), new.flatten(1, 2).to(state.dtype)
