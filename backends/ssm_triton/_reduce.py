"""Sums over the axes of a backward tile (T, K, R, W, M, L), and values spread over them, as device code."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def over_states(x):
    """(T, K, R, W, M, L) to (T, R, W, L): the sum over the state, K in registers, M across lanes."""
    return tl.sum(tl.sum(x, 1), 3)


@triton.jit
def over_channels(
    x,
    T: tl.constexpr, K: tl.constexpr, R: tl.constexpr, W: tl.constexpr, M: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """(T, K, R, W, M, L) to (T, K, M): the sum over channels, in an order that never changes.

    Channels first and a split of the last axis make the compiler turn the tile in shared memory,
    so that the channels lie in a thread's registers: a third of the instructions of a sum by shuffles.
    """
    x = tl.sum(x, 2)
    if L == 1:
        x = tl.sum(tl.sum(x, 4), 2)
    else:
        x = tl.reshape(tl.permute(x, (2, 4, 0, 1, 3)), (W, L // 2, 2, T, K, M))
        even, odd = tl.split(tl.permute(x, (0, 1, 3, 4, 5, 2)))
        x = tl.sum(tl.sum(even + odd, 1), 0)
    return x


@triton.jit
def at_state(x):
    """(T, R, W, L) spread over the state."""
    return x[:, None, :, :, None, :]


@triton.jit
def at_channel(x):
    """(T, K, M) spread over the channels."""
    return x[:, :, None, None, :, None]


@triton.jit
def add_to(slot, x, mask, k, EACH: tl.constexpr):
    """Store x; from the program's second tile on, add it to what this same program has stored."""
    if EACH > 1:
        x += tl.load(slot, mask=mask & (k + tl.zeros_like(x) > 0.5), other=0.0)
    tl.store(slot, x, mask=mask)
