"""The short causal convolution of Mamba, time by time, and its single step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_backends.slots import check_slots
from ssm_backends.writable import check_writable
from ssm_numpy.functions import quiet, silu

Array = NDArray[Any]


@quiet
def causal_conv1d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    activation: str | None = None,
    *,
    initial_state: Array | None = None,
    seq_idx: Array | None = None,
    return_last_state: bool = False,
) -> Array | tuple[Array, Array]:
    """y_t = bias + Σ_j w_j x_{t−w+1+j}, then silu if asked for (Gu & Dao 2023, section 3.4).

    Parameters
    ----------
    x : (b, d, l)
    weight : (d, w)
        The last tap multiplies the newest input.
    bias : (d)
    activation
        "silu", also called "swish"; None for none.
    initial_state : (b, d, w − 1)
        The inputs before the first, newest last.
    seq_idx : (b, l)
        Where it changes the window is emptied.

    Returns
    -------
    y : (b, d, l), dtype of x
    last_state : (b, d, w − 1), compute type; only with ``return_last_state``
    """
    b, d, l = x.shape
    compute = np.result_type(x.dtype, np.float32)
    taps = weight.astype(compute)
    window = np.zeros((b, d, taps.shape[1]), compute)
    if initial_state is not None:
        window[..., 1:] = initial_state
    y = np.empty((b, d, l), compute)
    for t in range(l):
        if seq_idx is not None and t:
            window[seq_idx[:, t] != seq_idx[:, t - 1]] = 0
        window = np.concatenate([window[..., 1:], x[..., t, None].astype(compute)], axis=-1)
        y[..., t] = (window * taps).sum(-1)
    if bias is not None:
        y += bias.astype(compute)[:, None]
    y = (silu(y) if activation else y).astype(x.dtype, copy=False)
    return (y, window[..., 1:].copy()) if return_last_state else y


@quiet
def causal_conv1d_update(
    x: Array,
    state: Array,
    weight: Array,
    bias: Array | None = None,
    activation: str | None = None,
    *,
    state_indices: Array | None = None,
    inplace: bool = False,
) -> tuple[Array, Array]:
    """One step of :func:`causal_conv1d`: y = bias + Σ_{j<w−1} w_j state_{k−w+1+j} + w_{w−1} x.

    Parameters
    ----------
    x : (b, d)
    state : (b, d, k), or a pool (slots, d, k) with `state_indices`
        The last k ≥ w − 1 inputs, newest last.
    weight : (d, w)
    bias : (d)
    activation
        "silu", also called "swish"; None for none.
    state_indices : (b), int32 or int64
        The slot of each row, each at most once; −1 skips the row.
    inplace
        Write the new state over `state`.

    Returns
    -------
    y : (b, d), dtype of x; 0 in skipped rows
    state : as `state`, in its dtype; ``state`` itself with ``inplace``

    Raises
    ------
    ArgumentError
        If `state` cannot be written element by element where `inplace` is set.
        If `state_indices` names a slot that the pool does not have, or one twice.
    """
    if inplace:
        check_writable("state", state)
    rows = np.arange(len(x))
    slots = rows
    if state_indices is not None:
        check_slots(state_indices.tolist(), len(state))
        rows = np.flatnonzero(state_indices >= 0)
        slots = state_indices[rows]
    new = x[rows, :, None]
    line = np.concatenate([state[slots], new], axis=-1)
    y = np.zeros_like(x)
    read = line[..., line.shape[-1] - weight.shape[1] : -1]
    filtered = causal_conv1d(new, weight, bias, activation, initial_state=read)
    assert isinstance(filtered, np.ndarray)
    y[rows] = filtered[..., 0]
    new_state = state if inplace else state.copy()
    new_state[slots] = line[..., 1:]
    return y, new_state
