"""Rows of shared memory in which the two channels of a lane lie side by side, c and c + DT/2.

What a step needs of a lane's channels, two numbers of each, is then read and written by one instruction.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.runtime.jit import constexpr_function

from ssm_triton._lanes_layouts import pairs_lanes, powers


@constexpr_function
def of_a_lane(N, W):
    """(pairs, 2 channels, 2 numbers): what the layout `pairs` needs of a step."""
    lanes = pairs_lanes(N, [0, 0, 0], [1, 0, 0])
    warps = [[128 // N * x, 0, 0] for x in powers(W)]
    return gl.DistributedLinearLayout([[0, 0, 1], [0, 1, 0]], lanes, warps, [], [W * 128 // N, 2, 2])


@constexpr_function
def paired_rows(shape, DT, TIME):
    """Shared memory (..., pairs, 2 channels, 2 numbers), padded so that lanes that store meet other banks.

    Where time is contiguous such lanes lie eight rows or two pairs apart, else one row or four pairs.
    """
    pad = [16 * DT, 8] if TIME else [32, 4]
    return gl.PaddedSharedLayout.with_identity_for([pad], shape, list(range(len(shape)))[::-1])


@constexpr_function
def single_rows(DT, TIME):
    """(32, pairs, 2 channels): the same for one number of each channel."""
    pad = [8 * DT, 8] if TIME else [DT, 2]
    return gl.PaddedSharedLayout.with_identity_for([pad], [32, DT // 2, 2], [2, 1, 0])


@gluon.jit
def by_pairs(x):
    """(rows, channels) to (rows, pairs, 2), without a move."""
    return x.reshape([x.shape[0], 2, x.shape[1] // 2]).permute((0, 2, 1))


@gluon.jit
def by_channels(x, layout: gl.constexpr):
    """The inverse of `by_pairs`."""
    return gl.convert_layout(x.permute((0, 2, 1)).reshape([x.shape[0], 2 * x.shape[1]]), layout)


@gluon.jit
def numbers_of(rows, step, layout: gl.constexpr, each: gl.constexpr):
    """The two numbers (channels,) of a step."""
    x, y = gl.split(rows.index(step).load(layout))
    x = gl.convert_layout(x.permute((1, 0)).reshape([2 * x.shape[0]]), each)
    y = gl.convert_layout(y.permute((1, 0)).reshape([2 * y.shape[0]]), each)
    return x, y
