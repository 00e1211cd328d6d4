"""From tensors to launches: the forward and backward pass of the scan with a real A."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssm_triton import _plan
from ssm_triton._backward import backward
from ssm_triton._forward import forward
from ssm_triton._messages import messages
from ssm_triton._pack import pack, sum_slices
from ssm_triton._plan import BackwardPlan, ForwardPlan, Shape

PACK_STEPS = 32


@dataclass(frozen=True)
class Inputs:
    """The tensors of one call, B and C as (b, g, n, l) or constant (d, n); None where not given."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    delta_bias: Tensor | None = None
    initial_state: Tensor | None = None
    seq_idx: Tensor | None = None
    cu_seqlens: Tensor | None = None
    softplus: bool = False
    zoh: bool = False

    @property
    def shape(self) -> Shape:
        """Its sizes."""
        b, d, length = self.u.shape
        rows = b if self.cu_seqlens is None else self.cu_seqlens.shape[0] - 1
        groups = [0 if x.ndim == 2 else x.shape[1] for x in (self.B, self.C)]
        return Shape(b, d, length, self.A.shape[1], groups[0], groups[1], rows)


def strides(x: Tensor | None, rank: int) -> tuple[int, ...]:
    """Strides of x, or zeros in its place."""
    return (0,) * rank if x is None else tuple(x.stride())


