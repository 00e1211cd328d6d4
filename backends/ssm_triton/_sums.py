"""After the backward pass: partial sums become gradients, in one launch, in an order that never changes."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_up(
    pieces, out, count, piece, rows, columns, row_step, column_step, out_row, out_column, first,
    J: tl.constexpr, R: tl.constexpr, C: tl.constexpr, PADDED: tl.constexpr = False,
):  # fmt: skip
    """out[r, c] = Σ of `count` pieces[r, c], which lie `piece` numbers apart, for R rows from `first` on.

    J pieces at a time: the loads of one turn are all under way before the first is needed. Pieces that are
    PADDED have all C columns: no mask along them, so that four numbers make one load.
    """
    r = (first + tl.arange(0, R)).to(tl.int64)
    c = tl.arange(0, C).to(tl.int64)
    inside = (r < rows)[:, None] & (c < columns)[None, :]
    given = inside
    if PADDED:
        given = (r < rows)[:, None]
    at = r[:, None] * row_step + c[None, :] * column_step
    j = tl.arange(0, J)[:, None, None]
    total = tl.zeros((J, R, C), pieces.dtype.element_ty)
    for start in range(0, count, J):
        k = start + j
        here = given[None] & (k < count)
        total += tl.load(pieces + k.to(tl.int64) * piece + at[None], mask=here, other=0.0)
    to = r[:, None] * out_row + c[None, :] * out_column
    tl.store(out + to, tl.sum(total, 0).to(out.dtype.element_ty), mask=inside)


@triton.jit
def over_time(
    program, slices, out, count, batches, length, n, groups, out_b, out_g, out_n, out_l,
    J: tl.constexpr, T: tl.constexpr, N: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """T steps of one group's dB or dC: slices (groups · count, b, l, N) to (b, g, n, l)."""
    spans = tl.cdiv(length, T)
    group = ((program // spans) % groups).to(tl.int64)
    batch = (program // spans // groups).to(tl.int64)
    one = length.to(tl.int64) * N * STEP
    add_up(
        slices + (group * count * batches + batch) * one, out + batch * out_b + group * out_g,
        count, batches * one, length, n, N * STEP, STEP, out_l, out_n, (program % spans) * T, J, T, N, True,
    )  # fmt: skip


@triton.jit(do_not_specialize=["length", "dim", "n"])
def sum_pieces(
    dB, dC, dA, dD, dbias, B_out, C_out, A_out, D_out, bias_out,
    time_B, time_C, batches, length, dim, n, count_B, count_C, groups_B, groups_C, parts,
    B_b, B_g, B_n, B_l, C_b, C_g, C_n, C_l,
    CONST_B: tl.constexpr, CONST_C: tl.constexpr, HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr,
    N: tl.constexpr, STEP: tl.constexpr, T: tl.constexpr, J: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One part of the gradients of B, C, A, D and delta_bias.

    The first `time_B` programs serve T steps of dB each, the next `time_C` of dC; they are none where it is
    constant. The others serve CHANNELS channels of (parts, n, d) and (parts, d): dA and dB or dC if constant,
    to (d, n), and dD and dbias. Complex arrays are given by one of their two parts, STEP = 2 numbers apart.
    """
    program = tl.program_id(0)
    if program < time_B:
        if not CONST_B:
            over_time(
                program, dB, B_out, count_B, batches, length, n, groups_B, B_b, B_g, B_n, B_l, J, T, N, STEP
            )
    elif program < time_B + time_C:
        if not CONST_C:
            over_time(
                program - time_B, dC, C_out, count_C, batches, length, n, groups_C, C_b, C_g, C_n, C_l,
                J, T, N, STEP,
            )  # fmt: skip
    else:
        first = (program - time_B - time_C) * CHANNELS
        size = dim.to(tl.int64) * n * STEP
        line = dim * STEP
        turned = n * STEP
        add_up(dA, A_out, parts, size, dim, n, STEP, line, turned, STEP, first, J, CHANNELS, N)
        if CONST_B:
            add_up(dB, B_out, parts, size, dim, n, STEP, line, turned, STEP, first, J, CHANNELS, N)
        if CONST_C:
            add_up(dC, C_out, parts, size, dim, n, STEP, line, turned, STEP, first, J, CHANNELS, N)
        if HAS_D:
            add_up(dD, D_out, parts, dim, dim, 1, 1, 1, 1, 1, first, J, CHANNELS, 1)
        if HAS_BIAS:
            add_up(dbias, bias_out, parts, dim, dim, 1, 1, 1, 1, 1, first, J, CHANNELS, 1)
