"""Layouts of the forward pass for few warps: two states of one channel in a lane, four steps in a read.

Shared memory holds rows of four steps, (rows, channels or states, 4): what a lane needs of a channel or a
state for four steps is one read, and so is what it has summed over its own states.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.runtime.jit import constexpr_function

from ssm_triton._forward_layouts import padded
from ssm_triton._lanes_layouts import powers

N: gl.constexpr = gl.constexpr(16)
"""States, padded."""
G: gl.constexpr = gl.constexpr(8)
"""Lanes of a channel: states g and g + 8 lie in lane g."""
BLOCK: gl.constexpr = gl.constexpr(32)
"""Steps of a block: their walk is unrolled."""


@constexpr_function
def few_lanes(state, channel):
    """Bases of the lanes: one bit of four channels, eight lanes of states, the other bit of the channels."""
    return [channel, *([x * y for y in state] for x in powers(8)), [2 * x for x in channel]]


@constexpr_function
def few_warps(W, channel):
    """Bases of the warps: four channels each."""
    return [[4 * x * y for y in channel] for x in powers(W)]


@constexpr_function
def few_states(N, W):
    """(N, channels)."""
    lanes = few_lanes([1, 0], [0, 1])
    return gl.DistributedLinearLayout([[N // 2, 0]], lanes, few_warps(W, [0, 1]), [], [N, 4 * W])


@constexpr_function
def steps_of_channels(W):
    """(channels, 4): four steps of a lane's channel."""
    lanes = few_lanes([0, 0], [1, 0])
    return gl.DistributedLinearLayout([[0, 1], [0, 2]], lanes, few_warps(W, [1, 0]), [], [4 * W, 4])


@constexpr_function
def steps_of_states(N, W):
    """(N, 4): four steps of a lane's two states."""
    lanes = few_lanes([1, 0], [0, 0])
    registers = [[0, 1], [0, 2], [N // 2, 0]]
    return gl.DistributedLinearLayout(registers, lanes, few_warps(W, [0, 0]), [], [N, 4])


@constexpr_function
def few_streams(BLOCK, W):
    """(BLOCK, channels): four steps of a lane, eight lanes over time."""
    lanes = [[4, 0], [8, 0], [16, 0], [0, 1], [0, 2]]
    registers = [[1, 0], [2, 0]]
    return gl.DistributedLinearLayout(registers, lanes, few_warps(W, [0, 1]), [], [BLOCK, 4 * W])


@constexpr_function
def few_projections(BLOCK, N, W):
    """(BLOCK, N), of B and C: four steps of a lane, eight lanes over time."""
    lanes = [[4, 0], [8, 0], [16, 0], [0, 1], [0, 2]]
    others = [[0, 8], [0, 4]]
    warps = len(powers(W))
    registers = [[1, 0], [2, 0], *others[warps:]]
    return gl.DistributedLinearLayout(registers, lanes, others[:warps], [], [BLOCK, N])


@constexpr_function
def sums_of_walk(BLOCK, G, W):
    """(rows of four steps, warps, 2, G, 2, 4): the partial sums of a lane, in the order of the lanes."""
    registers = [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 2], *([x, 0, 0, 0, 0, 0] for x in powers(BLOCK // 4))]
    states = [[0, 0, 0, x, 0, 0] for x in powers(G)]
    lanes = [[0, 0, 0, 0, 1, 0], *states, [0, 0, 1, 0, 0, 0]]
    warps = [[0, x, 0, 0, 0, 0] for x in powers(W)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [BLOCK // 4, W, 2, G, 2, 4])


@constexpr_function
def sums_of_streams(BLOCK, G, W):
    """(rows of four steps, warps, 2, G, 2, 4): `few_streams`, the partial sums of a step in registers."""
    registers = [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 2]]
    registers += [[0, 0, 0, x, 0, 0] for x in powers(G)]
    lanes = [[x, 0, 0, 0, 0, 0] for x in (1, 2, 4)] + [[0, 0, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0]]
    warps = [[0, x, 0, 0, 0, 0] for x in powers(W)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [BLOCK // 4, W, 2, G, 2, 4])


@constexpr_function
def rows_of_sums(shape):
    """Shared memory for them, four numbers more after each row: lanes over time meet other banks."""
    return padded(shape, 16 * shape[-5] * shape[-3], 4)


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
def in_order_of_lanes(sums, W: gl.constexpr, layout: gl.constexpr):
    """(steps, G, channels) as `sums_of_walk` has them, without a move."""
    apart = sums.reshape([sums.shape[0] // 4, 4, sums.shape[1], W, 2, 2])
    return gl.convert_layout(apart.permute((0, 3, 4, 2, 5, 1)), layout)


@gluon.jit
def in_order_of_time(y, layout: gl.constexpr):
    """(rows of four steps, warps, 2, 2, 4) as (steps, channels), without a move."""
    whole = y.permute((0, 4, 1, 2, 3)).reshape([4 * y.shape[0], 4 * y.shape[1]])
    return gl.convert_layout(whole, layout)
