"""What the kernels in Gluon are launched with: a few configurations, chosen by rule, never by trial."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from ssm_triton._plan import CUT_BELOW, KEPT, PROCESSORS, Shape, saved_every


@dataclass(frozen=True)
class ForwardLanes:
    """What the forward kernel in Gluon is launched with.

    N states, padded; K states of R channels a lane; W warps a program; time cut into segments. `first` is
    the tiling of the first pass over segments, where it is another.
    """

    N: int
    K: int
    R: int
    W: int
    segments: int = 1
    segment: int = 1 << 30
    first: ForwardLanes | None = None

    @property
    def DT(self) -> int:  # noqa: N802 -- the name of the kernel's constant
        """Channels of a program."""
        return 32 * self.K * self.R * self.W // self.N

    def registers(self, local: bool) -> int | None:
        """Of a lane, at most, for streams of 16 bits without states of their own; `local`: in a first pass.

        Three warps of eight states fit a scheduler, and four of four. Of its own accord the assembler takes
        as many from Triton 3.6, and a quarter less from later versions, which order the same instructions a
        little differently: more of them then wait for the one before.
        """
        if self.N > 16:
            return None
        return {8: 128, 4: 72}.get(self.K) if local else {8: 168, 4: 128}.get(self.K)


@dataclass(frozen=True)
class ForwardFew:
    """What the forward kernel in Gluon for few warps is launched with: W warps a program, K states a lane."""

    W: int
    K: int = 2

    @property
    def DT(self) -> int:  # noqa: N802 -- the name of the kernel's constant
        """Channels of a program, of 16 states."""
        return 2 * self.K * self.W

    @property
    def registers(self) -> int | None:
        """Of a lane, at most, where sequences are packed: three warps of two states fit a scheduler."""
        return 168 if self.K == 2 else None


@dataclass(frozen=True)
class LanesPlan:
    """What the backward kernel in Gluon is launched with.

    N states, padded; W warps a program; time cut into segments, which wait for one another if `chained`; one
    saved state in `save` steps. The slices of dB and dC serve the channels of `each` programs, which add to
    them in turn. A lane has four states of R channels.
    """

    N: int
    W: int
    segments: int
    segment: int
    save: int = 32
    each: int = 1
    chained: bool = False
    R: int = 2

    @property
    def DT(self) -> int:  # noqa: N802 -- the name of the kernel's constant
        """Channels of a program."""
        return 128 * self.R * self.W // self.N

    @property
    def registers(self) -> int | None:
        """Of a lane, at most: of one channel three warps fit a scheduler, of two, which need all, two."""
        return 168 if self.R == 1 else None


LANES_CUT_BELOW = 192
"""Warps of eight states a lane below which the forward pass in Gluon cuts time, at most 16 states.

