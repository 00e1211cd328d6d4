"""Calls of the scan with several sequences in a row of time, and a loop over it in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ssm_triton._inputs import Inputs

from .problems import problem

PACKED = ("alone", "seq_idx", "cu_seqlens")


FIRST = (1, 2, 5, 25, 31, 32, 59, 64, 95, 101)
"""Where sequences begin: in a block's first step, in its last and between, beside each other, far apart."""


def call(
    n: int,
    length: int,
    plain: bool = False,
    d: int = 10,
    packed: str = "alone",
    device: str = "cpu",
    first: Sequence[int] = FIRST,
) -> Inputs:
    """Every feature, or none; several sequences in a row of time, as told by the argument of that name.

    The second row has every other one of them. Of those that `cu_seqlens` tells apart the first and the last
    have no step, nor one that begins where the last with steps does.
    """
    first = [t for t in first if t < length]
    offsets = [0, 0, *first, *first[-1:], length, length] if packed == "cu_seqlens" else None
    b, rows = (2, None) if offsets is None else (1, len(offsets) - 1)
    given = problem(device, b=b, d=d, l=length, n=n, groups=(2, 1), plain=plain, rows=rows)
    softplus = given.pop("delta_softplus", False)
    if offsets is not None:
        given["cu_seqlens"] = torch.tensor(offsets, dtype=torch.int32, device=device)
    if packed == "seq_idx":
        begins = torch.zeros(b, length, dtype=torch.int64, device=device)
        begins[0, first] = begins[1, first[::2]] = 1
        given["seq_idx"] = begins.cumsum(1)
    return Inputs(**given, softplus=softplus)


def loop(x: dict[str, torch.Tensor], of: Inputs, save: int) -> tuple[torch.Tensor, ...]:
    """y, the last states, and one state in `save` steps as the kernels keep them, (rows · blocks, n, d)."""
    b, d, length = x["u"].shape
    shift = x["delta_bias"][:, None] if "delta_bias" in x else 0
    step = torch.nn.functional.softplus(x["delta"] + shift) if of.softplus else x["delta"]
    B, C = (x[name].repeat_interleave(d // x[name].shape[1], 1) for name in ("B", "C"))
    rows = b if of.cu_seqlens is None else len(of.cu_seqlens) - 1
    first = x.get("initial_state", torch.zeros(rows, d, x["A"].shape[1], dtype=torch.float64))
    last, row_of = list(first), torch.arange(b)[:, None].expand(b, length)
    if of.cu_seqlens is not None:
        row_of = (of.cu_seqlens <= torch.arange(length)[:, None]).sum(1)[None] - 1
    ids = row_of if of.seq_idx is None else of.seq_idx
    h = first[row_of[:, 0]]
    kept, ys = [], []
    for t in range(length):
        if t % save == 0:
            kept.append(h.transpose(1, 2))
        begins = ids[:, t] != ids[:, t - 1] if t else torch.zeros(b, dtype=torch.bool)
        for k in range(b):
            last[row_of[k, t - 1]] = h[k] if begins[k] else last[row_of[k, t - 1]]
        start = torch.zeros_like(h) if of.seq_idx is not None else first[row_of[:, t]]
        h = torch.where(begins[:, None, None], start, h)
        s = step[:, :, t, None]
        h = torch.exp(s * x["A"]) * h + s * B[..., t] * x["u"][:, :, t, None]
        ys.append((C[..., t] * h).sum(-1))
    for k in range(b):
        last[row_of[k, -1]] = h[k]
    y = torch.stack(ys, -1)
    if "D" in x:
        y = y + x["D"][:, None] * x["u"]
    if "z" in x:
        y = y * torch.nn.functional.silu(x["z"])
    return y, torch.stack(last), torch.stack(kept, 1).flatten(0, 1)
