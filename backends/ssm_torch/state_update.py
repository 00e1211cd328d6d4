"""One step of the selective scan, on a state for each row or on a pool of states."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_backends import ArgumentError
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
    """One step of the selective scan, with the arguments of the operator.

    With ``state_indices`` the rows to skip are found first, which waits for a GPU once.

    Returns
    -------
    y : (b, d), dtype of u; 0 in skipped rows
    state : (r, d, n), dtype of state; ``state`` itself with ``inplace``
    """
    if state_indices is None:
        y, new_state = _advance(state, u, delta, A, B, C, D, z, delta_bias, delta_softplus, b_discretization)
        return y, state.copy_(new_state) if inplace else new_state
    _check_indices(state_indices, len(state))
    rows = (state_indices >= 0).nonzero()[:, 0]
    slots = state_indices.long()[rows]
    y, advanced = _advance(
        state[slots],
        u[rows],
        delta[rows],
        A,
        B[rows],
        C[rows],
        D,
        None if z is None else z[rows],
        delta_bias,
        delta_softplus,
        b_discretization,
    )
    every = torch.zeros_like(u).index_copy(0, rows, y)
    if inplace:
        return every, state.index_copy_(0, slots, advanced)
    return every, state.index_copy(0, slots, advanced)


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
) -> tuple[Tensor, Tensor]:
    """y (b, d) and the new state (b, d, n) of rows that each have a state."""
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
    )
    h = torch.addcmul(terms.x[0], terms.a[0], state.to(A.dtype))
    return terms.output(h.unsqueeze(0))[0].to(u.dtype), h.to(state.dtype)


def _check_indices(state_indices: Tensor, slots: int) -> None:
    """On a CPU alone: on a GPU it would wait once more, and a wrong slot is the caller's fault there."""
    if state_indices.device.type != "cpu":
        return
    if bool(((state_indices < -1) | (state_indices >= slots)).any()):
        raise ArgumentError(
            f"`state_indices` must lie in -1..{slots - 1}, the slots of `state`; got {state_indices.tolist()}"
        )
