"""Sizes of the blocks, from the sizes of a call alone."""

from __future__ import annotations

from typing import Final

SHORTEST: Final = 16
"""Steps of a block, so that at most one state in sixteen is kept."""
LONGEST: Final = 64
STATES_OF_A_STEP: Final = 1 << 15
"""On a CPU rows of the batch are taken together up to so many; above it PyTorch wakes its threads each step."""
STATES_OF_A_BLOCK: Final = 1 << 18
"""1 MiB in float32: the two or three arrays of a block stay in a CPU's second-level cache."""


def rows_together(b: int, d: int, n: int, device: str) -> int:
    """Rows of the batch that are scanned together."""
    return b if device != "cpu" else max(1, min(b, STATES_OF_A_STEP // max(1, d * n)))


def block_length(b: int, d: int, n: int, device: str) -> int:
    """Steps of a block: fewer where a step is large."""
    states = rows_together(b, d, n, device) * d * n
    return max(SHORTEST, min(LONGEST, STATES_OF_A_BLOCK // max(1, states)))


def slots(b: int, d: int, l: int, n: int, device: str, packed: int | None) -> int:
    """How many blocks there are at most, from sizes alone; `packed` sequences, or None."""
    length = block_length(b, d, n, device)
    return -(-l // length) if packed is None else l // length + packed
