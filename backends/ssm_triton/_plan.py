"""What is launched for a call of a given shape: a few configurations, chosen by rule, never by trial."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

PROCESSORS = 132
"""Multiprocessors of an H100: the rules below were measured there; elsewhere they are still right."""


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
    registers: int | None = None


@dataclass(frozen=True)
class BackwardPlan:
    """Tile of the backward kernel: T steps, R·W·L channels, K·M states, one saved state in `save` steps."""

    T: int
    K: int
    R: int
    W: int
    M: int
    L: int
    save: int
    segments: int
    segment: int
    registers: int | None = None

    @property
    def DT(self) -> int:  # noqa: N802 -- the name of the kernel's constant
        """Channels of a program."""
        return self.R * self.W * self.L


def forward_plan(shape: Shape, complex_: bool = False) -> ForwardPlan:
    """Sixteen steps of sixteen channels a warp at n = 16: 128 states a lane, all in registers."""
    N = shape.padded
    DT = max(32 // N, min(16, power_of_two(shape.cell)), 1)
    if complex_ or N > 16:
        DT = max(32 // N, min(8, DT))
    T = max(min(16, (32 if complex_ else 128) * 32 // (N * DT)), 1)
    segment = -(-shape.length // T) * T
    return ForwardPlan(T, DT, 1, max(segment, T))


def saved_every(n: int) -> int:
    """Steps from one saved state to the next: the more states, the rarer."""
    return max(32, power_of_two(n))


def backward_plan(shape: Shape, complex_: bool = False) -> BackwardPlan:
    """K states a lane, at most 8; eight channels of a warp at n = 16; four warps."""
    N = shape.padded
    M = max(4, N // 8) if N > 16 else 4
    K = N // M
    L = 32 // M
    W = max(min(4, power_of_two(-(-shape.cell // L))), 1)
    T = 4 if complex_ else 8
    save = saved_every(shape.n)
    segment = max(-(-shape.length // save) * save, save)
    return BackwardPlan(T, K, 1, W, M, L, save, 1, segment)
