"""Slots of a pool in a kernel, where nobody has looked at them before, as device code."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def is_slot(slot, count):
    """Whether the pool has the slots."""
    return (slot >= 0) & (slot < count)


@triton.jit
def of_row(y, slot, count):
    """y of a row that has a slot; 0 for −1, which skips the row; NaN for a slot that there is not."""
    other = tl.where(slot == -1, 0.0, float("nan"))
    return tl.where(is_slot(slot, count), y, other.to(y.dtype))
