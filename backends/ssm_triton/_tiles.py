"""Where a program stands and what it loads: indices, step sizes and gates, as device code."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._math import phi, sigmoid, softplus


@triton.jit
def locate(tiles, rows, tiles_per_cell, cell, DT: tl.constexpr):
    """This program's tile, row and segment, its first channel, and how many are left in the cell.

    Programs that run together share a row, hence B and C.
    """
    program = tl.program_id(0)
    tile = program % tiles
    row = (program // tiles) % rows
    segment = program // tiles // rows
    d0, left = place(tile, tiles_per_cell, cell, DT)
    return tile, row, segment, d0, left


@triton.jit
def place(tile, tiles_per_cell, cell, DT: tl.constexpr):
    """First channel of a tile: channels are cut into cells that share their group of B and of C."""
    inside = (tile % tiles_per_cell) * DT
    return (tile // tiles_per_cell) * cell + inside, cell - inside


@triton.jit
def time_span(cu_seqlens, row, segment, length, SEGMENT, PACKED: tl.constexpr):
    """Start of the row in memory, its batch index, its length, and this segment's first step."""
    if PACKED:
        origin = tl.load(cu_seqlens + row)
        steps = tl.load(cu_seqlens + row + 1) - origin
        batch = row * 0
    else:
        origin = row * 0
        steps = length
        batch = row
    return origin, batch.to(tl.int64), steps, segment * SEGMENT


@triton.jit
def step_size(delta, bias, valid, SOFTPLUS: tl.constexpr):
    """Δ = delta + delta_bias, through softplus if asked; zero past the end, where a step does nothing."""
    s = delta + bias
    if SOFTPLUS:
        s = softplus(s)
    return tl.where(valid, s, 0.0)


@triton.jit
def input_weight(s, a2, a, ZOH: tl.constexpr):
    """b̄ / B: Δ ("euler"), or expm1(ΔA)/A = Δ φ(ΔA) ("zoh"). `a2` is A log₂e."""
    if ZOH:
        weight = s * phi(s * a2 * 0.6931471805599453, a)
    else:
        weight = s
    return weight


@triton.jit
def silu(z):
    """z σ(z)."""
    return z * sigmoid(z)


@triton.jit
def leap(steps: tl.constexpr, stride):
    """How far so many steps lead; 32 bits may count the stride alone."""
    return tl.full((), steps, tl.int64) * stride


@triton.jit
def resets(seq_idx, t, length, stride):
    """Whether the state is cut off before step t: seq_idx[t] ≠ seq_idx[t − 1], t ≥ 1."""
    inside = (t > 0) & (t < length)
    seq_idx += t.to(tl.int64) * stride
    here = tl.load(seq_idx, mask=inside, other=0)
    return here != tl.load(seq_idx - stride, mask=inside, other=0)
