"""The short causal convolution of Mamba, time by time, and its single step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def causal_conv1d_update(
    x: Array, state: Array, weight: Array, bias: Array | None = None, activation: str | None = None
) -> tuple[Array, Array]:
    """One step of :func:`causal_conv1d`: y = bias + Σ_{j<w−1} w_j state_j + w_{w−1} x.

    Parameters
    ----------
    x : (b, d)
    state : (b, d, w − 1)
        The last inputs, newest last; it is not written.
    weight : (d, w)
    bias : (d)
    activation
        "silu", also called "swish"; None for none.

    Returns
    -------
    y : (b, d), dtype of x
    state : (b, d, w − 1), compute type
    """
    y, last_state = causal_conv1d(
        x[..., None], weight, bias, activation, initial_state=state, return_last_state=True
    )
    return y[..., 0], last_state
