"""From tensors to launches: the backward pass of the scan."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_triton import _plan
from ssm_triton._backward import backward
from ssm_triton._complex_backward import backward_complex
from ssm_triton._gradients import Gradients
from ssm_triton._inputs import (
    FUSED,
    Inputs,
    blocks_of,
    flags,
    grouped,
    per_group,
    real,
    segment_ends,
    strides,
)
from ssm_triton._lanes import lanes_fit, triton_version
from ssm_triton._lanes_plan import LanesPlan, lanes_plan
from ssm_triton._messages import messages
from ssm_triton._plan import BackwardPlan, Shape
from ssm_triton._resets import Resets, in_one_row, keep_empty, pointers, resets_of
from ssm_triton.launching import launch

UNFUSED_FROM = (3, 9)
"""The version of Triton from which this pass of a real scan in float64 has no multiply-adds."""


def fused(dtype: torch.dtype) -> bool:
    """Whether its products and sums become multiply-adds: not those in float64, from Triton 3.9 on.

    With 65 to 128 states that compiles the decays of a tile twice, of which one copy gets a multiply-add that
    the other lacks. `tl.flip`, a chain of xors over both, then gives a third number (docs/kernels.md).
    """
    return FUSED and (triton_version() < UNFUSED_FROM or dtype != torch.float64)


def run_backward(
    x: Inputs,
    saved: Tensor,
    dy: Tensor,
    dlast: Tensor | None,
    plan: BackwardPlan | LanesPlan | None = None,
) -> dict[str, Tensor]:
    """The gradient of every input that was given, by name."""
    shape = x.shape
    if plan is None:
        fit = lanes_fit(x)
        plan = lanes_plan(in_one_row(shape)) if fit else _plan.backward_plan(shape, x.A.is_complex())
    if isinstance(plan, LanesPlan):
        shape = in_one_row(shape)
    tiles_per_cell = -(-shape.cell // plan.DT)
    cells = shape.dim // max(shape.cell, 1)
    tiles = tiles_per_cell * cells
    out = Gradients.empty(x, shape, plan, -(-tiles_per_cell // plan.each) * cells)
    if out.count * shape.rows * plan.segments:
        if isinstance(plan, LanesPlan):
            packed = resets_of(x)
            ends = segment_ends(x, shape, plan.segments, plan.chained)
            if x.cu_seqlens is not None and x.initial_state is not None:
                keep_empty(out.whole["initial_state"], dlast)
            if plan.segments > 1 and not plan.chained:
                _run_messages_lanes(x, shape, dy, dlast, packed, ends, plan)
            _run_lanes(x, shape, plan, out, saved, packed, ends, dy, dlast, (tiles, tiles_per_cell))
        else:
            ends = segment_ends(x, shape, plan.segments)
            if plan.segments > 1:
                _run_messages(x, shape, dy, ends, plan)
            _run_tiles(x, shape, plan, out, saved, ends, dy, dlast, (tiles, tiles_per_cell))
    return out.gathered(x, shape)


def _steps(x: Inputs, out: Gradients, dy: Tensor, dlast: Tensor | None) -> list[int]:
    arrays = (dy, out.whole["u"], out.whole["delta"], out.whole.get("z"), dlast)
    steps = [*strides(x.u, 3), *strides(x.delta, 3), *grouped(x.B), *grouped(x.C), *strides(x.z, 3)]
    return [*steps, *(step for array in arrays for step in strides(array, 3))]


def _results(out: Gradients) -> list[Tensor | None]:
    whole = [out.whole["u"], out.whole["delta"], out.whole.get("z")]
    sums = [out.parts["A"], out.parts.get("D"), out.parts.get("delta_bias")]
    return [real(array) for array in (*whole, *out.slices, *sums, out.whole.get("initial_state"))]


def _run_tiles(
    x: Inputs,
    shape: Shape,
    plan: BackwardPlan,
    out: Gradients,
    saved: Tensor,
    ends: list[Tensor],
    dy: Tensor,
    dlast: Tensor | None,
    tiling: tuple[int, int],
) -> None:
    programs = out.count * shape.rows * plan.segments
    scratch = x.A
    if plan.save > plan.T:
        size = programs * (plan.save // plan.T) * plan.N * plan.DT
        scratch = x.A.new_empty(size)
    tiles, tiles_per_cell = tiling
    whole = not x.A.is_complex()
    tensors = [x.u, x.delta, *map(real, (x.A, x.B, x.C)), x.D, x.z, x.delta_bias, x.seq_idx, x.cu_seqlens]
    tensors += [real(saved), real(scratch), *(ends if whole else []), dy, real(dlast), *_results(out)]
    sizes = [shape.length, shape.dim, shape.n, *per_group(shape), tiles, shape.rows, shape.batch]
    sizes += [tiles_per_cell, shape.cell, *([plan.segments] if whole else []), plan.segment]
    sizes += [blocks_of(shape, plan.save, x.cu_seqlens is not None)[0]]
    steps = [*_steps(x, out, dy, dlast), *strides(x.seq_idx, 2)]
    constants = flags(x, shape) | {
        "T": plan.T, "K": plan.K, "R": plan.R, "W": plan.W, "M": plan.M, "L": plan.L, "SAVE": plan.save,
        "INITIAL": x.initial_state is not None, "LAST": dlast is not None,
        "num_warps": plan.W, "enable_fp_fusion": fused(x.A.dtype),
    }  # fmt: skip
    if whole:
        split = plan.segments > 1
        launch(backward, (programs,), tensors, [*sizes, *steps], SPLIT=split, EACH=plan.each, **constants)
    else:
        launch(backward_complex, (programs,), tensors, [*sizes, *steps], **constants)


def _run_lanes(
    x: Inputs,
    shape: Shape,
    plan: LanesPlan,
    out: Gradients,
    saved: Tensor,
    packed: Resets | None,
    ends: list[Tensor],
    dy: Tensor,
    dlast: Tensor | None,
    tiling: tuple[int, int],
) -> None:
    # Here, since older Triton has no Gluon.
    from ssm_triton._lanes_backward import backward_lanes

    tiles, tiles_per_cell = tiling
    programs = tiles * shape.rows * plan.segments
    turns = x.A
    if plan.each > 1 or plan.chained:
        turns = torch.zeros(1 + 2 * programs, dtype=torch.int32, device=x.u.device)
    launch(
        backward_lanes, (programs,),
        [x.u, x.delta, x.A, x.B, x.C, x.D, x.z, x.delta_bias, x.initial_state, *pointers(packed), saved,
         *ends, dy, dlast, *_results(out), turns],
        [shape.length, shape.dim, shape.n, *per_group(shape), tiles, plan.each, shape.batch, tiles_per_cell,
         shape.cell, plan.segments, plan.segment, blocks_of(shape, plan.save, False)[0],
         *_steps(x, out, dy, dlast), *strides(x.initial_state, 3)],
        N=plan.N, R=plan.R, W=plan.W, SAVE=plan.save, TURNS=plan.each > 1,
        TIME=x.u.stride(2) == 1, TIME_B=x.B.stride(3) == 1,
        HAS_D=x.D is not None, HAS_Z=x.z is not None, HAS_BIAS=x.delta_bias is not None, SOFTPLUS=x.softplus,
        INITIAL=x.initial_state is not None, SPLIT=plan.segments > 1, CHAINED=plan.chained,
        LAST=dlast is not None, RESET=packed is not None, PACKED=x.cu_seqlens is not None,
        num_warps=plan.W, maxnreg=plan.registers, enable_fp_fusion=FUSED,
    )  # fmt: skip


def _run_messages_lanes(
    x: Inputs,
    shape: Shape,
    dy: Tensor,
    dlast: Tensor | None,
    packed: Resets | None,
    ends: list[Tensor],
    plan: LanesPlan,
) -> None:
    # Here, since older Triton has no Gluon.
    from ssm_triton._lanes_messages import messages_lanes

    W = 2
    DT = 256 * W // plan.N
    tiles_per_cell = -(-shape.cell // DT)
    tiles = tiles_per_cell * (shape.dim // shape.cell)
    launch(
        messages_lanes, (tiles * shape.rows * (plan.segments - 1),),
        [x.delta, x.A, x.C, x.z, x.delta_bias, *pointers(packed), dy, dlast, *ends],
        [shape.length, shape.dim, shape.n, per_group(shape)[1], tiles, shape.batch, tiles_per_cell,
         shape.cell, plan.segments, plan.segment,
         *strides(x.delta, 3), *grouped(x.C), *strides(x.z, 3), *strides(dy, 3), *strides(dlast, 3)],
        N=plan.N, W=W, TIME=x.delta.stride(2) == 1, TIME_C=x.C.stride(3) == 1,
        HAS_Z=x.z is not None, HAS_BIAS=x.delta_bias is not None, SOFTPLUS=x.softplus,
        RESET=packed is not None, PACKED=x.cu_seqlens is not None, LAST=dlast is not None,
        num_warps=W, enable_fp_fusion=FUSED,
    )  # fmt: skip


def _run_messages(x: Inputs, shape: Shape, dy: Tensor, ends: list[Tensor], plan: BackwardPlan) -> None:
    tile = _plan.forward_plan(shape)
    tiles_per_cell = -(-shape.cell // tile.DT)
    tiles = tiles_per_cell * (shape.dim // shape.cell)
    launch(
        messages, (tiles * shape.rows * plan.segments,),
        [x.delta, x.A, x.C, x.z, x.delta_bias, x.seq_idx, x.cu_seqlens, dy, *ends],
        [shape.length, shape.dim, shape.n, shape.dim // max(shape.groups_C, 1), tiles, shape.rows,
         tiles_per_cell, shape.cell, plan.segments, plan.segment,
         *strides(x.delta, 3), *grouped(x.C), *strides(x.z, 3), *strides(dy, 3), *strides(x.seq_idx, 2)],
        T=min(8, plan.segment), N=shape.padded, DT=tile.DT,
        HAS_Z=x.z is not None, HAS_BIAS=x.delta_bias is not None, SOFTPLUS=x.softplus,
        CONST_C=not shape.groups_C, RESET=x.seq_idx is not None, PACKED=x.cu_seqlens is not None,
        num_warps=1, enable_fp_fusion=FUSED,
    )  # fmt: skip
