"""Sizes of chunks and blocks, from the sizes of a call alone.

A chunk is a span of time whose inputs are loaded together. A block is a part of a chunk, so
short that its states stay in a cache.
"""

from __future__ import annotations

from typing import Final

CHUNK: Final = 64
"""Steps of a chunk."""
BLOCKS: Final = (64, 32, 16)
"""Steps of a block; at most one state in sixteen is kept."""
STATES_OF_A_BLOCK: Final = 1 << 18
"""1 MiB in float32: the two or three arrays of a block stay in a CPU's second-level cache."""
STATES_OF_A_STEP: Final = 1 << 15
"""On a CPU rows of the batch are taken together up to so many; above it each step would wake all threads."""


def rows_together(b: int, d: int, n: int, device: str) -> int:
    """Rows of the batch that are scanned together."""
    return b if device != "cpu" else max(1, min(b, STATES_OF_A_STEP // max(1, d * n)))


def block_length(b: int, d: int, n: int, device: str) -> int:
    """Steps of a block: fewer where a step is large."""
    states = rows_together(b, d, n, device) * d * n
    return next((length for length in BLOCKS if length * states <= STATES_OF_A_BLOCK), BLOCKS[-1])


def slots(b: int, d: int, l: int, n: int, device: str, packed: int | None) -> int:
    """How many blocks there are at most, from sizes alone; `packed` sequences, or None."""
    length = block_length(b, d, n, device)
    return -(-l // length) if packed is None else l // length + packed