At n = 16, 2048 steps uncut take some 90 µs with up to 400 of them; cut, 64 with 128 and 115 with 256.
"""
LANES_WARPS = 8 * PROCESSORS
"""Warps that an H100 holds at once where each takes all the registers it may."""


@lru_cache(maxsize=KEPT)
def forward_lanes_plan(
    shape: Shape,
    lean: bool,
    along_time: bool = False,
    save: int = 0,
    packed: bool = False,
    own_states: bool = False,
) -> ForwardLanes | ForwardFew:
    """Few states a lane where there are few warps, and time cut where they are very few.

    Counted are warps of eight states a lane. `along_time`: the streams are contiguous in time, which the
    kernel for few warps needs; `lean`: besides they are of 16 bits. One state in `save` steps is saved (0:
    none). `packed`: several sequences lie in a row of time; `own_states`: they have first or last states of
    their own, which that kernel lacks.
    """
    N = max(shape.padded, 16)
    warps = max(shape.rows * shape.dim * N // 256, 1)
    few = _few(shape, warps, lean, save, packed) if N == 16 and along_time and not own_states else None
    if few:
        return few
    if warps < (LANES_CUT_BELOW if N == 16 else CUT_BELOW):
        return _cut_lanes(shape, N, warps, lean, along_time, save)
    if N == 16:
        K, W = _lanes(warps, lean, along_time, save)
        return ForwardLanes(N, K, 1, W)
    if warps > 3 * LANES_WARPS // 2:
        return ForwardLanes(N, 8, 2, N // (16 if save else 8))
    return ForwardLanes(N, 8, 1, N // 8)


def _few(shape: Shape, warps: int, lean: bool, save: int, packed: bool) -> ForwardFew | None:
    """Two states a lane, or four, and time in one piece, where that is fastest.

    Where time would be cut, a step takes 20, 22 or 33 ns with up to 2, 4 or 6 warps of two states on
    a multiprocessor. Cut, it takes 1 ns and 0.19 more for each of `warps`, and 11 µs come on top.

    Else it takes 34, 52, 70 or 84 ns with two, three, four or five of them on a scheduler. Two of four states
    take 57 where streams are of 16 bits. In the other kernel two or three of four states take 63 or 89.
    Where sequences are packed five of two states take longer than that, and so do two of four that save some.
    """
    if warps < LANES_CUT_BELOW:
        pairs, fours = 2 * -(-2 * warps // PROCESSORS), 4 * -(-warps // PROCESSORS)
        step = {2: 20, 4: 22}.get(min(pairs, fours), 33)
        within = shape.length * (step - 1 - 0.19 * warps) <= 11_000
        return ForwardFew(2 if pairs < fours else 4) if within else None
    each = -(-warps // PROCESSORS)
    if lean and each == 4 and not (packed and save):
        return ForwardFew(2, K=4)
    return ForwardFew(4) if each in (1, 2, 3) or (each == 5 and not packed) else None


def _lanes(warps: int, lean: bool, along_time: bool, save: int) -> tuple[int, int]:
    """States a lane, and warps a program, for up to 16 states.

    A scheduler has whole warps. Two of eight states pay, and so do more where four states a lane would give
    it an even number too: of an odd one half a warp of eight is left over. Saved, eight states make a warp
    wait; of four it has others to run meanwhile. Streams of 32 bits, of which four states keep less in
    registers, go so from five warps on; those that lie across time do not.
    """
    each = -(-2 * warps // (4 * PROCESSORS))  # warps of four states on a scheduler
    if not along_time:
        return (4, 4) if each <= 3 else (8, 2)
    if lean:
        return (4, 4) if save or each <= 3 or each % 2 else (8, 4)
    if each == 4:
        return 8, 2
    return 4, 2 if each <= 3 or save else 4


def _cut_lanes(shape: Shape, N: int, warps: int, lean: bool, along_time: bool, save: int) -> ForwardLanes:
    """Segments of 256 steps, or up to four of 128: two waves of three warps a scheduler, if time allows.

    If it does not, lanes of fewer states make more warps; the first pass needs the fewest registers.
    """
    most = max(shape.length // 256, min(shape.length // 128, 4), 1)
    segments = min(3 * LANES_WARPS // warps, most, 64)
    segment = max(-(-shape.length // (segments * 32)) * 32, 32)
    segments = max(-(-shape.length // segment), 1)
    if N > 16:
        return ForwardLanes(N, 8, 1, N // 8, segments, segment)
    if warps * segments > 2 * LANES_WARPS:
        K, W = _lanes(warps * segments, lean, along_time, save)
        return ForwardLanes(N, K, 1, W, segments, segment)
    K, W = _lanes(0, lean, along_time, save)
    return ForwardLanes(N, K, 1, W, segments, segment, first=ForwardLanes(N, 2, 1, 4))


@lru_cache(maxsize=KEPT)
def lanes_plan(shape: Shape) -> LanesPlan:
    """Two warps and 512 / N channels a program; with more than 32 states four warps.

    A slice of dB and dC serves 2 N channels, or 4 N, so that all slices take no more than two 16-bit streams
    or one: more than 16 states, or many short segments that know of each other beforehand, need memory
    elsewhere.
    """
    N, save = max(shape.padded, 16), saved_every(shape.n)
    W = 4 if N > 32 and shape.cell > 512 // N else 2
    plan = LanesPlan(N, W, 1, save, save)
    per_cell = -(-shape.cell // plan.DT)
    programs = per_cell * (shape.dim // max(shape.cell, 1)) * shape.rows
    places = LANES_WARPS // W
    chained = programs >= places
    if chained:
        segment = _chain(shape.length, programs, W, save)
    else:
        segment, time = _even(shape.length, programs, W, save)
        alone, time_alone = _alone(shape.length, programs, save)
        if N == 16 and time_alone < time:
            segment, plan = alone, LanesPlan(N, 4, 1, save, save, R=1)
    segments = max(-(-shape.length // segment), 1)
    channels = 4 * N if N > 16 or (not chained and _many_short(segments, segment)) else 2 * N
    each = max(min(channels // plan.DT, -(-shape.cell // plan.DT)), 1)
    return replace(plan, segments=segments, segment=segment, each=each, chained=chained and segments > 1)


CUT_ABOVE = 0.9
"""Time of a backward pass cut by messages, of the uncut one's, above which it is not cut.

