"""From tensors to launches: the forward pass of the scan."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_triton import _plan
from ssm_triton._complex_forward import forward_complex
from ssm_triton._forward import forward
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
from ssm_triton._lanes import can_be_copied, lanes_fit
from ssm_triton._lanes_plan import ForwardFew, ForwardLanes, forward_lanes_plan
from ssm_triton._plan import ForwardPlan, Shape
from ssm_triton._resets import in_one_row, keep_empty, pointers, resets_of
from ssm_triton.launching import launch


def run_forward(
    x: Inputs, *, last: bool, save: int, plan: ForwardPlan | ForwardLanes | ForwardFew | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y, the last state if asked, and one saved state in `save` steps (0: none).

    Returns
    -------
    y (b, d, l) in u's dtype; last (rows, d, n) and saved (blocks, n, d) in the compute type. The kernels in
    Gluon save packed sequences as one row, in which a sequence that begins with a block has the state of the
    one before; the plain ones save them one by one.
    """
    shape = x.shape
    along_time = x.u.stride(2) == 1
    lean = x.u.element_size() == 2 and along_time
    if plan is None and save % 32 == 0 and lanes_fit(x):
        own_states = x.cu_seqlens is not None and (last or x.initial_state is not None)
        packed = x.seq_idx is not None or x.cu_seqlens is not None
        plan = forward_lanes_plan(in_one_row(shape), lean, along_time, save, packed, own_states)
    plan = plan or _plan.forward_plan(shape, x.A.is_complex(), lean)
    y = torch.empty_like(x.u)
    state = x.A.new_empty((shape.rows, shape.dim, shape.n)) if last else None
    blocks, total = blocks_of(shape, save, x.cu_seqlens is not None) if save else (0, 0)
    saved = x.A.new_empty((total, shape.n, shape.dim)) if save else None
    if not shape.rows * shape.dim:
        return y, state, saved
    if isinstance(plan, ForwardFew):
        _run_few(x, in_one_row(shape), plan, y, state, saved, save)
    elif isinstance(plan, ForwardLanes):
        if state is not None and x.cu_seqlens is not None:
            keep_empty(state, x.initial_state)
        _run_lanes(x, in_one_row(shape), plan, y, state, saved, save)
    else:
        _run_tiles(x, shape, plan, y, state, saved, blocks, save)
    return y, state, saved


