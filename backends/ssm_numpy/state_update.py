"""One step of the selective scan, on a state for each row or on a pool of states."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_backends.slots import check_slots
from ssm_backends.writable import check_writable
from ssm_numpy.functions import quiet, silu
from ssm_numpy.selective_scan import prepare

Array = NDArray[Any]


@quiet
def selective_state_update(
    state: Array,
    u: Array,
    delta: Array,
    A: Array,
    B: Array,
    C: Array,
    D: Array | None = None,
    z: Array | None = None,
    delta_bias: Array | None = None,
    delta_softplus: bool = False,
    *,
    b_discretization: str = "euler",
    state_indices: Array | None = None,
    inplace: bool = False,
) -> tuple[Array, Array]:
    """One step of :func:`selective_scan`: h = exp(ΔA) h⁻ + b̄ u, y = (γ Re Σ_n C h + D u) silu(z).

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
        If `state_indices` names a slot that the pool does not have, or one twice.
    """
    if inplace:
        check_writable("state", state)
    rows = np.arange(len(u))
    slots = rows
    if state_indices is not None:
        check_slots(state_indices.tolist(), len(state))
        rows = np.flatnonzero(state_indices >= 0)
        slots = state_indices[rows]
    scan = prepare(
        u[rows, :, None],
        delta[rows, :, None],
        A,
        B[rows, ..., None],
        C[rows, ..., None],
        delta_bias,
        delta_softplus,
        b_discretization=b_discretization,
    )
    _, h = scan.step(0, state[slots])
    v = scan.output(0, h)
    if D is not None:
        v += D * scan.u[:, :, 0]
    if z is not None:
        v *= silu(z[rows].astype(v.dtype))
    y = np.zeros_like(u)
    y[rows] = v
    new_state = state if inplace else state.copy()
    new_state[slots] = h
    return y, new_state
