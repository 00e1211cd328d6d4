"""One call of the blockwise scan: its inputs, and the layout that its states have inside.

A state is held as (b, g, n, p): g groups, n modes, p = d/g channels of a group. Channels lie
next to each other, so that one instruction serves many; B and C of a group serve all of its
channels. Time comes first: (t, b, g, n, p), t in the order of the chunk (:class:`Order`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_backends.lazy import lazy
from ssm_torch.blockwise.order import Block, Order, order_of
from ssm_torch.blockwise.sizes import lane_length, lanes_together, piece_length
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

    @lazy
    def compute(self) -> torch.dtype:
        """The real type of everything between load and store."""
        return compute_dtype(self.u, self.A)

    @lazy
    def gamma(self) -> int:
        """2 for complex A, which keeps one mode of each conjugate pair; else 1."""
        return 2 if self.A.is_complex() else 1

    @lazy
    def groups(self) -> int:
        """g, the fewest groups in which each reads one row of B and one of C."""
        return math.lcm(*(x.shape[1] for x in (self.B, self.C) if x.ndim == 4))

    @lazy
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
    def lane_length(self) -> int:
        """Steps of a lane."""
        d, n = self.A.shape
        return lane_length(self.u.shape[0], d, n, self.u.device.type)

    def order(self, t: int) -> Order:
        """In which a chunk of t steps is held."""
        b, d, l = self.u.shape
        lanes = lanes_together(b, d, l, self.A.shape[1], self.u.device.type)
        return order_of(t, lanes, self.lane_length)

    def piece(self, block: Block, states: Tensor) -> int:
        """Steps of a piece of a block of states (…)."""
        steps = block.length // block.lanes
        return piece_length(steps, block.lanes * states.numel(), states.device.type)

    def by_mode(self, x: Tensor) -> Tensor:
        """(…, d, n) as (…, g, n, p), contiguous."""
        *before, d, n = x.shape
        return x.reshape(*before, self.groups, d // self.groups, n).mT.contiguous()

    def by_channel(self, x: Tensor) -> Tensor:
        """(…, g, n, p) as (…, d, n)."""
        return x.mT.flatten(-3, -2)

    def stream(self, x: Tensor, batch: slice, time: slice) -> Tensor:
        """A chunk of (b, d, l), (b, d, t) in the compute type, contiguous; it may be a part of x."""
        return widen(x[batch, :, time], self.compute).contiguous()

    def rows_of(self, x: Tensor) -> Tensor:
        """A chunk (b, d, t) as (rows, b, g, 1, p), in its order."""
        b, d, t = x.shape
        order = self.order(t)
        held = _transposed(x.view(b * d, t)) if order.in_time else order.arrange(x, x.dtype)
        return held.view(len(held), b, self.groups, 1, d // self.groups)

    def in_time(self, rows: Tensor, place: Tensor) -> Tensor:
        """A chunk (rows, b, g, 1, p) as (b, d, t); it is `place` itself where that can be computed in."""
        order = self.order(place.shape[2])
        if order.in_time:
            return _transposed(rows.flatten(1)).view(place.shape)
        fits = place.is_contiguous() and place.dtype == self.compute
        return order.restore(rows.flatten(2), place if fits else rows.new_empty(place.shape))

    def matrix(self, x: Tensor, batch: slice, time: slice) -> Tensor:
        """A chunk of B or C as (t, b, g, n, 1), or (g, n, p) if it is constant; as complex as A."""
        if x.ndim == 2:
            return self.by_mode(x.to(self.A.dtype))
        grouped = x.unsqueeze(1) if x.ndim == 3 else x
        chunk = self.order(time.stop - time.start).arrange(grouped[batch, :, :, time], self.A.dtype)
        repeats = self.groups // chunk.shape[2]
        return (chunk if repeats == 1 else chunk.repeat_interleave(repeats, dim=2)).unsqueeze(-1)


def _transposed(x: Tensor) -> Tensor:
    """The transpose of a contiguous matrix, contiguous; on a CPU PyTorch makes it in tiles."""
    return x.t().contiguous()
