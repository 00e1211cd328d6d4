"""From tensors to launches: the forward and backward pass of the scan with a real A."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssm_triton import _plan
from ssm_triton._backward import backward
from ssm_triton._complex_backward import backward_complex
from ssm_triton._complex_forward import forward_complex
from ssm_triton._forward import forward
from ssm_triton._messages import messages
from ssm_triton._plan import BackwardPlan, ForwardPlan, Shape
from ssm_triton._slices import sum_slices

SLICE_STEPS = 16
FUSED = True
"""Products and sums become multiply-adds: Triton's default up to 3.9, which 3.10 is to change."""


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
    """Strides of x in real numbers, or zeros in its place."""
    if x is None:
        return (0,) * rank
    return tuple(step * (1 + x.is_complex()) for step in x.stride())


def _grouped(x: Tensor) -> tuple[int, ...]:
    return strides(x if x.ndim == 4 else None, 4)


def blocks_of(shape: Shape, save: int, packed: bool) -> tuple[int, int]:
    """Saved states a row, and in all."""
    if packed:
        return 0, shape.length // save + shape.rows
    return -(-shape.length // save), -(-shape.length // save) * shape.rows


def _flags(x: Inputs, shape: Shape) -> dict[str, Any]:
    return {
        "HAS_BIAS": x.delta_bias is not None,
        "SOFTPLUS": x.softplus,
        "ZOH": x.zoh,
        "HAS_D": x.D is not None,
        "HAS_Z": x.z is not None,
        "CONST_B": not shape.groups_B,
        "CONST_C": not shape.groups_C,
        "RESET": x.seq_idx is not None,
        "PACKED": x.cu_seqlens is not None,
    }


def _per(shape: Shape) -> tuple[int, int]:
    return shape.dim // max(shape.groups_B, 1), shape.dim // max(shape.groups_C, 1)


def real(x: Tensor | None) -> Tensor | None:
    """A complex tensor as pairs of reals (..., 2), without a copy; a real one as it is."""
    if x is None or not x.is_complex():
        return x
    return torch.view_as_real(x.resolve_conj())


def run_forward(
    x: Inputs, *, last: bool, save: int, plan: ForwardPlan | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y, the last state if asked, and one saved state in `save` steps (0: none).

    Returns
    -------
    y (b, d, l) in u's dtype; last (rows, d, n) and saved (blocks, n, d) in the compute type.
    """
    shape, dtype, device = x.shape, x.A.dtype, x.u.device
    lean = x.u.element_size() == 2 and x.u.stride(2) == 1
    plan = plan or _plan.forward_plan(shape, x.A.is_complex(), lean)
    y = torch.empty_like(x.u)
    state = torch.empty((shape.rows, shape.dim, shape.n), dtype=dtype, device=device) if last else None
    blocks, total = blocks_of(shape, save, x.cu_seqlens is not None) if save else (0, 0)
    saved = torch.empty((total, shape.n, shape.dim), dtype=dtype, device=device) if save else None
    tiles_per_cell = -(-shape.cell // plan.DT)
    tiles = tiles_per_cell * (shape.dim // max(shape.cell, 1))
    programs = tiles * shape.rows * plan.segments
    if not programs:
        return y, state, saved
    split = plan.segments > 1
    ends = _ends(x, shape, plan.segments)
    tensors = [x.u, x.delta, *map(real, (x.A, x.B, x.C)), x.D, x.z, x.delta_bias]
    tensors += [real(x.initial_state), x.seq_idx, x.cu_seqlens]
    sizes = [shape.length, shape.dim, shape.n, *_per(shape), tiles, shape.rows, tiles_per_cell, shape.cell]
    steps = [*strides(x.u, 3), *strides(x.delta, 3), *_grouped(x.B), *_grouped(x.C), *strides(x.z, 3)]
    steps += [*strides(y, 3), *strides(x.initial_state, 3), *strides(x.seq_idx, 2)]
    flags = _flags(x, shape) | {
        "T": plan.T, "N": shape.padded, "DT": plan.DT, "SAVE": save, "INITIAL": x.initial_state is not None,
        "LAST": last, "num_warps": 1, "enable_fp_fusion": FUSED,
    }  # fmt: skip
    if x.A.is_complex():
        forward_complex[(programs,)](
            *tensors, y, real(state), real(saved), *sizes, plan.segment, blocks, *steps, **flags
        )
        return y, state, saved
    for local in (True, False) if split else (False,):
        forward[(programs,)](
            *tensors, *ends, y, state, saved, *sizes, plan.segments, plan.segment, blocks, *steps,
            SPLIT=split, LOCAL=local, **flags,
        )  # fmt: skip
    return y, state, saved


def run_backward(
    x: Inputs, saved: Tensor, dy: Tensor, dlast: Tensor | None, plan: BackwardPlan | None = None
) -> dict[str, Tensor]:
    """The gradient of every input that was given, by name."""
    shape, dtype, device = x.shape, x.A.dtype, x.u.device
    plan = plan or _plan.backward_plan(shape, x.A.is_complex())
    tiles_per_cell = -(-shape.cell // plan.DT)
    tiles = tiles_per_cell * (shape.dim // max(shape.cell, 1))
    N, parts, split = shape.padded, shape.rows * plan.segments, plan.segments > 1
    count = tiles // plan.each
    programs = count * parts

    def empty(*size: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device)

    out: dict[str, Tensor] = {"u": torch.empty_like(x.u), "delta": torch.empty_like(x.delta)}
    if x.z is not None:
        out["z"] = torch.empty_like(x.z)
    if x.initial_state is not None:
        out["initial_state"] = empty(shape.rows, shape.dim, shape.n)
    slices = [
        empty(count, shape.batch, shape.length, N) if groups else empty(parts, shape.n, shape.dim)
        for groups in (shape.groups_B, shape.groups_C)
    ]
    part = {"A": empty(parts, shape.n, shape.dim)}
    for name in ("D", "delta_bias"):
        if getattr(x, name) is not None:
            part[name] = empty(parts, shape.dim, dtype=dtype.to_real())
    if programs:
        scratch = empty(programs * (plan.save // plan.T) * N * plan.DT) if plan.save > plan.T else x.A
        blocks = blocks_of(shape, plan.save, x.cu_seqlens is not None)[0]
        ends = _ends(x, shape, plan.segments)
        if split:
            _run_messages(x, shape, dy, ends, plan)
        tensors = [x.u, x.delta, *map(real, (x.A, x.B, x.C)), x.D, x.z, x.delta_bias, x.seq_idx, x.cu_seqlens]
        tensors += [real(saved), real(scratch), *([] if x.A.is_complex() else ends), dy, real(dlast)]
        tensors += [out["u"], out["delta"], out.get("z"), *map(real, slices), real(part["A"])]
        tensors += [part.get("D"), part.get("delta_bias"), real(out.get("initial_state"))]
        sizes = [shape.length, shape.dim, shape.n, *_per(shape), tiles, shape.rows, shape.batch]
        sizes += [
            tiles_per_cell,
            shape.cell,
            *([] if x.A.is_complex() else [plan.segments]),
            plan.segment,
            blocks,
        ]
        steps = [*strides(x.u, 3), *strides(x.delta, 3), *_grouped(x.B), *_grouped(x.C), *strides(x.z, 3)]
        steps += [
            *strides(dy, 3),
            *strides(out["u"], 3),
            *strides(out["delta"], 3),
            *strides(out.get("z"), 3),
        ]
        steps += [*strides(dlast, 3), *strides(x.seq_idx, 2)]
        flags = _flags(x, shape) | {
            "T": plan.T, "K": plan.K, "R": plan.R, "W": plan.W, "M": plan.M, "L": plan.L, "SAVE": plan.save,
            "INITIAL": x.initial_state is not None, "LAST": dlast is not None,
            "num_warps": plan.W, "enable_fp_fusion": FUSED,
        }  # fmt: skip
        if x.A.is_complex():
            backward_complex[(programs,)](*tensors, *sizes, *steps, **flags)
        else:
            backward[(programs,)](*tensors, *sizes, *steps, SPLIT=split, EACH=plan.each, **flags)
    for name, given, piece, groups in (
        ("B", x.B, slices[0], shape.groups_B),
        ("C", x.C, slices[1], shape.groups_C),
    ):
        if groups:
            out[name] = _gather(given, piece, count // groups, shape)
        else:
            out[name] = piece.sum(0).t().contiguous()
    out["A"] = part["A"].sum(0).t().contiguous()
    return out | {name: part[name].sum(0) for name in ("D", "delta_bias") if name in part}


def _ends(x: Inputs, shape: Shape, segments: int) -> list[Tensor]:
    if segments == 1:
        return [x.A, x.A]
    size = (shape.rows, segments, shape.n, shape.dim)
    return [torch.empty(size, dtype=x.A.dtype, device=x.u.device) for _ in range(2)]


def _run_messages(x: Inputs, shape: Shape, dy: Tensor, ends: list[Tensor], plan: BackwardPlan) -> None:
    tile = _plan.forward_plan(shape)
    tiles_per_cell = -(-shape.cell // tile.DT)
    tiles = tiles_per_cell * (shape.dim // shape.cell)
    messages[(tiles * shape.rows * plan.segments,)](
        x.delta, x.A, x.C, x.z, x.delta_bias, x.seq_idx, x.cu_seqlens, dy, *ends,
        shape.length, shape.dim, shape.n, shape.dim // max(shape.groups_C, 1), tiles, shape.rows,
        tiles_per_cell, shape.cell, plan.segments, plan.segment,
        *strides(x.delta, 3), *_grouped(x.C), *strides(x.z, 3), *strides(dy, 3), *strides(x.seq_idx, 2),
        T=min(8, plan.segment), N=shape.padded, DT=tile.DT,
        HAS_Z=x.z is not None, HAS_BIAS=x.delta_bias is not None, SOFTPLUS=x.softplus,
        CONST_C=not shape.groups_C, RESET=x.seq_idx is not None, PACKED=x.cu_seqlens is not None,
        num_warps=1, enable_fp_fusion=FUSED,
    )  # fmt: skip


def _gather(given: Tensor, slices: Tensor, count: int, shape: Shape) -> Tensor:
    out = torch.empty_like(given)
    spans = -(-shape.length // SLICE_STEPS)
    programs = spans * given.shape[1] * shape.batch
    pairs = [(slices, out)]
    if given.is_complex():
        pairs = [(torch.view_as_real(slices)[..., k], torch.view_as_real(out)[..., k]) for k in range(2)]
    for piece, part in pairs if programs else ():
        sum_slices[(programs,)](
            piece, part, count, shape.batch, shape.length, shape.n, spans, given.shape[1], *part.stride(),
            T=SLICE_STEPS, N=shape.padded, J=max(128 // shape.padded, 1), STEP=len(pairs),
            num_warps=4, enable_fp_fusion=FUSED,
        )  # fmt: skip
    return out
