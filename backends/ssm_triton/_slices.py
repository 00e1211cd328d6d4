"""After the backward pass: the gradients of B and C, summed from slices in a fixed order."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sum_slices(
    slices, out, count, batches, length, n, spans, groups, out_b, out_g, out_n, out_l,
    T: tl.constexpr, N: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """out[b, g] = Σ over the `count` slices of group g, in order: the same bits at every run.

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
    total = tl.zeros((T, N), slices.dtype.element_ty)
    for k in range(count):
        base = ((group * count + k) * batches + batch) * length
        total += tl.load(slices + ((base + at) * N + i[None, :]) * STEP, mask=inside, other=0.0)
    to = batch * out_b + group * out_g + at * out_l + i.to(tl.int64)[None, :] * out_n
    tl.store(out + to, total.to(out.dtype.element_ty), mask=inside & (i < n)[None, :])
