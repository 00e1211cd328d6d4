"""What the kernels in Gluon share: named layouts, loads, and functions of one instruction.

A lane holds K states of one channel. The states of a channel lie in N / K lanes, the channels in the
other lanes and in the warps: sums over the state are short, and so is what B and C cost to spread.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.runtime.jit import constexpr_function

from ssm_triton._math import LOG2_E

T: gl.constexpr = gl.constexpr(4)
"""Steps of a tile: the backward pass keeps the decay and the past of each state and step in registers."""
K: gl.constexpr = gl.constexpr(8)
"""States of a lane in the backward pass."""
BLOCK: gl.constexpr = gl.constexpr(32)
"""Steps of a block: there is one saved state for each."""

_NAMED = gl.constexpr(hasattr(gl.shared_memory_descriptor, "reinterpret"))


@constexpr_function
def states(N, K, W):
    """(N, channels): K states of a lane, then channels across lanes, then states, then warps."""
    return gl.BlockedLayout([K, 1], [N // K, 32 * K // N], [1, W], [1, 0])


@constexpr_function
def tiles(N, K, T, W):
    """(T, N, channels): the layout `states`, with the steps in registers, slowest."""
    lanes_of_states = N // K
    lanes_of_channels = 32 // lanes_of_states
    registers = [[0, x, 0] for x in _powers(K)] + [[x, 0, 0] for x in _powers(T)]
    lanes = [[0, 0, x] for x in _powers(lanes_of_channels)]
    lanes += [[0, K * x, 0] for x in _powers(lanes_of_states)]
    warps = [[0, 0, lanes_of_channels * x] for x in _powers(W)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [T, N, W * lanes_of_channels])


@constexpr_function
def turned(N, T, W):
    """(T, N, channels): four states of a lane; the lanes lie over steps and states, then over channels."""
    across = min(T, W)
    steps, groups = T // across, N // 4
    lanes = [steps, groups, 32 // (steps * groups)]
    return gl.BlockedLayout([1, 4, 1], lanes, [across, 1, W // across], [1, 2, 0])


@constexpr_function
def streams(DT, BLOCK, W, TIME):
    """(BLOCK, channels): eight steps of a lane where time is contiguous, else four channels."""
    if TIME:
        return gl.BlockedLayout([8, 1], [BLOCK // 8, 256 // BLOCK], [1, W], [0, 1])
    return gl.BlockedLayout([1, 4], [128 // DT, DT // 4], [W, 1], [1, 0])


@constexpr_function
def projections(N, W, TIME):
    """(BLOCK, N), of B and C: four steps of a lane where time is contiguous, else four states."""
    if TIME:
        return gl.BlockedLayout([4, 1], [8, 4], [1, W], [0, 1])
    return gl.BlockedLayout([1, 4], [128 // N, N // 4], [W, 1], [1, 0])


@constexpr_function
def rows(size, pad, count):
    """Shared memory (count, size) whose rows are `pad` numbers apart; a single row if count is 0."""
    shape, order = ([count, size], [1, 0]) if count else ([size], [0])
    if not pad:
        return gl.SwizzledSharedLayout(1, 1, 1, order)
    return gl.PaddedSharedLayout.with_identity_for([[size, pad]], shape, order)


@constexpr_function
def spread(N, order):
    """Shared memory with the state fastest, its groups of four turned from channel to channel.

    Eight lanes at one state of eight channels, or at all states of one or two, then meet all banks.
    """
    return gl.SwizzledSharedLayout(4, max(32 // N, 1), min(N // 4, 8), order)


@constexpr_function
def _powers(x: int) -> list[int]:
    return [1 << k for k in range(x.bit_length() - 1)]


@gluon.jit
def seen_as(memory, shape: gl.constexpr, layout: gl.constexpr):
    """The same float32 shared memory under another shape and layout. (Triton 3.6 hides the method's name.)"""
    if _NAMED:
        view = memory.reinterpret(gl.float32, shape, layout)
    else:
        view = memory._reinterpret(gl.float32, shape, layout)
    return view


@gluon.jit
def stack_channels(x0, x1, x2, x3):
    """Four of (channels,) as (T, channels), without a move."""
    pairs = gl.join(gl.join(x0, x1), gl.join(x2, x3))
    return gl.permute(pairs, (2, 1, 0)).reshape([4, x0.shape[0]])


@gluon.jit
def stack_states(x0, x1, x2, x3):
    """Four of (N, channels) as (T, N, channels), without a move."""
    pairs = gl.join(gl.join(x0, x1), gl.join(x2, x3))
    return gl.permute(pairs, (3, 2, 0, 1)).reshape([4, x0.shape[0], x0.shape[1]])


@gluon.jit
def stream(x, x_d, x_l, channel, now, t, stop, live):
    """One block of a stream, (BLOCK, channels), as it lies in memory; zero from `stop` on."""
    at = (now + t).to(gl.int64)[:, None]
    return gl.load(x + channel[None, :] * x_d + at * x_l, mask=(now + t < stop)[:, None] & live, other=0.0)


@gluon.jit
def reciprocal(x):
    """1 / x to one unit in the last place: one instruction, where a division takes five."""
    return gl.inline_asm_elementwise(
        "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=gl.float32, is_pure=True, pack=1
    )


@gluon.jit
def sigmoid(x):
    """σ(x) = 1 / (1 + e^−x)."""
    return reciprocal(1.0 + gl.exp2(x * -LOG2_E))
