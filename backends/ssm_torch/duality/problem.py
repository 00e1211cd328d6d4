"""One call of SSD: its inputs, cut along time into chunks and along the batch into rows.

Inside, heads are (g, r): r = h/g heads to a group. A stretch is k chunks of q steps of some rows;
streams are (b, k, g, q, r, p), which is the input's own order where g = 1, and one number a head
and step is (b, k, g, r, q).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_backends.lazy import lazy
from ssm_torch.duality.sizes import cuts, together
from ssm_torch.functions import compute_dtype, split


@dataclass(frozen=True)
class Stretch:
    """Some chunks of some rows.

    Attributes
    ----------
    rows, time
        Where they lie.
    chunks
        Their numbers.
    steps
        q, of each.
    """

    rows: slice
    time: slice
    chunks: slice
    steps: int


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The arguments of the operator, and what follows from their shapes."""

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

    @lazy
    def compute(self) -> torch.dtype:
        """The type of everything between load and store."""
        return compute_dtype(self.x, self.A)

    @property
    def groups(self) -> int:
        """g."""
        return self.B.shape[2]

    def stretches(self) -> Iterator[list[Stretch]]:
        """For some rows after the other, their stretches in order of time."""
        b, l, h, p = self.x.shape
        some, k = together(b, h, p, self.B.shape[3], self.x.device.type)
        for row in range(0, b, some):
            rows = slice(row, min(row + some, b))
            yield [Stretch(rows, *cut) for cut in cuts(l, k)]

    @staticmethod
    def _chunks(x: Tensor, at: Stretch) -> Tensor:
        """A stretch of (b, l, …) as a view (b, k, q, …)."""
        return split(x[at.rows, at.time], 1, (-1, at.steps))

    def stream(self, x: Tensor, at: Stretch) -> Tensor:
        """A stretch of (b, l, h, p) as a view (b, k, g, q, r, p), in its own dtype."""
        part = split(self._chunks(x, at), 3, (self.groups, -1))
        return part.permute(0, 1, 3, 2, 4, 5)

    def per_head(self, x: Tensor, at: Stretch) -> Tensor:
        """A stretch of (b, l, h) as a view (b, k, g, r, q)."""
        part = split(self._chunks(x, at), 3, (self.groups, -1))
        return part.permute(0, 1, 3, 4, 2)

    def matrix(self, x: Tensor, at: Stretch) -> Tensor:
        """A stretch of B or C, (b, l, g, n), as a view (b, k, g, q, n)."""
        return self._chunks(x, at).transpose(2, 3)

    def heads(self, x: Tensor) -> Tensor:
        """(h) as (g, r, 1), (h, p) as (g, 1, r, p), in the compute type."""
        grouped = split(x.to(self.compute), 0, (self.groups, -1))
        return grouped.unsqueeze(-1) if x.ndim == 1 else grouped.unsqueeze(1)

    def skip(self) -> Tensor | None:
        """D as it multiplies a stream, (g, 1, r, p or 1)."""
        if self.D is None:
            return None
        return self.heads(self.D if self.D.ndim == 2 else self.D.unsqueeze(-1))

    def states(self, x: Tensor) -> Tensor:
        """(b, h, p, n) as (b, g, r·p, n)."""
        return split(x, 1, (self.groups, -1)).flatten(2, 3)
