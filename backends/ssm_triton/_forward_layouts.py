"""Layouts of the forward pass in Gluon: what lies in a lane, and rows of shared memory without conflicts.

A lane holds K states of each of R adjacent channels, so that a value of B or C that it reads serves R
channels. The states of a channel lie in G = N / K lanes; their sums Σ C h meet in shared memory.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.runtime.jit import constexpr_function

from ssm_triton._lanes_layouts import lanes_over, powers

TILE: gl.constexpr = gl.constexpr(8)
"""Steps of a tile: they are unrolled, and their sums are stored together."""


@constexpr_function
def wide_lanes(N, K, state, channel):
    """The lanes of `wide_states`, given the bases of K states and of R channels."""
    states = [[x * y for y in state] for x in powers(N // K)]
    channels = [[x * y for y in channel] for x in powers(32 * K // N)]
    return lanes_over(N, states, channels, channels + states)


@constexpr_function
def wide_states(N, K, R, W):
    """(N, channels): K states of R channels a lane."""
    wide = 32 * K * R // N
    registers = [[0, x] for x in powers(R)] + [[x, 0] for x in powers(K)]
    warps = [[0, wide * x] for x in powers(W)]
    return gl.DistributedLinearLayout(registers, wide_lanes(N, K, [K, 0], [0, R]), warps, [], [N, wide * W])


@constexpr_function
def paired_states(N, K, R, W):
    """(N, channels, 2): the layout `wide_states`, both of a pair in a lane."""
    S = wide_states(N, K, R, W)
    registers, lanes, warps = ([[*x, 0] for x in y] for y in (S.reg_bases, S.lane_bases, S.warp_bases))
    return gl.DistributedLinearLayout([[0, 0, 1], *registers], lanes, warps, [], [*S.shape, 2])


@constexpr_function
def wide_streams(DT, R, W, TIME, VECTOR):
    """(32, channels): `VECTOR` steps of R channels a lane where time is contiguous, else four channels.

    Lanes beside each other then read whole sectors of 32 bytes; and what they hold is stored to rows that
    are R numbers longer than DT, R channels at a time, without two lanes at one bank.
    """
    if not TIME:
        wide = min(4, DT // W)
        return gl.BlockedLayout([1, wide], [32 * wide // DT, DT // wide], [W, 1], [1, 0])
    steps = min(VECTOR, DT // (W * R), 16 // (2 * R))
    times = [[steps * x, 0] for x in powers(32 // steps)]
    near = len(times) - len(powers(2 * R))
    lanes = times[:near] + [[0, R * x] for x in powers(steps)] + times[near:]
    registers = [[x, 0] for x in powers(steps)] + [[0, x] for x in powers(R)]
    registers += [[0, R * steps * x] for x in powers(DT // (W * R * steps))]
    return gl.DistributedLinearLayout(registers, lanes, [[0, DT // W * x] for x in powers(W)], [], [32, DT])


@constexpr_function
def wide_rows(DT, R, W, TIME, VECTOR):
    """`wide_streams` with the channels of a lane first: they are then stored together."""
    E = wide_streams(DT, R, W, TIME, VECTOR)
    if not TIME:
        return E
    registers = sorted(E.reg_bases, key=lambda basis: basis[0] > 0)
    return gl.DistributedLinearLayout(registers, E.lane_bases, E.warp_bases, [], [32, DT])


@constexpr_function
def wide_sums(DT, G, R, W, TIME, VECTOR):
    """(32, warps, G, channels of a warp): `wide_rows`, and the G sums of each step in registers."""
    if not TIME:
        wide = min(4, DT // W)
        lanes = [32 * wide // DT, W, 1, DT // (wide * W)]
        return gl.BlockedLayout([1, 1, G, wide], lanes, [W, 1, 1, 1], [3, 1, 0, 2])
    E = wide_rows(DT, R, W, TIME, VECTOR)
    registers, lanes = ([[x, 0, 0, y] for x, y in bases] for bases in (E.reg_bases, E.lane_bases))
    registers += [[0, 0, x, 0] for x in powers(G)]
    warps = [[0, x, 0, 0] for x in powers(W)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [32, W, G, DT // W])


@constexpr_function
def wide_tile(N, K, R, W):
    """(TILE, warps, G, channels of a warp), as the walk leaves the sums of a tile; channels first."""
    G = N // K
    registers = [[0, 0, 0, x] for x in powers(R)] + [[x, 0, 0, 0] for x in powers(TILE)]
    lanes = wide_lanes(N, K, [0, 0, 1, 0], [0, 0, 0, R])
    warps = [[0, x, 0, 0] for x in powers(W)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [TILE, W, G, 32 // G * R])


@constexpr_function
def wide_projections(N, W, TIME):
    """(32, N), of B and C: four steps of a lane where time is contiguous, else four states."""
    if not TIME:
        return gl.BlockedLayout([1, 4], [128 // N, N // 4], [W, 1], [1, 0])
    lanes = [[4, 0], [8, 0], [0, 1], [0, 2], [0, 4]]
    others = [[16, 0], *([0, x] for x in powers(N) if x > 4)]
    warps = len(powers(W))
    return gl.DistributedLinearLayout([[1, 0], [2, 0], *others[warps:]], lanes, others[:warps], [], [32, N])


@constexpr_function
def padded(shape, size, pad):
    """Shared memory of a shape, row after row: after every `size` numbers, `pad` more."""
    order = list(range(len(shape)))[::-1]
    if not pad:
        return gl.SwizzledSharedLayout(1, 1, 1, order)
    return gl.PaddedSharedLayout.with_identity_for([[size, pad]], shape, order)


@gluon.jit
def by_warps(sums, W: gl.constexpr):
    """(steps, G, channels) as (steps, warps, G, channels of a warp), without a move."""
    return sums.reshape([sums.shape[0], sums.shape[1], W, sums.shape[2] // W]).permute((0, 2, 1, 3))
