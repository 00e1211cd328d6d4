"""The short convolution and SSD of the Mamba family on the tape, written down as they are defined.

Letters: b rows, d channels, l steps, w taps, h heads, p head width, n states, g groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec.certify._functions import clamp, exp, silu, softplus
from ssm_spec.certify._pool import participants
from ssm_spec.certify._tape import Variable, constant, join, stack

Outputs = dict[str, Variable]


def causal_conv1d(
    x: Variable,
    weight: Variable,
    bias: Variable | None = None,
    activation: str | None = None,
    *,
    initial_state: Variable | None = None,
    seq_idx: ArrayLike | None = None,
    return_last_state: bool = False,
) -> Outputs:
    """y_t = bias + Σ_j w_j x_{t−w+1+j}, then silu; nothing is read across a reset (Mamba, section 3.4)."""
    del return_last_state  # it is always among the outputs
    (b, d, l), w = x.shape, weight.shape[1]
    before = constant(np.zeros((b, d, w - 1))) if initial_state is None else initial_state
    line = join([before, x], 2)  # time t is at t + w − 1
    oldest = _oldest(b, l, w, seq_idx)
    y = constant(np.zeros((b, d, l)))
    for j in range(w):
        times = np.arange(l) - w + 1 + j
        y = y + weight[:, j : j + 1] * line[..., j : j + l] * _mask(times >= oldest[:, :l])
    y = y if bias is None else y + bias[:, None]
    last = line[..., l:] * _mask(np.arange(l - w + 1, l) >= oldest[:, -1:])
    return {"y": y if activation is None else silu(y), "last_state": last}


def causal_conv1d_update(
    x: Variable,
    state: Variable,
    weight: Variable,
    bias: Variable | None = None,
    activation: str | None = None,
    *,
    state_indices: ArrayLike | None = None,
) -> Outputs:
    """The convolution at length one, of the newest w − 1 of k inputs that a state holds; −1 skips a row."""
    taken = participants(state_indices, x.shape[0])
    new, k, v = x[taken.rows][..., None], state.shape[2], weight.shape[1] - 1
    line = join([state[taken.slots], new], 2)
    found = causal_conv1d(new, weight, bias, activation, initial_state=line[..., k - v : k])
    return {"y": taken.to_rows(found["y"][..., 0]), "state": taken.to_slots(line[..., 1:], state)}


def ssd(
    x: Variable,
    dt: Variable,
    A: Variable,
    B: Variable,
    C: Variable,
    D: Variable | None = None,
    z: Variable | None = None,
    dt_bias: Variable | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    *,
    initial_states: Variable | None = None,
    seq_idx: ArrayLike | None = None,
) -> Outputs:
    """S_t = exp(Δ_t A) S_{t−1} + Δ_t x_t B_tᵀ; y_t = (S_t C_t + D x_t) silu(z_t).

    Dao and Gu, Transformers are SSMs (2024), (2) with scalar A.
    """
    del return_final_states  # they are always among the outputs
    (b, l, h, p), (g, n) = x.shape, B.shape[2:]
    raw = dt if dt_bias is None else dt + dt_bias
    step = clamp(softplus(raw) if dt_softplus else raw, *dt_limit)
    a = exp(step * A)
    group = np.arange(h) * g // max(h, 1)
    B, C = B[:, :, group], C[:, :, group]
    drive = (step[..., None] * x)[..., None] * B[..., None, :]
    S = constant(np.zeros((b, h, p, n))) if initial_states is None else initial_states
    states = []
    for t in range(l):
        if seq_idx is not None and t > 0:
            S = S * _mask(np.equal(*(np.asarray(seq_idx)[:, [t - 1, t]].T)))[..., None]
        S = a[:, t, :, None, None] * S + drive[:, t]
        states.append(S)
    y = (stack(states, 1, drive) @ C[..., None])[..., 0]
    if D is not None:
        y = y + (D if len(D.shape) == 2 else D[:, None]) * x
    return {"y": y if z is None else y * silu(z), "final_states": S}


def ssd_update(
    state: Variable,
    x: Variable,
    dt: Variable,
    A: Variable,
    B: Variable,
    C: Variable,
    D: Variable | None = None,
    z: Variable | None = None,
    dt_bias: Variable | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    *,
    state_indices: ArrayLike | None = None,
) -> Outputs:
    """One step: SSD at length one, from the slots that the rows name; −1 skips a row."""
    taken = participants(state_indices, x.shape[0])
    rows = taken.rows
    x, dt, B, C = (v[rows][:, None] for v in (x, dt, B, C))
    z = None if z is None else z[rows][:, None]
    found = ssd(x, dt, A, B, C, D, z, dt_bias, dt_softplus, dt_limit, initial_states=state[taken.slots])
    return {"y": taken.to_rows(found["y"][:, 0]), "state": taken.to_slots(found["final_states"], state)}


def _oldest(b: int, l: int, w: int, seq_idx: ArrayLike | None) -> NDArray[np.int64]:
    """(b, l + 1): the oldest time that each time may read, the last entry being that of the last state."""
    oldest = np.full((b, l + 1), 1 - w)
    if seq_idx is not None:
        for i, row in enumerate(np.asarray(seq_idx)):
            for t in range(1, l):
                oldest[i, t] = t if row[t] != row[t - 1] else oldest[i, t - 1]
            oldest[i, l] = oldest[i, max(l - 1, 0)]
    return oldest


def _mask(kept: NDArray[np.bool_]) -> Variable:
    """(b or 1, l) as exact ones and zeros, (b or 1, 1, l)."""
    return constant(np.where(kept, 1.0, 0.0)[..., None, :] if kept.ndim > 1 else kept[:, None, None] * 1.0)
