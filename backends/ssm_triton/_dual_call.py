"""A call of the dual form: its tensors and sizes, room for what is computed, and tiles by rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from ssm_triton._inputs import FUSED, strides
from ssm_triton._plan import power_of_two

CHUNK: Final = 64
"""Q, the steps of a chunk."""
HEADS: Final = 16
"""Heads that a program has at a time, where it has no more than their step sizes."""


@dataclass(frozen=True)
class Tile:
    """What one program of a kernel has at a time: P channels and N columns of a state."""

    P: int
    N: int
    stages: int


TILES: Final = {
    "pass_states": Tile(64, 64, 2),
    "outputs": Tile(64, 64, 1),
    "backward_inputs": Tile(64, 64, 1),
    "backward_weights": Tile(64, 64, 2),
    "backward_matrices": Tile(32, 64, 2),
}
"""By kernel, the best of those that were timed; for few channels too.

With 16 or 32 in place of 64, Triton 3.6 made wrong kernels of some. And what is judged with few channels
is what runs with many.
"""
WARPS: Final = 4
"""With eight, Triton 3.6 gives two groups of four warps the same 64 rows, and wrong numbers come out."""


@dataclass(frozen=True, kw_only=True)
class Dual:
    """The tensors of one call; None where not given."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    initial_states: Tensor | None
    seq_idx: Tensor | None
    softplus: bool
    low: float
    high: float

    @cached_property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """b, l, h, p, n."""
        b, l, h, p = self.x.shape
        return b, l, h, p, self.B.shape[3]

    @cached_property
    def groups(self) -> int:
        """g."""
        return self.B.shape[2]

    @cached_property
    def wide(self) -> bool:
        """Whether a matrix of it is in float32."""
        return any(x.dtype == torch.float32 for x in (self.x, self.B, self.C))

    @cached_property
    def chunks(self) -> int:
        """How many a row has."""
        return -(-self.x.shape[1] // CHUNK)

    def room(self, *size: int) -> Tensor:
        """Of a size, in float32, in which everything is computed."""
        return self.x.new_empty(size, dtype=torch.float32)

    def states(self) -> Tensor:
        """Room for states, (b, h, p, n)."""
        b, _, h, p, n = self.sizes
        return self.room(b, h, p, n)

    def chunk_states(self) -> Tensor:
        """Room for a state beside each chunk, (b, chunks, h, p, n)."""
        b, _, h, p, n = self.sizes
        return self.room(b, self.chunks, h, p, n)

    @cached_property
    def streams(self) -> tuple[int, ...]:
        """Strides of x and z, zeros of what is not given."""
        return *self.x.stride(), *strides(self.z, 4)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Strides of x, z, B and C."""
        return *self.streams, *self.B.stride(), *self.C.stride()

    def skip_strides(self) -> tuple[int, int]:
        """Of D, by head and by channel."""
        if self.D is None:
            return 0, 0
        return self.D.stride(0), self.D.stride(1) if self.D.ndim == 2 else 0

    def flags(self, tile: Tile) -> dict[str, Any]:
        """What a kernel of matrices is compiled for."""
        return {
            "RESET": self.seq_idx is not None,
            "Q": CHUNK,
            "P": tile.P,
            "N": tile.N,
            "num_warps": WARPS,
            "num_stages": tile.stages,
            "enable_fp_fusion": FUSED,
        }

    def step_flags(self) -> dict[str, Any]:
        """What a kernel of step sizes is compiled for."""
        return {
            "HAS_BIAS": self.dt_bias is not None,
            "SOFTPLUS": self.softplus,
            "LOW": self.low,
            "HIGH": self.high,
            "RESET": self.seq_idx is not None,
            "Q": CHUNK,
            "H": min(power_of_two(self.sizes[2]), HEADS),
            "num_warps": WARPS,
            "enable_fp_fusion": FUSED,
        }


def like(x: Tensor) -> Tensor:
    """Room for what has the shape and dtype of x."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)
