"""What is launched for a call of a given shape: a few configurations, chosen by rule, never by trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

PROCESSORS = 132
"""Multiprocessors of an H100: the rules below were measured there; elsewhere they are still right."""


CUT_BELOW = 400
"""Warps of sixteen channels below which the forward pass cuts time."""


def power_of_two(x: int) -> int:
    """The smallest power of two at or above x."""
    power = 1
    while power < x:  # x may be a symbolic size under torch.compile
        power *= 2
    return power


@dataclass(frozen=True)
class Shape:
    """The sizes of one call.

    Attributes
    ----------
    batch, dim, length, n
        b, d, l, n.
    groups_B, groups_C
        Groups of B and C; 0 if constant in time.
    rows
        Independent sequences: b, or the number of packed ones.
    """

    batch: int
    dim: int
    length: int
    n: int
    groups_B: int
    groups_C: int
    rows: int

    @property
    def cell(self) -> int:
        """The largest run of channels that always share their group of B and of C."""
        return gcd(self.dim // max(self.groups_B, 1), self.dim // max(self.groups_C, 1))

    @property
    def padded(self) -> int:
        """N, the state padded to a power of two of at least 4: eight channels then fill a warp."""
        return max(power_of_two(self.n), 4)


@dataclass(frozen=True)
class ForwardPlan:
    """Tile of the forward kernel: T steps, DT channels, time cut into segments."""

    T: int
    DT: int
    segments: int
    segment: int


@dataclass(frozen=True)
class BackwardPlan:
    """Tile of the backward kernel: T steps, R·W·L channels, K·M states.

    There is one saved state in `save` steps; a program takes `each` tiles.
    """

    T: int
    K: int
    R: int
    W: int
    M: int
    L: int
    save: int
    segments: int
    segment: int
    each: int = 1

    @property
    def DT(self) -> int:  # noqa: N802 -- the name of the kernel's constant
        """Channels of a program."""
        return self.R * self.W * self.L

    @property
    def N(self) -> int:  # noqa: N802 -- the same
        """States, padded."""
        return self.K * self.M


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


@dataclass(frozen=True)
class ForwardFew:
    """What the forward kernel in Gluon for few warps is launched with: W warps and 4 W channels a program."""

    W: int = 4

    @property
    def DT(self) -> int:  # noqa: N802 -- the name of the kernel's constant
        """Channels of a program."""
        return 4 * self.W


@dataclass(frozen=True)
class LanesPlan:
    """What the backward kernel in Gluon is launched with.

    N states, padded; W warps a program; time cut into segments, which wait for one another if `chained`; one
    saved state in `save` steps. The slices of dB and dC serve the channels of `each` programs, which add to
    them in turn.
    """

    N: int
    W: int
    segments: int
    segment: int
    save: int = 32
    each: int = 1
    chained: bool = False

    @property
    def DT(self) -> int:  # noqa: N802 -- the name of the kernel's constant
        """Channels of a program: four states of two channels a lane."""
        return 256 * self.W // self.N


def forward_plan(shape: Shape, complex_: bool = False, lean: bool = False) -> ForwardPlan:
    """At most 128 numbers of a tile a lane; time is cut where b·d leaves multiprocessors idle.

    At n = 16 a warp takes sixteen channels, and eight steps (three warps a scheduler, 162 registers).
    It takes sixteen steps where all warps are resident at two a scheduler (251 registers) and the
    streams are `lean`: 16-bit numbers, contiguous in time. Wider ones would spill: four times as slow.
    """
    N = shape.padded
    wide = 8 if complex_ or N > 16 else 16
    DT = max(32 // N, min(wide if N <= 64 else 4, power_of_two(shape.cell)), 1)
    warps = shape.rows * shape.dim // DT
    T = 16 if lean and N <= 16 and CUT_BELOW <= warps <= 8 * PROCESSORS else 8
    T = max(min(T, (32 if complex_ else 128 if N <= 16 else 64) * 32 // (N * DT)), 1)
    segments = 1
    if not complex_ and 0 < warps < CUT_BELOW:
        segments = min(power_of_two(-(-1024 // warps)), max(shape.length // 128, 1), 64)
    return ForwardPlan(T, DT, *_cut(shape.length, segments))


def _cut(length: int, segments: int) -> tuple[int, int]:
    """Number and length of segments: whole blocks of 64 steps, none empty."""
    segment = max(-(-length // (segments * 64)) * 64, 64)
    return max(-(-length // segment), 1), segment


def saved_every(n: int) -> int:
    """Steps from one saved state to the next: the more states, the rarer."""
    return max(32, power_of_two(n))


def backward_plan(shape: Shape, complex_: bool = False) -> BackwardPlan:
    """At most eight states a lane; eight channels a warp at n = 16; four warps a program.

    Where two waves of programs remain, one takes several tiles: the slices of dB and dC, which hold
    b·n·l numbers each, stay few. (With one wave left it costs a tenth of the time.)
    """
    N = shape.padded
    M = max(4, N // 8) if N > 16 else 4
    K = N // M
    L = 32 // M
    W = max(min(4, power_of_two(-(-shape.cell // L))), 1)
    save = saved_every(shape.n)
    per_cell = -(-shape.cell // (W * L))
    programs = per_cell * (shape.dim // max(shape.cell, 1)) * shape.rows
    if complex_:
        return BackwardPlan(4, K, 1, W, M, L, save, 1, max(-(-shape.length // save) * save, save))
    full = 4 * PROCESSORS
    each = max((e for e in range(1, 17) if per_cell % e == 0 and programs // e >= full), default=1)
    segments = 1
    if 0 < programs < 200:
        segments = min(power_of_two(-(-512 // programs)), max(shape.length // 256, 1), 64)
    segments, segment = _cut(shape.length, segments)
    segment = -(-segment // save) * save
    return BackwardPlan(8, K, 1, W, M, L, save, max(-(-shape.length // segment), 1), segment, each)


LANES_CUT_BELOW = 192
"""Warps of eight states a lane below which the forward pass in Gluon cuts time, at most 16 states.

