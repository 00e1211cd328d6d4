"""One call of the blockwise scan: its inputs, and the layout that its states have inside.

A state is held as (b, g, n, p): g groups, n modes, p = d/g channels of a group. Channels lie
next to each other, so that one instruction serves many; B and C of a group serve all of its
channels. Blocks of time come first: (t, b, g, n, p).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ssm_torch.blockwise.sizes import block_length
from ssm_torch.functions import compute_dtype, widen


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The arguments of the operator, and what follows from their shapes."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    initial_state: Tensor | None
    seq_idx: Tensor | None
    cu_seqlens: Tensor | None
    softplus: bool
    zoh: bool

    @cached_property
    def compute(self) -> torch.dtype:
        """The real type of everything between load and store."""
        return compute_dtype(self.u, self.A)

    @cached_property
    def gamma(self) -> int:
        """2 for complex A, which keeps one mode of each conjugate pair; else 1."""
        return 2 if self.A.is_complex() else 1

    @cached_property
    def groups(self) -> int:
        """g, the fewest groups in which each reads one row of B and one of C."""
        return math.lcm(*(x.shape[1] for x in (self.B, self.C) if x.ndim == 4))

    @cached_property
    def modes(self) -> Tensor:
        """A as (g, n, p)."""
        return self.by_mode(self.A)

    @property
    def rows(self) -> int:
        """The number of states: packed sequences, or the batch."""
        return self.u.shape[0] if self.packed is None else self.packed

    @property
    def packed(self) -> int | None:
        """The number of packed sequences; None without `cu_seqlens`."""
        return None if self.cu_seqlens is None else self.cu_seqlens.shape[0] - 1

    @property
    def block_length(self) -> int:
        """Steps of a block."""
        d, n = self.A.shape
        return block_length(self.u.shape[0], d, n, self.u.device.type)

    def by_mode(self, x: Tensor) -> Tensor:
        """(…, d, n) as (…, g, n, p), contiguous."""
        *before, d, n = x.shape
        return x.reshape(*before, self.groups, d // self.groups, n).mT.contiguous()

    def by_channel(self, x: Tensor) -> Tensor:
        """(…, g, n, p) as (…, d, n)."""
        return x.mT.flatten(-3, -2)

    def channels(self, x: Tensor) -> Tensor:
        """(…, d) as (…, g, 1, p), in the compute type."""
        *before, d = x.shape
        return widen(x, self.compute).view(*before, self.groups, 1, d // self.groups)

    def stream(self, x: Tensor, batch: slice, time: slice) -> Tensor:
        """A block of (b, d, l) as (t, b, g, 1, p), in the compute type."""
        block = widen(x[batch, :, time], self.compute).contiguous()
        b, d, t = block.shape
        return self.channels(_transposed(block.view(b * d, t)).view(t, b, d))

    def write(self, x: Tensor, batch: slice, time: slice, block: Tensor) -> None:
        """A block (t, b, g, 1, p) into its place in x (b, d, l)."""
        place = x[batch, :, time]
        place.copy_(_transposed(block.flatten(1)).view(place.shape))

    def matrix(self, x: Tensor, batch: slice, time: slice) -> Tensor:
        """A block of B or C as (t, b, g, n, 1), or (g, n, p) if it is constant; as complex as A."""
        if x.ndim == 2:
            return self.by_mode(x.to(self.A.dtype))
        grouped = x.unsqueeze(1) if x.ndim == 3 else x
        block = grouped[batch, :, :, time].permute(3, 0, 1, 2).to(self.A.dtype)
        return block.repeat_interleave(self.groups // block.shape[2], dim=2).unsqueeze(-1)


def _transposed(x: Tensor) -> Tensor:
    """The transpose of a contiguous matrix, contiguous; PyTorch makes it in tiles, not stride by stride."""
    return x.t().contiguous()
