"""What is launched for a call of a given shape: a few configurations, chosen by rule, never by trial."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

PROCESSORS = 132
"""Multiprocessors of an H100: the rules below were measured there; elsewhere they are still right."""
KEPT = 256
"""Plans that are remembered: to think of one takes as long as half a launch."""
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


@lru_cache(maxsize=KEPT)
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


@lru_cache(maxsize=KEPT)
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


def step_states(states: int, float32: bool) -> int:
    """States of a program of the step: four a lane, or sixteen where programs are many.

    At d = 5120, n = 16 on an H100, batch 1, 64, 256: four 1.9, 16.2, 69.5 µs; sixteen 2.1, 10.5, 62.4. Of
    float64 and of complex numbers sixteen leave the registers.
    """
    return 2048 if float32 and states >= 2**19 else 512
