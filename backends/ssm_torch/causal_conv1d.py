"""The short causal convolution of Mamba, tap by tap."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.functions import compute_dtype, silu, widen


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    initial_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """y_t = bias + Σ_j w_j x_{t−w+1+j}, then silu if asked for (Gu & Dao 2023, section 3.4).

    A tap at a time: a library's convolution may round to TF32 on a GPU.

    Parameters
    ----------
    x : (b, d, l)
    weight : (d, w)
        The last tap multiplies the newest input.
    bias : (d)
    activation
        "silu", also called "swish"; None for none.
    initial_state : (b, d, w − 1)
        Newest last.
    seq_idx : (b, l)

    Returns
    -------
    y : (b, d, l), dtype of x
    last_state : (b, d, w − 1), compute type; only with ``return_last_state``
    """
    b, d, l = x.shape
    w, compute = weight.shape[1], compute_dtype(x)
    before = x.new_zeros((b, d, w - 1), dtype=compute) if initial_state is None else initial_state
    line = torch.cat([before, widen(x, compute)], dim=-1)
    start = None if seq_idx is None else _starts(seq_idx, w)
    p = torch.zeros_like(x, dtype=compute) if bias is None else widen(bias, compute)[:, None]
    for j, taps in enumerate(widen(weight, compute).unbind(1)):
        read = line[..., j : j + l]
        if start is not None:
            times = torch.arange(l, device=x.device) - (w - 1 - j)
            read = torch.where((times >= start)[:, None], read, 0)
        p = torch.addcmul(p, read, taps[:, None])
    y = (p if activation is None else silu(p)).to(x.dtype)
    return (y, _last_state(line, start, w)) if return_last_state else y


def _starts(seq_idx: Tensor, w: int) -> Tensor:
    """The first time of each step's sequence, (b, l); −w, before all that is known, for the first one."""
    times = torch.arange(seq_idx.shape[1], device=seq_idx.device)
    first = torch.zeros_like(seq_idx[:, :1], dtype=torch.bool)
    fresh = torch.cat([first, seq_idx[:, 1:] != seq_idx[:, :-1]], dim=1)
    return torch.where(fresh, times, -w).cummax(1).values if seq_idx.numel() else seq_idx


def _last_state(line: Tensor, start: Tensor | None, w: int) -> Tensor:
    """The end of the line, (b, d, w − 1), without what is older than the last sequence."""
    l = line.shape[-1] - (w - 1)
    state = line[..., l:]
    if start is None or l == 0:
        return state.clone()
    times = torch.arange(l - (w - 1), l, device=line.device)
    return torch.where((times >= start[:, -1:])[:, None], state, 0)
