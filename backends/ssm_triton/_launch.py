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
from ssm_triton._plan import ForwardPlan


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
    steps = [*strides(x.u, 3), *strides(x.delta, 3), *grouped(x.B), *grouped(x.C), *strides(x.z, 3)]
    steps += [*strides(y, 3), *strides(x.initial_state, 3), *strides(x.seq_idx, 2)]
    constants = flags(x, shape) | {
        "T": plan.T, "N": shape.padded, "DT": plan.DT, "SAVE": save, "INITIAL": x.initial_state is not None,
        "LAST": last, "num_warps": 1, "enable_fp_fusion": FUSED,
    }  # fmt: skip
    if x.A.is_complex():
        forward_complex[(programs,)](
            *tensors, y, real(state), real(saved), *sizes, plan.segment, blocks, *steps, **constants
        )
        return y, state, saved
    for local in (True, False) if split else (False,):
        forward[(programs,)](
            *tensors, *ends, y, state, saved, *sizes, plan.segments, plan.segment, blocks, *steps,
            SPLIT=split, LOCAL=local, **constants,
        )  # fmt: skip
    return y, state, saved
