"""Rows of shared memory in which the R channels of a lane, one or two, lie side by side: c and c + DT/2.

What a step needs of a lane's channels, two numbers of each, is then read and written by one instruction.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.runtime.jit import constexpr_function

from ssm_triton._lanes_layouts import lanes_of_fours, powers


@constexpr_function
def of_a_lane(N, R, W):
    """(lanes of channels, R channels, 2 numbers): what the layout `fours` needs of a step."""
    lanes = lanes_of_fours(N, [0, 0, 0], [1, 0, 0])
    warps = [[128 // N * x, 0, 0] for x in powers(W)]
    registers = [[0, 0, 1]] + [[0, x, 0] for x in powers(R)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [W * 128 // N, R, 2])


@constexpr_function
def paired_rows(shape, DT, TIME):
    """Shared memory (..., R channels, 2 numbers), padded so that lanes that store meet other banks.

    Where time is contiguous such lanes lie eight rows or a lane's channels apart, else one row or four lanes.
    """
    pad = [16 * DT, 8] if TIME else [32, 4]
    return gl.PaddedSharedLayout.with_identity_for([pad], shape, list(range(len(shape)))[::-1])


@constexpr_function
def single_rows(DT, R, TIME):
    """(32, lanes of channels, R channels): the same for one number of each channel.

    A pad is as long as what a lane stores at once: two numbers, or four of one channel each.
    """
    pad = [8 * DT, 8] if TIME else [DT, 4 // R]
    return gl.PaddedSharedLayout.with_identity_for([pad], [32, DT // R, R], [2, 1, 0])


@gluon.jit
def by_lanes(x, R: gl.constexpr):
    """(rows, channels) to (rows, lanes of channels, R), without a move."""
    return x.reshape([x.shape[0], R, x.shape[1] // R]).permute((0, 2, 1))


@gluon.jit
def by_channels(x, layout: gl.constexpr):
    """The inverse of `by_lanes`."""
    whole = x.permute((0, 2, 1)).reshape([x.shape[0], x.shape[1] * x.shape[2]])
    return gl.convert_layout(whole, layout)


@gluon.jit
def numbers_of(rows, step, layout: gl.constexpr, each: gl.constexpr):
    """The two numbers (channels,) of a step."""
    x, y = gl.split(rows.index(step).load(layout))
    x = gl.convert_layout(x.permute((1, 0)).reshape([x.shape[0] * x.shape[1]]), each)
    y = gl.convert_layout(y.permute((1, 0)).reshape([y.shape[0] * y.shape[1]]), each)
    return x, y