def blocks_of(shape: Shape, save: int, packed: bool) -> tuple[int, int]:
    """Saved states a row, and in all."""
    if packed:
        return 0, shape.length // save + shape.rows
    return -(-shape.length // save), -(-shape.length // save) * shape.rows


def pack_rows(x: Inputs, shape: Shape) -> tuple[Tensor, Tensor]:
    """B and C as (b, g, l, N) in the compute type; a constant one as it is, contiguous."""
    N, dtype = shape.padded, x.A.dtype
    rows = [
        m.to(dtype).contiguous()
        if m.ndim == 2
        else torch.empty((shape.batch, m.shape[1], shape.length, N), dtype=dtype, device=m.device)
        for m in (x.B, x.C)
    ]
    groups = max(shape.groups_B, shape.groups_C)
    spans = -(-shape.length // PACK_STEPS)
    if groups * spans * shape.batch:
        pack[(spans * groups * shape.batch,)](
            x.B, x.C, *rows, shape.length, shape.n, shape.groups_B, shape.groups_C, spans, groups,
            *(strides(x.B, 4) if shape.groups_B else (0,) * 4), *(strides(x.C, 4) if shape.groups_C else (0,) * 4),
            T=PACK_STEPS, N=N, PACK_B=bool(shape.groups_B), PACK_C=bool(shape.groups_C), num_warps=1,
        )  # fmt: skip
    return rows[0], rows[1]


def _flags(x: Inputs, shape: Shape) -> dict[str, Any]:
    return {
        "HAS_BIAS": x.delta_bias is not None,
        "SOFTPLUS": x.softplus,
        "ZOH": x.zoh,
        "CONST_B": not shape.groups_B,
        "RESET": x.seq_idx is not None,
        "PACKED": x.cu_seqlens is not None,
    }


def _per(shape: Shape) -> tuple[int, int, int, int]:
    return (
        shape.groups_B,
        shape.groups_C,
        shape.dim // max(shape.groups_B, 1),
        shape.dim // max(shape.groups_C, 1),
    )


def run_forward(
    x: Inputs, rows_B: Tensor, rows_C: Tensor, *, last: bool, save: int, plan: ForwardPlan | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y, the last state if asked, and one saved state in `save` steps (0: none).

    Returns
    -------
    y (b, d, l) in u's dtype; last (rows, d, n) and saved (blocks, n, d) in the compute type.
    """
    shape, dtype, device = x.shape, x.A.dtype, x.u.device
    plan = plan or _plan.forward_plan(shape, save)
    y = torch.empty_like(x.u)
    state = torch.empty((shape.rows, shape.dim, shape.n), dtype=dtype, device=device) if last else None
    blocks, total = blocks_of(shape, save, x.cu_seqlens is not None) if save else (0, 0)
    saved = torch.empty((total, shape.n, shape.dim), dtype=dtype, device=device) if save else None
    tiles_per_cell = -(-shape.cell // plan.DT)
    tiles = tiles_per_cell * (shape.dim // max(shape.cell, 1))
    split = plan.segments > 1
    ends = [
        torch.empty((shape.rows, plan.segments, shape.n, shape.dim), dtype=dtype, device=device)
        if split
        else x.u
        for _ in range(2)
    ]
    for local in (True, False) if split else (False,):
        programs = tiles * shape.rows * plan.segments
        if not programs:
            break
        forward[(programs,)](
            x.u, x.delta, x.A, rows_B, rows_C, x.D, x.z, x.delta_bias, x.initial_state, x.seq_idx, x.cu_seqlens,
            *ends, y, state, saved, shape.length, shape.dim, shape.n, *_per(shape), tiles, shape.rows,
            tiles_per_cell, shape.cell, plan.segments, plan.segment, blocks,
            *strides(x.u, 3), *strides(x.delta, 3), *strides(x.z, 3), *strides(y, 3),
            *strides(x.initial_state, 3), *strides(x.seq_idx, 2),
            T=plan.T, N=shape.padded, DT=plan.DT, SAVE=save, HAS_D=x.D is not None, HAS_Z=x.z is not None,
            CONST_C=not shape.groups_C, INITIAL=x.initial_state is not None, SPLIT=split, LAST=last, LOCAL=local,
            **_flags(x, shape), num_warps=1, maxnreg=plan.registers,
        )  # fmt: skip
    return y, state, saved


def run_backward(
    x: Inputs, rows_B: Tensor, rows_C: Tensor, saved: Tensor, dy: Tensor, dlast: Tensor | None,
    plan: BackwardPlan | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """The gradient of every input that was given, by name."""
    shape, dtype, device = x.shape, x.A.dtype, x.u.device
    plan = plan or _plan.backward_plan(shape)
    tiles_per_cell = -(-shape.cell // plan.DT)
    tiles = tiles_per_cell * (shape.dim // max(shape.cell, 1))
    N, parts, split = shape.padded, shape.rows * plan.segments, plan.segments > 1
    programs = tiles * parts

    def empty(*size: int) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device)

    out: dict[str, Tensor] = {"u": torch.empty_like(x.u), "delta": torch.empty_like(x.delta)}
    if x.z is not None:
        out["z"] = torch.empty_like(x.z)
    slices = [
        empty(tiles, shape.batch, shape.length, N) if groups else empty(parts, shape.n, shape.dim)
        for groups in (shape.groups_B, shape.groups_C)
    ]
    part = {"A": empty(parts, shape.n, shape.dim)}
    part |= {k: empty(parts, shape.dim) for k in ("D", "delta_bias") if getattr(x, k) is not None}
    if x.initial_state is not None:
        out["initial_state"] = empty(shape.rows, shape.dim, shape.n)
    scratch = empty(programs * (plan.save // plan.T) * N * plan.DT) if plan.save > plan.T else x.u
    blocks = blocks_of(shape, plan.save, x.cu_seqlens is not None)[0]
    ends = [empty(shape.rows, plan.segments, shape.n, shape.dim) if split else x.u for _ in range(2)]
    if split and programs:
        messages_plan = _plan.forward_plan(shape, 0)
        _run_messages(x, shape, rows_C, dy, ends, plan, messages_plan)
    if programs:
        backward[(programs,)](
            x.u, x.delta, x.A, rows_B, rows_C, x.D, x.z, x.delta_bias, x.seq_idx, x.cu_seqlens, saved, scratch,
            *ends, dy, dlast, out["u"], out["delta"], out.get("z"), *slices, part["A"], part.get("D"),
            part.get("delta_bias"), out.get("initial_state"), shape.length, shape.dim, shape.n, *_per(shape),
            tiles, shape.rows, shape.batch, tiles_per_cell, shape.cell, plan.segments, plan.segment, blocks,
            *strides(x.u, 3), *strides(x.delta, 3), *strides(x.z, 3), *strides(dy, 3), *strides(out["u"], 3),
            *strides(out["delta"], 3), *strides(out.get("z"), 3), *strides(dlast, 3), *strides(x.seq_idx, 2),
            T=plan.T, K=plan.K, R=plan.R, W=plan.W, M=plan.M, L=plan.L, SAVE=plan.save,
            HAS_D=x.D is not None, HAS_Z=x.z is not None, CONST_C=not shape.groups_C,
            INITIAL=x.initial_state is not None, SPLIT=split, LAST=dlast is not None,
            **_flags(x, shape), num_warps=plan.W, maxnreg=plan.registers,
        )  # fmt: skip
    for name, given, piece, groups in (
        ("B", x.B, slices[0], shape.groups_B),
        ("C", x.C, slices[1], shape.groups_C),
    ):
        if groups:
            out[name] = _gather(given, piece, tiles // groups, shape)
        else:
            out[name] = piece.sum(0).t().to(given.dtype)
    out["A"] = part["A"].sum(0).t()
    out |= {k: part[k].sum(0) for k in ("D", "delta_bias") if k in part}
    return out


def _run_messages(
    x: Inputs,
    shape: Shape,
    rows_C: Tensor,
    dy: Tensor,
    ends: list[Tensor],
    plan: BackwardPlan,
    tile: ForwardPlan,
) -> None:
    tiles_per_cell = -(-shape.cell // tile.DT)
    tiles = tiles_per_cell * (shape.dim // shape.cell)
    messages[(tiles * shape.rows * plan.segments,)](
        x.delta, x.A, rows_C, x.z, x.delta_bias, x.seq_idx, x.cu_seqlens, dy, *ends,
        shape.length, shape.dim, shape.n, shape.groups_C, shape.dim // max(shape.groups_C, 1), tiles, shape.rows,
        tiles_per_cell, shape.cell, plan.segments, plan.segment,
        *strides(x.delta, 3), *strides(x.z, 3), *strides(dy, 3), *strides(x.seq_idx, 2),
        T=min(tile.T, plan.segment), N=shape.padded, DT=tile.DT, HAS_Z=x.z is not None, HAS_BIAS=x.delta_bias is not None,
        SOFTPLUS=x.softplus, CONST_C=not shape.groups_C, RESET=x.seq_idx is not None,
        PACKED=x.cu_seqlens is not None, num_warps=1,
    )  # fmt: skip


def _gather(given: Tensor, slices: Tensor, count: int, shape: Shape) -> Tensor:
    out = torch.empty_like(given)
    groups = given.shape[1]
    spans = -(-shape.length // PACK_STEPS)
    if groups * spans * shape.batch:
        sum_slices[(spans * groups * shape.batch,)](
            slices, out, count, shape.batch, shape.length, shape.n, spans, groups, *out.stride(),
            T=PACK_STEPS, N=shape.padded, num_warps=1,
        )  # fmt: skip
    return out