The estimate leaves something out: a promise of 0.81 took 0.86.
"""
CHAINED_ABOVE = 0.97
"""The same of a chain of segments, whose estimate is within 4% of what was measured."""
START = 12
"""Steps that a program could take in the time that it needs to start and to wait for its last stores."""
SHARED = 1.04
"""Time of a pass where two programs share a slice, of one where they do not."""


def _waves(programs: int, places: int) -> float:
    """How many times as long as one full wave of programs so many take, of which `places` run at once.

    What is left over takes 0.7 of a wave, and up to all of one the fuller it is.
    """
    full, rest = divmod(programs, places)
    return full + (0.7 + 0.3 * rest / places if rest else 0.0)


def _many_short(segments: int, segment: int) -> bool:
    """Whether segments take so much memory that slices should take less."""
    return segments > 4 and segment < 2048


def _messages(length: int, programs: int, segment: int, W: int) -> float:
    """Time of the messages, of all segments but the first: a fifth of the work."""
    later = max(length - segment, 0)
    return 0.2 * programs * later / (LANES_WARPS // W) + 0.002 * length * -(-length // segment)


@lru_cache(maxsize=KEPT)
def _even(length: int, programs: int, W: int, save: int) -> tuple[int, float]:
    """Length of segments that give every place a program, and their time; the last segment may be shorter.

    The short ones go where whole ones leave places, one after another. Where a program of two warps ends as
    the only short one of four on a multiprocessor, an H100 was seen to put none there before a long one ends:
    beside three long ones there is time for one, beside two for two rounds of two.
    """
    places = LANES_WARPS // W

    def steps(segment: int) -> float:
        if segment >= length:
            return _waves(programs, places) * length
        whole, rest = divmod(length, segment)
        if not rest:
            return _waves(programs * whole, places) * segment
        full, left = divmod(programs * whole, places)
        rounds = -(-programs // (places - left))
        three = max(left - 2 * PROCESSORS, 0)
        crowded = rounds > 2 or programs > three + 4 * (PROCESSORS - three)
        beside = segment + rest if W == 2 and crowded else max(segment if left else 0, rounds * rest)
        return full * segment + beside

    def time(segment: int) -> float:
        shared = SHARED if _many_short(-(-length // segment), segment) else 1.0
        return steps(segment) * shared + _messages(length, programs, segment, W)

    segment = _fastest(time, length, min(length // 128, 64), CUT_ABOVE, save)
    return segment, time(segment)


def _alone(length: int, programs: int, save: int) -> tuple[int, float]:
    """Length of segments, and their time, for lanes of one channel; `programs` of 32 channels.

    Three such programs of four warps fit a multiprocessor and give every scheduler three warps, in 0.86 of
    the time of four of two channels a lane, two warps each. Of those three take as long as four: their warps
    meet two by two on half of the schedulers.
    """
    segments = max(min(3 * PROCESSORS // max(programs, 1), length // 128), 1)
    segment = max(-(-length // (segments * save)) * save, save)
    segments = max(-(-length // segment), 1)
    if not 2 * PROCESSORS < programs * segments <= 3 * PROCESSORS:
        return segment, math.inf
    shared = SHARED if _many_short(segments, segment) else 1.0
    return segment, 0.86 * min(segment, length) * shared + _messages(length, programs, segment, 2)


@lru_cache(maxsize=KEPT)
def _chain(length: int, programs: int, W: int, save: int) -> int:
    """Length of segments, chained, that even out the waves of programs: the last is a short one.

    Where there are more programs than places, the program that one waits for has ended before it starts.
    """

    def time(segment: int) -> float:
        return _waves(programs * -(-length // segment), LANES_WARPS // W) * (segment + START)

    return _fastest(time, length, min(length // 128, 8), CHAINED_ABOVE, save)


def _fastest(time: Callable[[int], float], length: int, most: int, above: float, save: int) -> int:
    """The length of the fastest segments, whole blocks, `most` at most; of one, unless that gains enough."""
    whole = max(-(-length // save) * save, save)
    fewest = -(-length // (max(most, 1) * save)) * save
    best = min(range(max(fewest, save), whole + 1, save), key=time)
    return best if time(best) <= above * time(whole) else whole
