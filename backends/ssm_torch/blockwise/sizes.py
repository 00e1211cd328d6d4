"""Sizes of chunks, blocks and lanes, from the sizes of a call alone.

A chunk is a span of time whose inputs are loaded together. A block is a part of it whose states
are held at once. A block is cut into lanes, consecutive pieces of its time, which go through
their steps side by side: a step is one operation on all lanes.

On a CPU a block is one lane, so short that its states stay in a cache. On a GPU every operation
is a launch: blocks are long, of many lanes, and all time of a span is one chunk. A piece is some
steps of a block, of all lanes, that are still in its cache when they are read again.
"""

from __future__ import annotations

from typing import Final

WIDE_DEVICES: Final = ("cuda",)
"""Where blocks have lanes."""
CHUNK: Final = 64
"""Steps of a chunk on a CPU."""
BLOCKS: Final = (64, 32, 16)
"""Steps of a block there; at most one state in sixteen is kept."""
STATES_OF_A_BLOCK: Final = 1 << 18
"""1 MiB in float32: the two or four arrays of a block stay in a CPU's second-level cache."""
STATES_OF_A_STEP: Final = 1 << 15
"""On a CPU rows of the batch are taken together up to so many; above it each step would wake all threads."""
STEPS_OF_A_LANE: Final = 16
"""On a GPU; the state before each lane is kept: again one in sixteen."""
STEPS_OF_A_WIDE_BLOCK: Final = 176
"""Its steps: at most so many, whose memory grows with b·d·n,"""
STREAMS_OF_A_WIDE_BLOCK: Final = 4
"""and besides as many as have the states of so many streams, whose memory grows with b·d·l."""
STATES_OF_A_WIDE_BLOCK: Final = 1 << 26
"""But never more states than these, 256 MiB in float32, while it has more lanes than one."""
STATES_OF_A_PIECE: Final = 1 << 23
"""On a GPU: at most 32 MiB in float32, some of which its second-level cache still has; shorter pieces are
more launches."""


def rows_together(b: int, d: int, n: int, device: str) -> int:
    """Rows of the batch that are scanned together."""
    return max(1, b if device in WIDE_DEVICES else min(b, STATES_OF_A_STEP // max(1, d * n)))


def lane_length(b: int, d: int, n: int, device: str) -> int:
    """Steps of a lane; on a CPU fewer where a step is large."""
    if device in WIDE_DEVICES:
        return STEPS_OF_A_LANE
    states = rows_together(b, d, n, device) * d * n
    return next((length for length in BLOCKS if length * states <= STATES_OF_A_BLOCK), BLOCKS[-1])


def lanes_together(b: int, d: int, l: int, n: int, device: str) -> int:
    """Lanes of a block, all blocks but the last equal; fewer where a step is large."""
    if device not in WIDE_DEVICES:
        return 1
    steps = STEPS_OF_A_WIDE_BLOCK + STREAMS_OF_A_WIDE_BLOCK * l // n
    most = max(1, min(steps, STATES_OF_A_WIDE_BLOCK // max(1, b * d * n)) // STEPS_OF_A_LANE)
    lanes = -(-l // STEPS_OF_A_LANE)
    return -(-lanes // -(-lanes // most)) if lanes else 1


def piece_length(steps: int, states: int, device: str) -> int:
    """Steps of a piece, of a block of so many steps of so many states; a CPU's cache holds the block."""
    if device not in WIDE_DEVICES:
        return steps
    pieces = -(-steps // max(1, STATES_OF_A_PIECE // max(1, states)))
    return -(-steps // pieces)


def chunk_length(l: int, device: str) -> int:
    """Steps of a chunk, of a span of l steps."""
    return max(1, l) if device in WIDE_DEVICES else CHUNK


def slots(b: int, d: int, l: int, n: int, device: str, packed: int | None) -> int:
    """Lanes there are at most, and one that is not used, from sizes alone; `packed` sequences, or None.

    PyTorch asks of a size in a graph that leaves l open whether it is 1, to tell which strides matter; the
    answer would hold the graph to more than one lane. Of this size it knows that it is not.
    """
    length = lane_length(b, d, n, device)
    return 1 + (-(-l // length) if packed is None else l // length + packed)
