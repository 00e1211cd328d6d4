"""Products of matrices in the dual form: on tensor cores, and as exact as float32 is.

A tensor core multiplies numbers of bfloat16 without rounding and adds in float32. So a float32 is taken as
the sum of three of bfloat16, eight bits each, and a float16 as the sum of two: exactly, as bits are cut off,
not rounded. Of two float32 only the product of the last parts is left out, below 2⁻³⁰ of theirs. Two matrices
of one 16-bit type are multiplied as they are.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton import knobs

INTERPRETED: tl.constexpr = tl.constexpr(bool(knobs.runtime.interpret))
"""Triton's interpreter multiplies the bits of bfloat16 as integers: there parts are widened again."""


@triton.jit
def product(a, b):
    """a b in float32, for a (m, k) and b (k, n) of any types but float64.

    What it is to be added to is never the start of the sum: with Triton 3.6 a tensor core wrote over numbers
    that were computed just before and were still to be read.
    """
    if a.dtype == b.dtype and a.dtype.primitive_bitwidth == 16:
        total = tl.dot(a, b)
    else:
        PA: tl.constexpr = 1 if a.dtype == tl.bfloat16 else (2 if a.dtype == tl.float16 else 3)
        PB: tl.constexpr = 1 if b.dtype == tl.bfloat16 else (2 if b.dtype == tl.float16 else 3)
        a0, a1, a2 = _split(a, PA)
        b0, b1, b2 = _split(b, PB)
        # The smallest first.
        total = tl.zeros((a.shape[0], b.shape[1]), tl.float32)
        if PA > 2 and PB > 1:
            total = tl.dot(a2, b1, total)
        if PA > 1 and PB > 2:
            total = tl.dot(a1, b2, total)
        if PA > 2:
            total = tl.dot(a2, b0, total)
        if PB > 2:
            total = tl.dot(a0, b2, total)
        if PA > 1 and PB > 1:
            total = tl.dot(a1, b1, total)
        if PA > 1:
            total = tl.dot(a1, b0, total)
        if PB > 1:
            total = tl.dot(a0, b1, total)
        total = tl.dot(a0, b0, total)
    return total


@triton.jit
def _split(x, PARTS: tl.constexpr):
    """x as a sum of numbers of bfloat16, largest first; the last of them is repeated to make three."""
    if PARTS == 1:
        first, second, third = x, x, x
    else:
        first, rest = _cut(x.to(tl.float32))
        second, rest = _cut(rest)
        third, rest = _cut(rest)
    if INTERPRETED:
        first, second, third = first.to(tl.float32), second.to(tl.float32), third.to(tl.float32)
    return first, second, third


@triton.jit
def _cut(x):
    """The upper half of a float32, which is a bfloat16, and what is left. A NaN stays one in either."""
    upper = x.to(tl.int32, bitcast=True) >> 16
    whole = (upper << 16).to(tl.float32, bitcast=True)
    return upper.to(tl.int16).to(tl.bfloat16, bitcast=True), x - whole
