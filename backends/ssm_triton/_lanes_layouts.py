"""What the kernels in Gluon share: named layouts, loads, and functions of one instruction.

A lane holds a few states of one or two channels. The states of a channel lie in few lanes, the channels
in the other lanes and in the warps: sums over the state are short, and so is what B and C cost to spread.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.runtime.jit import constexpr_function

from ssm_triton._math import LOG2_E, log1p_ratio

T: gl.constexpr = gl.constexpr(4)
"""Steps of a tile: the backward pass keeps the decay and the past of each state and step in registers."""
BLOCK: gl.constexpr = gl.constexpr(32)
"""Steps of a block: there is one saved state for each, or for two."""

_NAMED = gl.constexpr(hasattr(gl.shared_memory_descriptor, "reinterpret"))
_BARRIER = gl.constexpr(hasattr(gl, "barrier"))


@constexpr_function
def powers(x: int) -> list[int]:
    """1, 2, 4, …, below x."""
    return [1 << k for k in range(x.bit_length() - 1)]


@constexpr_function
def lanes_over(N, states, channels, otherwise):
    """Bases of the lanes. At most 16 states: one bit of the channels, all of the states, the other channels.

    What is read of a channel, or of a state, is then the same for lanes beside each other or for the next
    but one. Shared memory serves two quarters of such a warp at once where a read has 16 bytes, both halves
    where it has 8. With more states their rows would meet the same banks.
    """
    return channels[:1] + states + channels[1:] if N <= 16 else otherwise


@constexpr_function
def lanes_of_fours(N, state, channel):
    """The lanes of `fours`, given the bases of four states and of a channel."""
    states = [[x * y for y in state] for x in powers(N // 4)]
    channels = [[x * y for y in channel] for x in powers(128 // N)]
    return lanes_over(N, states, channels, states + channels)


@constexpr_function
def fours(N, R, W):
    """(N, channels): four states of a lane, of one channel in each R-th part."""
    registers = [[1, 0], [2, 0]] + [[0, 128 // N * W * x] for x in powers(R)]
    warps = [[0, 128 // N * x] for x in powers(W)]
    lanes = lanes_of_fours(N, [4, 0], [0, 1])
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [N, 128 // N * R * W])


@constexpr_function
def in_registers(N, T, W):
    """(T, N, channels): the same of one part, with the steps in registers, slowest."""
    registers = [[0, 1, 0], [0, 2, 0]] + [[x, 0, 0] for x in powers(T)]
    lanes = lanes_of_fours(N, [0, 4, 0], [0, 0, 1])
    warps = [[0, 0, 128 // N * x] for x in powers(W)]
    return gl.DistributedLinearLayout(registers, lanes, warps, [], [T, N, W * 128 // N])


@constexpr_function
def turned(N, T, W):
    """(T, N, channels): two or four states of a lane; the lanes lie over steps and states, then channels."""
    across = min(T, W)
    steps = T // across
    own = 2 if steps * N <= 64 else 4
    groups = N // own
    lanes = [steps, groups, 32 // (steps * groups)]
    return gl.BlockedLayout([1, own, 1], lanes, [across, 1, W // across], [1, 2, 0])


@constexpr_function
def streams(DT, BLOCK, W, TIME):
    """(BLOCK, channels): up to eight steps of a lane where time is contiguous, else four channels."""
    if TIME:
        own = min(8, DT // W)
        return gl.BlockedLayout([own, 1], [BLOCK // own, 32 * own // BLOCK], [1, W], [0, 1])
    return gl.BlockedLayout([1, 4], [128 // DT, DT // 4], [W, 1], [1, 0])


@constexpr_function
def projections(N, W, TIME):
    """(BLOCK, N), of B and C: four steps of a lane where time is contiguous, else four states."""
    if TIME:
        return gl.BlockedLayout([4, 1], [8, 4], [1, W], [0, 1])
    return gl.BlockedLayout([1, 4], [128 // N, N // 4], [W, 1], [1, 0])


@constexpr_function
def rows(size, pad, count):
    """Shared memory (count, size), `pad` numbers more after every four rows; a single row if count is 0."""
    shape, order = ([count, size], [1, 0]) if count else ([size], [0])
    if not pad:
        return gl.SwizzledSharedLayout(1, 1, 1, order)
    return gl.PaddedSharedLayout.with_identity_for([[4 * size, pad]], shape, order)


@gluon.jit
def seen_as(memory, shape: gl.constexpr, layout: gl.constexpr):
    """The same float32 shared memory under another shape and layout. (Triton 3.6 hides the method's name.)"""
    if _NAMED:
        view = memory.reinterpret(gl.float32, shape, layout)
    else:
        view = memory._reinterpret(gl.float32, shape, layout)
    return view


@gluon.jit
def all_stored():
    """Wait until every warp has stored what it had to.

    Before a loop that reads: the compiler would put its own barrier inside of it, at every turn.
    """
    if _BARRIER:
        gl.barrier()
    else:
        gl.thread_barrier()


@gluon.jit
def stacked(xs):
    """2^k of (rows, channels) as (2^k, rows, channels), without a move."""
    if len(xs) == 1:
        whole = xs[0].reshape([1, xs[0].shape[0], xs[0].shape[1]])
    else:
        HALF: gl.constexpr = len(xs) // 2
        early, late = (), ()
        for v in gl.static_range(HALF):
            early += (xs[v],)
            late += (xs[v + HALF],)
        both = gl.join(stacked(early), stacked(late)).permute((3, 0, 1, 2))
        whole = both.reshape([2 * HALF, both.shape[2], both.shape[3]])
    return whole


@gluon.jit
def stream(x, x_d, x_l, channel, now, t, stop, live):
    """One block of a stream, (BLOCK, channels), as it lies in memory; zero from `stop` on."""
    at = (now + t).to(gl.int64)[:, None]
    return gl.load(x + channel[None, :] * x_d + at * x_l, mask=(now + t < stop)[:, None] & live, other=0.0)


@gluon.jit
def halves(x):
    """(rows, channels) to two of (rows, channels / 2), without a move."""
    return gl.split(x.reshape([x.shape[0], 2, x.shape[1] // 2]).permute((0, 2, 1)))


@gluon.jit
def over_channels(x, R: gl.constexpr):
    """(N, channels) to (N, channels / R): sums of the R channels of a lane."""
    if R == 2:
        a, b = halves(x)
        x = a + b
    return x


@gluon.jit
def exchanged(a, b, BIT: gl.constexpr, LANE: gl.constexpr):
    """Of two tensors (lanes of states, ...), sums across `BIT`: of b where the bit is set, else of a.

    `LANE` is that bit in the number of a lane. Along the first axis of the result the bit no longer counts
    lanes of states: it tells a from b.
    """
    rank: gl.constexpr = gl.SliceLayout(1, a.type.layout)
    late = ((gl.arange(0, a.shape[0], rank) & BIT) != 0)[:, None]
    own = gl.where(late, b, a)
    other = gl.where(late, a, b)
    got = gl.inline_asm_elementwise(
        "shfl.sync.bfly.b32 $0, $1, $2, 31, -1;", "=f,f,r", [other, LANE],
        dtype=gl.float32, is_pure=True, pack=1,
    )  # fmt: skip
    return own + got


@gluon.jit
def terms(x):
    """(rows, channels, 2^k) to 2^k of (rows, channels), without a move."""
    if x.shape[2] == 1:
        each = (x.reshape([x.shape[0], x.shape[1]]),)
    else:
        early, late = gl.split(x.reshape([x.shape[0], x.shape[1], 2, x.shape[2] // 2]).permute((0, 1, 3, 2)))
        each = terms(early) + terms(late)
    return each


@gluon.jit
def in_turn(x):
    """(rows, channels, K) to (rows, channels): sums of what a lane holds, one term after another.

    If they are products, each but the first is one multiply-add. What `gl.sum` makes of them differs: later
    versions of Triton add pairs.
    """
    each = terms(x)
    total = each[0]
    for k in gl.static_range(1, len(each)):
        total += each[k]
    return total


@gluon.jit
def over_states(x):
    """(N, channels) to (lanes of states, channels): sums of four."""
    return in_turn(x.reshape([x.shape[0] // 4, 4, x.shape[1]]).permute((0, 2, 1)))


@gluon.jit
def sums_of_steps(x0, x1, x2, x3, R: gl.constexpr):
    """Four of (lanes of states, channels) to (T, channels): the sums over the lanes.

    Every exchange halves what a lane holds, first by channels if it has two, then by steps.
    """
    G: gl.constexpr = x0.shape[0]
    DT: gl.constexpr = x0.shape[1]
    FIRST: gl.constexpr = 2 if G == 4 else 1  # as `lanes_over` lays them
    if R == 1:
        gl.static_assert(G == 4)
        both = exchanged(exchanged(x0, x1, 1, FIRST), exchanged(x2, x3, 1, FIRST), 2, 2 * FIRST)
    else:
        a0, b0 = halves(x0)
        a1, b1 = halves(x1)
        a2, b2 = halves(x2)
        a3, b3 = halves(x3)
        early = exchanged(exchanged(a0, b0, 1, FIRST), exchanged(a1, b1, 1, FIRST), 2, 2 * FIRST)
        late = exchanged(exchanged(a2, b2, 1, FIRST), exchanged(a3, b3, 1, FIRST), 2, 2 * FIRST)
        if G == 4:
            steps = gl.join(early.reshape([2, DT]), late.reshape([2, DT]))
            both = steps.permute((2, 0, 1)).reshape([4, DT])
        else:
            both = gl.sum(exchanged(early, late, 4, 4).reshape([G // 8, 4, DT]), 0)
    return both


@gluon.jit
def widened(x):
    """x in float32. Two numbers of bfloat16 lie in one register: each takes one instruction."""
    if x.dtype == gl.bfloat16:
        bits = gl.inline_asm_elementwise(
            "shl.b32 $0, $2, 16; and.b32 $1, $2, 0xffff0000;", "=r,=r,r", [x],
            dtype=gl.int32, is_pure=True, pack=2,
        )  # fmt: skip
        wide = bits.to(gl.float32, bitcast=True)
    else:
        wide = x.to(gl.float32)
    return wide


@gluon.jit
def awaited(turn):
    """The number at `turn`, and with it what its writer stored before."""
    return gl.inline_asm_elementwise(
        "ld.acquire.gpu.global.b32 $0, [$1];", "=r,l", [turn], dtype=gl.int32, is_pure=False, pack=1
    )


@gluon.jit
def handed_on(turn, value):
    """Write `value` at `turn`, after all that the program stored before."""
    gl.inline_asm_elementwise(
        """{
        .reg .pred first; .reg .b32 thread;
        bar.sync 0;
        mov.u32 thread, %tid.x;
        setp.eq.b32 first, thread, 0;
        @first st.release.gpu.global.b32 [$1], $2;
        mov.b32 $0, $2;
        }""",
        "=r,l,r", [turn, value], dtype=gl.int32, is_pure=False, pack=1,
    )  # fmt: skip


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


@gluon.jit
def softplus_and_slope(x):
    """log(1 + e^x) as in `_math`, and its derivative σ(x), which share e^−|x|."""
    w = gl.exp2(gl.abs(x) * -LOG2_E)
    return gl.maximum(x, 0.0) + w * log1p_ratio(w), gl.where(x >= 0.0, 1.0, w) * reciprocal(1.0 + w)
