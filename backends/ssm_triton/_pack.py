"""Before and after the scan: B and C gathered into rows of N, and their gradients summed from slices."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def pack(
    B, C, B_rows, C_rows, length, n, groups_B, groups_C, spans, groups,
    B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    T: tl.constexpr, N: tl.constexpr, PACK_B: tl.constexpr, PACK_C: tl.constexpr,
):  # fmt: skip
    """(b, g, n, l) of any strides and dtype to (b, g, l, N), contiguous, in the compute type.

    n is padded with zeros to N, so that the scan needs no mask along the state.
    """
    program = tl.program_id(0)
    group = (program // spans) % groups
    batch = (program // spans // groups).to(tl.int64)
    t = (program % spans) * T + tl.arange(0, T)
    i = tl.arange(0, N)
    if PACK_B and group < groups_B:
        _gather(B, B_rows, batch, group, groups_B, t, i, length, n, B_b, B_g, B_n, B_l, N)
    if PACK_C and group < groups_C:
        _gather(C, C_rows, batch, group, groups_C, t, i, length, n, C_b, C_g, C_n, C_l, N)


@triton.jit
def _gather(x, rows, batch, group, groups, t, i, length, n, x_b, x_g, x_n, x_l, N: tl.constexpr):
    inside = (t < length)[:, None]
    at = t.to(tl.int64)[:, None]
    source = x + batch * x_b + group.to(tl.int64) * x_g + at * x_l + i.to(tl.int64)[None, :] * x_n
    value = tl.load(source, mask=inside & (i < n)[None, :], other=0.0)
    to = ((batch * groups + group) * length + at) * N + i[None, :]
    tl.store(rows + to, value.to(rows.dtype.element_ty), mask=inside)


@triton.jit
def sum_slices(
    slices, out, count, batches, length, n, spans, groups, out_b, out_g, out_n, out_l,
    T: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """out[b, g] = Σ over the `count` slices of group g, in order: the same bits at every run.

    slices (groups · count, b, l, N), compute type; out (b, g, n, l), any strides and dtype.
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
        total += tl.load(slices + (base + at) * N + i[None, :], mask=inside, other=0.0)
    to = batch * out_b + group * out_g + at * out_l + i.to(tl.int64)[None, :] * out_n
    tl.store(out + to, total.to(out.dtype.element_ty), mask=inside & (i < n)[None, :])
