"""After the backward pass: the gradients of B and C, summed from slices in a fixed order."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sum_slices(
    slices, out, count, batches, length, n, spans, groups, out_b, out_g, out_n, out_l,
    T: tl.constexpr, N: tl.constexpr, J: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """out[b, g] = Σ over the `count` slices of group g, in an order that never changes.

    slices (groups · count, b, l, N), compute type, STEP numbers from one to the next (2 for one part
    of a complex array); out (b, g, n, l), any strides and dtype.
    """
    program = tl.program_id(0)
    group = ((program // spans) % groups).to(tl.int64)
    batch = (program // spans // groups).to(tl.int64)
    t = (program % spans) * T + tl.arange(0, T)
    i = tl.arange(0, N)
    inside = (t < length)[:, None]
    at = t.to(tl.int64)[:, None]
    # J slices at a time: the loads of one turn are all under way before the first is needed.
    j = tl.arange(0, J)
    total = tl.zeros((J, T, N), slices.dtype.element_ty)
    for first in range(0, count, J):
        k = first + j[:, None, None]
        base = ((group * count + k) * batches + batch) * length
        rows = slices + ((base + at[None]) * N + i[None, None, :]) * STEP
        total += tl.load(rows, mask=inside[None] & (k < count), other=0.0)
    to = batch * out_b + group * out_g + at * out_l + i.to(tl.int64)[None, :] * out_n
    tl.store(out + to, tl.sum(total, 0).to(out.dtype.element_ty), mask=inside & (i < n)[None, :])
