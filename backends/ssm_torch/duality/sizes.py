"""Sizes of chunks, and how many are taken together, from the sizes of a call alone."""

from __future__ import annotations

from typing import Final

CHUNK: Final = 64
"""Q, the steps of a chunk: its products cost Q p a step and head, those with the states 2 p n."""
TOGETHER: Final = {"cpu": 1 << 18}
"""Elements of the chunks taken together: on a CPU the few arrays of that size stay in its cache."""
TOGETHER_ELSEWHERE: Final = 1 << 24
"""On a GPU: as many that a launch is worth its while."""


def chunks_of(l: int) -> int:
    """How many chunks there are; the last one may be shorter."""
    return -(-l // CHUNK)


def places_for_starts(l: int) -> int:
    """How many states are kept: one before each chunk, and zeros in place of one more.

    PyTorch asks of a size in a graph that leaves l open whether it is 1, to tell which strides matter; the
    answer would hold the graph to more than one chunk. Of this one it knows that it is not.
    """
    return chunks_of(l) + 1


def cuts(l: int, together: int | None) -> list[tuple[slice, slice, int]]:
    """Some chunks of one length after the other, the shorter one at the end by itself.

    Parameters
    ----------
    l
        Steps in all.
    together
        How many chunks are taken at once; None takes all that are whole.

    Returns
    -------
    For each: where it lies in time, the numbers of its chunks, and the steps of a chunk.
    """
    whole = l // CHUNK if l >= CHUNK else 0  # a graph that leaves l open has simple sizes for one chunk
    if together is None:  # not by range, to whose length a compiler would hold the graph
        ends = [(0, whole)] if whole else []
    else:
        ends = [(first, min(first + together, whole)) for first in range(0, whole, together)]
    found = [(slice(first * CHUNK, last * CHUNK), slice(first, last), CHUNK) for first, last in ends]
    rest = l - whole * CHUNK
    if rest:
        found.append((slice(whole * CHUNK, l), slice(whole, whole + 1), rest))
    return found


def together(b: int, h: int, p: int, n: int, device: str) -> tuple[int, int]:
    """How many rows of the batch, and how many chunks of each, are taken at once.

    Returns
    -------
    rows, chunks : int
        Each at least 1.
    """
    budget = TOGETHER.get(device, TOGETHER_ELSEWHERE)
    one = max(1, h * max(CHUNK * CHUNK, p * n))
    rows = max(1, min(b, budget // one))
    return rows, max(1, budget // (one * rows))