At n = 16, 2048 steps uncut take some 90 µs with up to 400 of them; cut, 64 with 128 and 115 with 256.
"""
LANES_WARPS = 8 * PROCESSORS
"""Warps that an H100 holds at once where each takes all the registers it may."""


def forward_lanes_plan(
    shape: Shape, lean: bool, along_time: bool = False, save: int = 0
) -> ForwardLanes | ForwardFew:
    """Few states a lane where there are few warps, and time cut where they are very few.

    Counted are warps of eight states a lane. `along_time`: the streams are contiguous in time, which the
    kernel for few warps needs; `lean`: besides they are of 16 bits. One state in `save` steps is saved (0:
    none).
    """
    N = max(shape.padded, 16)
    warps = max(shape.rows * shape.dim * N // 256, 1)
    if N == 16 and along_time and _few(shape.length, warps, lean, save):
        return ForwardFew()
    if warps < (LANES_CUT_BELOW if N == 16 else CUT_BELOW):
        return _cut_lanes(shape, N, warps, lean, along_time, save)
    if N == 16:
        K, W = _lanes(warps, lean, along_time, save)
        return ForwardLanes(N, K, 1, W)
    if warps > 3 * LANES_WARPS // 2:
        return ForwardLanes(N, 8, 2, N // (16 if save else 8))
    return ForwardLanes(N, 8, 1, N // 8)


def _few(length: int, warps: int, lean: bool, save: int) -> bool:
    """Whether two states a lane and time in one piece are fastest.

    Where time would be cut, they are up to a length that was measured (w from 4 to 176): in one piece the
    time grows with the length alone, cut it grows with w too, but has room for more segments the smaller w.

    Else a step takes 24, 38, 52, 67 or 85 ns with one to five warps of two states a lane on a scheduler; and
    with half as many of four states a lane 63 with two, 88 with three. So two against four is lost, three
    against five won, unless states are saved or streams are wide.
    """
    if warps < LANES_CUT_BELOW:
        return length <= max(384, warps * warps // (12 if save else 4))
    each = -(-warps // PROCESSORS)
    return each <= 3 or (each == 5 and lean and not save)


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
    segment = (_chain if chained else _even)(shape.length, programs, W, save)
    segments = max(-(-shape.length // segment), 1)
    channels = 4 * N if N > 16 or (not chained and _many_short(segments, segment)) else 2 * N
    each = max(min(channels // plan.DT, per_cell), 1)
    return LanesPlan(N, W, segments, segment, save, each, chained and segments > 1)


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


@lru_cache(maxsize=256)
def _even(length: int, programs: int, W: int, save: int) -> int:
    """Length of segments that give every place a program; the last segment may be shorter.

    The short ones go where whole ones leave places, one after another. Where a program of two warps ends as
    the only short one of four on a multiprocessor, an H100 was seen to put none there before a long one ends:
    two rounds of them came in time, three did not. The messages, of all segments but the first, take a fifth
    of the work.
    """
    places = LANES_WARPS // W

    def steps(segment: int) -> float:
        whole, rest = divmod(length, segment)
        if not rest:
            return _waves(programs * whole, places) * segment
        full, left = divmod(programs * whole, places)
        rounds = -(-programs // (places - left))
        beside = segment + rest if W == 2 and rounds > 2 else max(segment if left else 0, rounds * rest)
        return full * segment + beside

    def time(segment: int) -> float:
        segments = -(-length // segment)
        messages = 0.2 * programs * (length - segment) / places
        shared = SHARED if _many_short(segments, segment) else 1.0
        return steps(segment) * shared + messages + 0.002 * length * segments

    return _fastest(time, length, min(length // 128, 64), CUT_ABOVE, save)


@lru_cache(maxsize=256)
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


def step_states(states: int, float32: bool) -> int:
    """States of a program of the step: four a lane, or sixteen where programs are many.

    At d = 5120, n = 16 on an H100, batch 1, 64, 256: four 1.9, 16.2, 69.5 µs; sixteen 2.1, 10.5, 62.4. Of
    float64 and of complex numbers sixteen leave the registers.
    """
    return 2048 if float32 and states >= 2**19 else 512
