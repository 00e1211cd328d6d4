"""How a call is cut into tasks: rows in time, and chunks of channels. By shape alone, never by threads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_backends import ArgumentError
from ssm_cpu._call import STEPS
from ssm_cpu._values import LANES

Table = NDArray[np.int64]


@lru_cache(maxsize=64)
def chunk_table(d: int, groups: tuple[int, int], most: int) -> Table:
    """Chunks of neighbouring channels that share a group of B and one of C: (chunks, 5), as `_call` names it.

    Parameters
    ----------
    d
        Channels.
    groups
        Of B and C; 1 for a constant one.
    most
        Channels in a chunk.
    """
    if d == 0:
        return np.empty((0, 5), dtype=np.int64)
    shared = _shared(d, groups)
    rows, block = [], 0
    for begin in range(0, d, shared):
        for first in range(begin, begin + shared, most):
            count = min(most, begin + shared - first)
            rows.append((first, count, *(first // (d // g) for g in groups), block))
            block += -(-count // LANES)
    return np.array(rows, dtype=np.int64)


def _shared(d: int, groups: tuple[int, int]) -> int:
    """How many neighbouring channels share a group of B and one of C."""
    return gcd(*(d // g for g in groups))


def channels_in_chunk(rows: int, d: int) -> int:
    """Few where there is little work to share out; at least 32, for each chunk has its own dB and dC.

    Always whole blocks of sixteen: :func:`blocks_in_all` counts on it.
    """
    return 64 if rows * d >= 64 * 64 else 32


def rows_together(rows: int, steps: int, chunks: int) -> int:
    """Rows that one task takes through time, one after another.

    As many as have a tile of steps in all, which share what a task begins and ends with; but no fewer than
    64 tasks are left for it.

    Parameters
    ----------
    rows, steps
        Of the call, in all.
    chunks
        Of channels.
    """
    return max(1, min(STEPS * rows // max(steps, 1), rows * chunks // 64))


@lru_cache(maxsize=64)
def batch_rows(b: int, l: int) -> Table:
    """The rows of a batch: (b, 4), as `_call` names it."""
    return _rows([(i, 0, l) for i in range(b)])


def packed_rows(offsets: Sequence[int], l: int) -> Table:
    """The rows of packed sequences, which are all in batch row 0."""
    pairs = list(pairwise(offsets))
    if offsets[0] != 0 or offsets[-1] != l or any(stop < start for start, stop in pairs):
        raise ArgumentError(f"`cu_seqlens` must rise from 0 to l = {l}; got {list(offsets)}")
    return _rows([(0, start, stop) for start, stop in pairs])


def _rows(spans: list[tuple[int, int, int]]) -> Table:
    table = np.empty((len(spans), 4), dtype=np.int64)
    slot = 0
    for i, (batch, start, stop) in enumerate(spans):
        table[i] = batch, start, stop, slot
        slot += slots_of(stop - start)
    return table


def slots_of(length: int) -> int:
    """States that are saved over so many steps."""
    return -(-length // STEPS)


@lru_cache(maxsize=64)
def blocks_of(d: int, groups: tuple[int, int], most: int) -> tuple[int, int]:
    """Blocks of sixteen channels in all the chunks of :func:`chunk_table`, and in the largest."""
    blocks = -(-chunk_table(d, groups, most)[:, 1] // LANES)
    return int(blocks.sum()), int(blocks.max(initial=0))


def blocks_in_all(d: int, groups: tuple[int, int]) -> int:
    """The same for every number of channels in a chunk, so that a trace may leave the batch open."""
    shared = _shared(d, groups)
    return d // max(1, shared) * -(-shared // LANES)


def address(table: Any) -> int:
    """Where a table lies in memory."""
    return int(table.__array_interface__["data"][0])
