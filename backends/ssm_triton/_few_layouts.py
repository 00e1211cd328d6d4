"""Layouts of the forward pass for few warps: K states of one channel in a lane, four steps in a read.

Shared memory holds rows of four steps, (rows, channels or states, 4): what a lane needs of a channel or a
state for four steps is one read, and so is what it has summed over its own states.
"""

from __future__ import annotations

import math

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.runtime.jit import constexpr_function

from ssm_triton._forward_layouts import padded
from ssm_triton._lanes_layouts import powers

N: gl.constexpr = gl.constexpr(16)
"""States, padded."""
BLOCK: gl.constexpr = gl.constexpr(32)
"""Steps of a block: their walk is unrolled."""


@constexpr_function
def few_lanes(N, K, state, channel):
    """Bases of the lanes: one bit of 2 K channels, N / K lanes of states, then their other bits."""
    states = [[x * y for y in state] for x in powers(N // K)]
    return [channel, *states, *([2 * x * y for y in channel] for x in powers(K))]


@constexpr_function
def few_warps(K, W, channel):
    """Bases of the warps: 2 K channels each."""
    return [[2 * K * x * y for y in channel] for x in powers(W)]


@constexpr_function
def few_states(N, K, W):
    """(N, channels): states g, g + G, … lie in lane g of a channel."""
    lanes = few_lanes(N, K, [1, 0], [0, 1])
    registers = [[N // K * x, 0] for x in powers(K)]
    return gl.DistributedLinearLayout(registers, lanes, few_warps(K, W, [0, 1]), [], [N, 2 * K * W])


@constexpr_function
def steps_of_channels(N, K, W):
    """(channels, 4): four steps of a lane's channel."""
    lanes = few_lanes(N, K, [0, 0], [1, 0])
    return gl.DistributedLinearLayout([[0, 1], [0, 2]], lanes, few_warps(K, W, [1, 0]), [], [2 * K * W, 4])


@constexpr_function
def steps_of_states(N, K, W):
    """(N, 4): four steps of a lane's K states."""
    lanes = few_lanes(N, K, [1, 0], [0, 0])
    registers = [[0, 1], [0, 2], *([N // K * x, 0] for x in powers(K))]
    return gl.DistributedLinearLayout(registers, lanes, few_warps(K, W, [0, 0]), [], [N, 4])


@constexpr_function
def few_streams(BLOCK, K, W):
    """(BLOCK, channels): four steps of a lane, eight lanes over time, four over channels."""
    lanes = [[4, 0], [8, 0], [16, 0], [0, 1], [0, 2]]
    registers = [[1, 0], [2, 0], *([0, 4 * x] for x in powers(K // 2))]
    return gl.DistributedLinearLayout(registers, lanes, few_warps(K, W, [0, 1]), [], [BLOCK, 2 * K * W])


@constexpr_function
def few_projections(BLOCK, N, W):
    """(BLOCK, N), of B and C: four steps of a lane, eight lanes over time."""
    lanes = [[4, 0], [8, 0], [16, 0], [0, 1], [0, 2]]
    others = [[0, 8], [0, 4]]
    warps = len(powers(W))
    registers = [[1, 0], [2, 0], *others[warps:]]
    return gl.DistributedLinearLayout(registers, lanes, others[:warps], [], [BLOCK, N])


@constexpr_function
def sums_of_walk(BLOCK, G, K, W):
    """(rows of four steps, warps, K, G, 2, 4): the partial sums of a lane, in the order of the lanes."""
    registers = [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 2], *([x, 0, 0, 0, 0, 0] for x in powers(BLOCK // 4))]
    states = [[0, 0, 0, x, 0, 0] for x in powers(G)]
    lanes = [[0, 0, 0, 0, 1, 0], *states, *([0, 0, x, 0, 0, 0] for x in powers(K))]
    warps = [[0, x, 0, 0, 0, 0] for x in powers(W)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [BLOCK // 4, W, K, G, 2, 4])


@constexpr_function
def sums_of_streams(BLOCK, G, K, W):
    """(rows of four steps, warps, K, G, 2, 4): `few_streams`, the partial sums of a step in registers."""
    registers = [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 2]]
    registers += [[0, 0, 2 * x, 0, 0, 0] for x in powers(K // 2)] + [[0, 0, 0, x, 0, 0] for x in powers(G)]
    lanes = [[x, 0, 0, 0, 0, 0] for x in (1, 2, 4)] + [[0, 0, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0]]
    warps = [[0, x, 0, 0, 0, 0] for x in powers(W)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [BLOCK // 4, W, K, G, 2, 4])


@constexpr_function
def rows_of_sums(shape):
    """Shared memory for them, four numbers more after each row: lanes over time meet other banks."""
    return padded(shape, math.prod(shape[1:]), 4)


@constexpr_function
def rows_of_four(shape):
    """Shared memory (..., x, 4), four numbers more after each row: lanes over time meet other banks."""
    return padded(shape, 4 * shape[-2], 4)


@gluon.jit
def by_fours(x):
    """(steps, x) to (rows, x, 4), without a move."""
    return x.reshape([x.shape[0] // 4, 4, x.shape[1]]).permute((0, 2, 1))


@gluon.jit
def four(x, layout: gl.constexpr):
    """(x, 4) to four of (x,)."""
    even, odd = gl.split(x.reshape([x.shape[0], 2, 2]))
    x0, x2 = gl.split(even)
    x1, x3 = gl.split(odd)
    return (
        gl.convert_layout(x0, layout),
        gl.convert_layout(x1, layout),
        gl.convert_layout(x2, layout),
        gl.convert_layout(x3, layout),
    )


@gluon.jit
def in_order_of_lanes(sums, K: gl.constexpr, W: gl.constexpr, layout: gl.constexpr):
    """(steps, G, channels) as `sums_of_walk` has them, without a move."""
    apart = sums.reshape([sums.shape[0] // 4, 4, sums.shape[1], W, K, 2])
    return gl.convert_layout(apart.permute((0, 3, 4, 2, 5, 1)), layout)


@gluon.jit
def in_order_of_time(y, layout: gl.constexpr):
    """(rows of four steps, warps, K, 2, 4) as (steps, channels), without a move."""
    whole = y.permute((0, 4, 1, 2, 3)).reshape([4 * y.shape[0], 2 * y.shape[2] * y.shape[1]])
    return gl.convert_layout(whole, layout)