def _tiling(shape: Shape, channels: int) -> tuple[int, int]:
    """Tiles of so many channels in all, and in a cell."""
    per_cell = -(-shape.cell // channels)
    return per_cell * (shape.dim // max(shape.cell, 1)), per_cell


def _steps(x: Inputs, y: Tensor) -> list[int]:
    steps = [*strides(x.u, 3), *strides(x.delta, 3), *grouped(x.B), *grouped(x.C), *strides(x.z, 3)]
    return [*steps, *strides(y, 3), *strides(x.initial_state, 3)]


def _run_tiles(
    x: Inputs,
    shape: Shape,
    plan: ForwardPlan,
    y: Tensor,
    state: Tensor | None,
    saved: Tensor | None,
    blocks: int,
    save: int,
) -> None:
    tiles, tiles_per_cell = _tiling(shape, plan.DT)
    programs = tiles * shape.rows * plan.segments
    split = plan.segments > 1
    ends = segment_ends(x, shape, plan.segments)
    tensors = [x.u, x.delta, *map(real, (x.A, x.B, x.C)), x.D, x.z, x.delta_bias]
    tensors += [real(x.initial_state), x.seq_idx, x.cu_seqlens]
    sizes = [
        shape.length,
        shape.dim,
        shape.n,
        *per_group(shape),
        tiles,
        shape.rows,
        tiles_per_cell,
        shape.cell,
    ]
    steps = [*_steps(x, y), *strides(x.seq_idx, 2)]
    constants = flags(x, shape) | {
        "T": plan.T, "N": shape.padded, "DT": plan.DT, "SAVE": save, "INITIAL": x.initial_state is not None,
        "LAST": state is not None, "num_warps": 1, "enable_fp_fusion": FUSED,
    }  # fmt: skip
    if x.A.is_complex():
        launch(
            forward_complex, (programs,),
            [*tensors, y, real(state), real(saved)], [*sizes, plan.segment, blocks, *steps], **constants,
        )  # fmt: skip
        return
    for local in (True, False) if split else (False,):
        launch(
            forward, (programs,),
            [*tensors, *ends, y, state, saved],
            [*sizes, plan.segments, plan.segment, blocks, *steps],
            SPLIT=split, LOCAL=local, **constants,
        )  # fmt: skip


def _run_lanes(
    x: Inputs,
    shape: Shape,
    plan: ForwardLanes,
    y: Tensor,
    state: Tensor | None,
    saved: Tensor | None,
    save: int,
) -> None:
    # Here, since older Triton has no Gluon.
    from ssm_triton._lanes_forward import forward_lanes

    split = plan.segments > 1
    packed = resets_of(x)
    tensors = [x.u, x.delta, x.A, x.B, x.C, x.D, x.z, x.delta_bias, x.initial_state, *pointers(packed)]
    tensors += [*segment_ends(x, shape, plan.segments), y, state, saved]
    blocks = blocks_of(shape, save, False)[0] if save else 0
    limited = x.u.element_size() == 2 and x.cu_seqlens is None
    for local in (True, False) if split else (False,):
        tile = plan.first or plan if local else plan
        tiles, tiles_per_cell = _tiling(shape, tile.DT)
        # The last segment has nothing to tell.
        programs = tiles * shape.rows * (plan.segments - local)
        launch(
            forward_lanes, (programs,),
            tensors,
            [shape.length, shape.dim, shape.n, *per_group(shape), tiles, shape.rows, tiles_per_cell,
             shape.cell, plan.segments, plan.segment, blocks, *_steps(x, y)],
            N=tile.N, K=tile.K, R=tile.R, W=tile.W, TIME=x.u.stride(2) == 1, TIME_B=x.B.stride(3) == 1,
            HAS_D=x.D is not None, HAS_Z=x.z is not None, HAS_BIAS=x.delta_bias is not None,
            SOFTPLUS=x.softplus, INITIAL=x.initial_state is not None, SPLIT=split, LOCAL=local,
            LAST=state is not None, SAVE=save, RESET=packed is not None, PACKED=x.cu_seqlens is not None,
            num_warps=tile.W, maxnreg=tile.registers(local) if limited else None,
            enable_fp_fusion=FUSED,
        )  # fmt: skip


def _run_few(
    x: Inputs,
    shape: Shape,
    plan: ForwardFew,
    y: Tensor,
    state: Tensor | None,
    saved: Tensor | None,
    save: int,
) -> None:
    # Here, since older Triton has no Gluon.
    from ssm_triton._few_forward import forward_few

    tiles, tiles_per_cell = _tiling(shape, plan.DT)
    assert x.cu_seqlens is None or (state is None and x.initial_state is None)
    words = pointers(resets_of(x))[0]
    blocks = blocks_of(shape, save, False)[0] if save else 0
    launch(
        forward_few, (tiles * shape.rows,),
        [x.u, x.delta, x.A, x.B, x.C, x.D, x.z, x.delta_bias, x.initial_state, words, y, state, saved],
        [shape.length, shape.dim, shape.n, *per_group(shape), tiles, shape.rows, tiles_per_cell, shape.cell,
         blocks, *_steps(x, y)],
        K=plan.K, W=plan.W, HAS_D=x.D is not None, HAS_Z=x.z is not None,
        HAS_BIAS=x.delta_bias is not None, SOFTPLUS=x.softplus, INITIAL=x.initial_state is not None,
        LAST=state is not None, SAVE=save, COPY=can_be_copied(x), RESET=words is not None,
        num_warps=plan.W, maxnreg=plan.registers if words is not None else None, enable_fp_fusion=FUSED,
    )  # fmt: skip
