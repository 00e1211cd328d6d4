"""Which blocks a call is cut into: along time, at the ends of packed sequences, and over the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ssm_backends import ArgumentError
from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.sizes import chunk_length, rows_together


@dataclass(frozen=True)
class Span:
    """One sequence, or some rows of the batch over all times: scanned from its own initial states.

    Attributes
    ----------
    time
        Of the streams.
    batch
        Rows of the streams.
    rows
        Rows of the initial and last states.
    slot
        Where the states before its lanes are kept.
    chunk
        Steps of a chunk.
    """

    time: slice
    batch: slice
    rows: slice
    slot: int
    chunk: int

    def chunks(self) -> list[slice]:
        """Its time in chunks."""
        start, stop = self.time.start, self.time.stop
        return [slice(at, min(at + self.chunk, stop)) for at in range(start, stop, self.chunk)]


def spans(problem: Problem) -> Iterator[Span]:
    """The parts of a call that do not know each other."""
    b, d, l = problem.u.shape
    n, device = problem.A.shape[1], problem.u.device.type
    if problem.cu_seqlens is None:
        together = rows_together(b, d, n, device)
        for row in range(0, b, together):
            some = slice(row, min(row + together, b))
            yield Span(slice(0, l), some, some, 0, chunk_length(l, device))
        return
    length = problem.lane_length
    slot = 0
    for row, (start, stop) in enumerate(pairwise(_offsets(problem.cu_seqlens, l))):
        chunk = chunk_length(stop - start, device)
        yield Span(slice(start, stop), slice(0, 1), slice(row, row + 1), slot, chunk)
        slot += -(-(stop - start) // length)


def _offsets(cu_seqlens: Tensor, l: int) -> list[int]:
    """The offsets on the host, which waits for a GPU."""
    offsets: list[int] = cu_seqlens.tolist()
    if offsets[0] != 0 or offsets[-1] != l or any(a > b for a, b in pairwise(offsets)):
        raise ArgumentError(f"`cu_seqlens` must rise from 0 to l = {l}; got {offsets}")
    return offsets
