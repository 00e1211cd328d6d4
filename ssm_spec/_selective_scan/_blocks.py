"""Cutting a scan into pieces that stay in cache: blocks of rows and channels, spans of time."""

from __future__ import annotations

from collections.abc import Iterator

CACHE = 2**16
"""States (times, n, b, d) that one piece holds: half a mebibyte; pieces half or four times it are slower."""


def blocks(b: int, d: int, size: int, limit: int) -> Iterator[tuple[slice, slice]]:
    """Cover b × d by pieces of about `limit` elements, `size` to each row and channel.

    Channels stay together first: they are the innermost, contiguous dimension. They are cut evenly:
    a narrow last piece would take as many steps in time as a wide one. Nothing to hold (l = 0), no pieces.
    """
    if size == 0:
        return
    channels = max(1, -(-d // max(1, round(d * size / limit))))
    rows = max(1, min(b, limit // (size * channels)))
    for first_row in range(0, b, rows):
        for first in range(0, d, channels):
            yield slice(first_row, min(first_row + rows, b)), slice(first, min(first + channels, d))


def spans(length: int, step: int) -> list[slice]:
    """Cover 0..length by spans of `step`."""
    return [slice(t, min(t + step, length)) for t in range(0, length, step)]
