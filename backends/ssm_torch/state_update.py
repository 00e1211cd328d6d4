"""One step of the selective scan, on a state for each row or on a pool of states."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_backends.writable import check_writable
from ssm_torch import pools
from ssm_torch.optional import may_be_differentiated
from ssm_torch.precision import not_cast_down
from ssm_torch.terms import selective_terms


@not_cast_down
def selective_state_update(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    b_discretization: str = "euler",
    state_indices: Tensor | None = None,
    inplace: bool = False,
) -> tuple[Tensor, Tensor]:
    """One step of :func:`selective_scan`: h = exp(ΔA) h⁻ + b̄ u, y = (γ Re Σ_n C h + D u) silu(z).

    With ``state_indices`` and without ``inplace`` the rows to skip are found first: a GPU is waited for once.

    Parameters
    ----------
    state : (b, d, n), or a pool (slots, d, n) with `state_indices`
    u, delta, z : (b, d)
    A : (d, n), real or complex
    B, C : (b, n) or (b, g, n)
    D, delta_bias : (d)
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)) instead of delta + delta_bias.
    b_discretization
        "euler": b̄ = ΔB; "zoh": b̄ = expm1(ΔA)/A · B.
    state_indices : (b), int32 or int64
        The slot of each row, each at most once; −1 skips the row.
    inplace
        Write the new state over `state`.

    Returns
    -------
    y : (b, d), dtype of u; 0 in skipped rows
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
    inputs = (state, u, delta, A, B, C, D, z, delta_bias)

    def advance(
        before: Tensor,
        u: Tensor,
        delta: Tensor,
        B: Tensor,
        C: Tensor,
        z: Tensor | None,
        skipped: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        return _advance(
            before, u, delta, A, B, C, D, z, delta_bias, delta_softplus, b_discretization, skipped
        )

    return pools.stepped(
        advance,
        state,
        (u, delta, B, C, z),
        state_indices,
        inplace=inplace,
        differentiated=state_indices is not None and may_be_differentiated(*inputs),
    )


def _advance(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    b_discretization: str,
    skipped: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """y (b, d) and the new state (b, d, n) of rows that each have a state; some take no step."""
    terms = selective_terms(
        u.unsqueeze(-1),
        delta.unsqueeze(-1),
        A,
        B.unsqueeze(-1),
        C.unsqueeze(-1),
        D,
        None if z is None else z.unsqueeze(-1),
        delta_bias,
        delta_softplus,
        b_discretization,
        skipped,
    )
    h = torch.addcmul(terms.x[0], terms.a[0], state.to(A.dtype))
    return terms.output(h.unsqueeze(0))[0].to(u.dtype), h.to(state.dtype)
