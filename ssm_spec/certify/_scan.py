"""The selective scan and its step on the tape, written down as they are defined.

Letters: b rows, d channels, l steps, n states, g groups, s packed sequences.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec.certify._functions import exp, held, silu, softplus, twice_the_real_part
from ssm_spec.certify._pool import participants
from ssm_spec.certify._tape import Variable, constant, join, stack

Outputs = dict[str, Variable]


def selective_scan(
    u: Variable,
    delta: Variable,
    A: Variable,
    B: Variable,
    C: Variable,
    D: Variable | None = None,
    z: Variable | None = None,
    delta_bias: Variable | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: Variable | None = None,
    seq_idx: ArrayLike | None = None,
    cu_seqlens: ArrayLike | None = None,
    b_discretization: str = "euler",
) -> Outputs:
    """h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t; y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t).

    Gu and Dao, Mamba (2023), (2) and (4); γ = 2 for complex A.
    """
    del return_last_state  # it is always among the outputs
    b, d, l = u.shape
    x = delta if delta_bias is None else delta + delta_bias[:, None]
    step = (softplus(x) if delta_softplus else x)[:, :, None]
    p = step * A[:, :, None]
    weight = step * held(p) if b_discretization == "zoh" else step
    drive = weight * _by_channel(B, d) * u[:, :, None]
    h, last = _states(exp(p), drive, initial_state, _starts(b, l, seq_idx), cu_seqlens)
    y = (_by_channel(C, d) * h).sum(2)
    y = twice_the_real_part(y) if A.complex else y
    y = y if D is None else y + D[:, None] * u
    return {"y": y if z is None else y * silu(z), "last_state": last}


def selective_state_update(
    state: Variable,
    u: Variable,
    delta: Variable,
    A: Variable,
    B: Variable,
    C: Variable,
    D: Variable | None = None,
    z: Variable | None = None,
    delta_bias: Variable | None = None,
    delta_softplus: bool = False,
    *,
    b_discretization: str = "euler",
    state_indices: ArrayLike | None = None,
) -> Outputs:
    """One step: a scan of length one, from the slots that the rows name; −1 skips a row."""
    taken = participants(state_indices, u.shape[0])
    rows = taken.rows
    found = selective_scan(
        u[rows, :, None],
        delta[rows, :, None],
        A,
        B[rows][..., None],
        C[rows][..., None],
        D,
        None if z is None else z[rows, :, None],
        delta_bias,
        delta_softplus,
        initial_state=state[taken.slots],
        b_discretization=b_discretization,
    )
    return {
        "y": taken.to_rows(found["y"][..., 0]),
        "state": taken.to_slots(found["last_state"], state),
    }


def _by_channel(M: Variable, d: int) -> Variable:
    """B or C for each channel, (b or 1, d, n, l or 1): channel i belongs to group i // (d/g)."""
    if len(M.shape) == 2:
        return M[None, :, :, None]
    if len(M.shape) == 3:
        return M[:, None]
    return M[:, np.arange(d) * M.shape[1] // max(d, 1)]


def _starts(b: int, l: int, seq_idx: ArrayLike | None) -> NDArray[np.bool_]:
    """(b, l): whether a sequence starts there that is not the row's first."""
    starts = np.zeros((b, l), bool)
    if seq_idx is not None:
        starts[:, 1:] = np.diff(np.asarray(seq_idx), axis=1) != 0
    return starts


def _states(
    a: Variable,
    drive: Variable,
    initial: Variable | None,
    starts: NDArray[np.bool_],
    cu_seqlens: ArrayLike | None,
) -> tuple[Variable, Variable]:
    """h_t = a_t h_{t−1} + drive_t for each t, (b, d, n, l), and the last one of each sequence."""
    if cu_seqlens is None:
        return _trajectory(a, drive, initial, starts)
    ends = [int(end) for end in np.asarray(cu_seqlens)]
    spans = list(pairwise(ends))
    pieces = [
        _trajectory(
            a[..., start:end],
            drive[..., start:end],
            None if initial is None else initial[i : i + 1],
            starts[:, start:end],
        )
        for i, (start, end) in enumerate(spans)
    ]
    if not pieces:
        return drive, drive[..., 0:0].sum(3)[0:0]
    return join([h for h, _ in pieces], 3), join([last for _, last in pieces], 0)


def _trajectory(
    a: Variable, drive: Variable, initial: Variable | None, starts: NDArray[np.bool_]
) -> tuple[Variable, Variable]:
    """The states of one sequence a row, and the last; where a row starts anew, what was is dropped."""
    *shape, l = drive.shape
    h = constant(np.zeros(shape)) if initial is None else initial
    h = h.promoted(a)
    states: list[Variable] = []
    for t in range(l):
        if starts[:, t].any():
            h = h * constant(np.where(starts[:, t], 0.0, 1.0)[:, None, None])
        h = a[..., t] * h + drive[..., t]
        states.append(h)
    return stack(states, 3, drive), h
