"""The tensors of a call as the kernels take them: pointers, strides, flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssm_triton._plan import Shape

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
    return tuple([2 * step for step in x.stride()]) if x.is_complex() else x.stride()


def grouped(x: Tensor) -> tuple[int, ...]:
    """Strides of B or C as (b, g, n, l); zeros if constant in time."""
    return strides(x if x.ndim == 4 else None, 4)


def blocks_of(shape: Shape, save: int, packed: bool) -> tuple[int, int]:
    """Saved states a row, and in all."""
    if packed:
        return 0, shape.length // save + shape.rows
    return -(-shape.length // save), -(-shape.length // save) * shape.rows


def flags(x: Inputs, shape: Shape) -> dict[str, Any]:
    """What both passes of the scan are compiled for."""
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


def per_group(shape: Shape) -> tuple[int, int]:
    """Channels that share a group of B, and of C."""
    return shape.dim // max(shape.groups_B, 1), shape.dim // max(shape.groups_C, 1)


def real(x: Tensor | None) -> Tensor | None:
    """A complex tensor as pairs of reals (..., 2), without a copy; a real one as it is."""
    if x is None or not x.is_complex():
        return x
    return torch.view_as_real(x.resolve_conj())


def segment_ends(x: Inputs, shape: Shape, segments: int, chained: bool = False) -> list[Tensor]:
    """Two of (rows, segments, n, d): what each segment tells its neighbour; unused if there is one segment.

    Segments of a chain tell one thing: the two are the same.
    """
    if segments == 1:
        return [x.A, x.A]
    ends = x.A.new_empty((shape.rows, segments, shape.n, shape.dim))
    return [ends, ends if chained else torch.empty_like(ends)]
