"""The order in which the steps of a chunk are held, so that a step of all lanes is contiguous.

Blocks come one after the other; in a block of k lanes, step t of lane j is at t·k + j. Where the
last block does not divide into lanes, its last lane is filled up with steps of Δ = 0 and u = 0,
which leave the state as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from ssm_backends.lazy import lazy
from ssm_torch.functions import split


@dataclass(frozen=True)
class Block:
    """A part of a chunk.

    Attributes
    ----------
    rows
        Where it lies in the chunk's order.
    lanes
        How many; they are equally long.
    filling
        Steps at the end of the last lane that do not exist.
    """

    rows: slice
    lanes: int
    filling: int

    @property
    def length(self) -> int:
        """Steps, with those that fill up."""
        rows: int = self.rows.stop - self.rows.start
        return rows


@dataclass(frozen=True)
class _Part:
    """Equal blocks in a row: so many, of so many lanes, from `start` on."""

    start: int
    length: int
    count: int
    lanes: int
    steps: int

    @property
    def time(self) -> slice:
        return slice(self.start, self.start + self.length)

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + self.count * self.lanes * self.steps)

    @property
    def filling(self) -> int:
        """Steps that do not exist."""
        return self.count * self.lanes * self.steps - self.length


@dataclass(frozen=True)
class Order:
    """The steps of a chunk, in blocks of at most so many lanes of at most so many steps."""

    length: int
    lanes: int
    steps: int

    @lazy
    def _parts(self) -> list[_Part]:
        """The whole blocks, and what is left."""
        block = self.lanes * self.steps
        count, rest = divmod(self.length, block)
        whole, parts = count * block, []
        if count:
            parts.append(_Part(0, whole, count, self.lanes, self.steps))
        if rest:
            lanes = -(-rest // self.steps)
            parts.append(_Part(whole, rest, 1, lanes, -(-rest // lanes)))
        return parts

    @lazy
    def in_time(self) -> bool:
        """Whether it is the order of time."""
        return all(part.lanes == 1 for part in self._parts)

    @property
    def rows(self) -> int:
        """Steps, with those that fill up."""
        return self._parts[-1].rows.stop if self._parts else 0

    @property
    def longest(self) -> int:
        """Steps of the longest block."""
        return max((block.length for block in self.blocks), default=0)

    @lazy
    def blocks(self) -> tuple[Block, ...]:
        """In order of time."""
        return tuple(
            Block(slice(start, start + part.lanes * part.steps), part.lanes, part.filling)
            for part in self._parts
            for start in range(part.rows.start, part.rows.stop, part.lanes * part.steps)
        )

    def arrange(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """(…, t), in time, as (rows, …), of a dtype."""
        held = x.new_empty((self.rows, *x.shape[:-1]), dtype=dtype)
        for part in self._parts:
            time = pad(x[..., part.time], (0, part.filling)) if part.filling else x[..., part.time]
            cut = split(time, -1, (part.count, part.lanes, part.steps))
            place = split(held[part.rows], 0, (part.count, part.steps, part.lanes))
            place.copy_(cut.movedim((-3, -1, -2), (0, 1, 2)))
        return held

    def restore(self, held: Tensor, x: Tensor) -> Tensor:
        """(rows, …) into x (…, t), in time."""
        for part in self._parts:
            cut = split(held[part.rows], 0, (part.count, part.steps, part.lanes))
            in_time = cut.movedim((0, 2, 1), (-3, -2, -1))
            place = x[..., part.time]
            if part.filling:
                place.copy_(in_time.flatten(-3)[..., : place.shape[-1]])
            else:
                split(place, -1, (part.count, part.lanes, part.steps)).copy_(in_time)
        return x


@lru_cache(maxsize=64)
def order_of(length: int, lanes: int, steps: int) -> Order:
    """The same order for the same sizes: its blocks are found once."""
    return Order(length, lanes, steps)
