"""One chunk of time, loaded into the compute type and discretised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.recurrence import Products, Resets, in_lanes
from ssm_torch.functions import exponentiated, held_values, softplus


@dataclass(frozen=True)
class Streams:
    """What a chunk reads, in time: all (b, d, t), real, in the compute type.

    Attributes
    ----------
    raw, step
        delta + delta_bias, and Δ.
    u
    """

    raw: Tensor
    step: Tensor
    u: Tensor


@dataclass(frozen=True)
class Terms:
    """What the recurrence of a chunk, or of a block of it, needs, in the chunk's order.

    Attributes
    ----------
    step : (t, b, g, 1, p) real
        Δ.
    entry : (t, b, g, 1, p) real
        What B carries into the state: Δ u, or u where b̄ = expm1(ΔA)/A B.
    B, C : (t, b, g, n, 1), or (g, n, p) if constant
    modes : (g, n, p)
        A.
    zoh
        Whether b̄ = expm1(ΔA)/A B, else ΔB.
    hold : (t, b, g, n, p)
        That expm1(ΔA)/A, of a block; None for a chunk, and where b̄ = ΔB.
    resets
        None if the call has no `seq_idx`.
    """

    step: Tensor
    entry: Tensor
    B: Tensor
    C: Tensor
    modes: Tensor
    zoh: bool
    hold: Tensor | None
    resets: Resets | None

    def block(self, rows: slice) -> Terms:
        """A block."""
        part = self.part(rows)
        return replace(part, hold=held_values(part.step, self.modes)) if self.zoh else part

    def part(self, rows: slice) -> Terms:
        """A part of what is there."""
        return replace(
            self,
            step=self.step[rows],
            entry=self.entry[rows],
            B=self.B if self.B.ndim == 3 else self.B[rows],
            C=self.C if self.C.ndim == 3 else self.C[rows],
            hold=None if self.hold is None else self.hold[rows],
            resets=None if self.resets is None else Resets(self.resets.mask[rows]),
        )

    def pieces(self, lanes: int, piece: int) -> Iterator[tuple[range, slice, Terms]]:
        """A block in lanes cut into pieces of so many steps: those, and where they lie, and their terms."""
        length = len(self.step) // lanes
        for start in range(0, length, piece):
            steps = range(start, min(start + piece, length))
            rows = slice(steps.start * lanes, steps.stop * lanes)
            yield steps, rows, self if len(steps) == length else self.part(rows)

    def resets_in(self, lanes: int) -> Resets | None:
        """Those of a block that many lanes share."""
        return None if self.resets is None else self.resets.in_lanes(lanes)

    def decay(self, room: Tensor) -> Tensor:
        """a_t = exp(Δ_t A) into a room (t, b, g, n, p); 0 at a reset."""
        a = exponentiated(torch.mul(self.step, self.modes, out=room))
        return a if self.resets is None else a.masked_fill_(self.resets.mask, 0)

    def drive(self, room: Tensor) -> Tensor:
        """b̄_t u_t into a room (t, b, g, n, p)."""
        if self.hold is None:
            return torch.mul(self.entry, self.B, out=room)
        return torch.mul(self.hold, self.B, out=room).mul_(self.entry)

    def driver(self, lanes: int) -> Callable[[int, Tensor, Tensor], Tensor]:
        """Of a block in lanes: (t, x, room) → x + b̄_t u_t, all (k, b, g, n, p), in the room."""
        entry, B, hold = (self._steps(x, lanes) for x in (self.entry, self.B, self.hold))
        if self.hold is None:
            return lambda t, x, room: torch.addcmul(x, entry[t], B[t], out=room)
        return lambda t, x, room: torch.mul(hold[t], B[t], out=room).mul_(entry[t]).add_(x)

    def _steps(self, x: Tensor | None, lanes: int) -> Sequence[Tensor]:
        """A term of each step of a block in lanes, constant or not."""
        if x is None:
            return ()
        return [x] * (len(self.step) // lanes) if x.ndim == 3 else in_lanes(x, lanes).unbind()

    def products(self, a: Tensor, lanes: int) -> Products:
        """Of the decays a (t, k, b, g, n, p) of a block.

        The product of exponentials is the exponential of the sum: A Σ Δ in float64 rounds once, as each
        ΔA does, reads no state, and Σ Δ cannot overflow. Where there is nothing wider, decays are multiplied.
        """
        resets = self.resets_in(lanes)

        def products(some: slice, room: Tensor) -> None:
            if self.step.dtype == torch.float64:
                torch.prod(a[:, some], 0, out=room)
            else:
                sums = in_lanes(self.step, lanes)[:, some].sum(0, dtype=torch.float64)
                torch.mul(sums, self.modes, out=room).exp_()
            if resets is not None:
                room.masked_fill_(resets.of(some).mask.any(0), 0)

        return products


def load(problem: Problem, batch: slice, time: slice) -> tuple[Streams, Terms]:
    """A chunk of the call's inputs."""
    raw = problem.stream(problem.delta, batch, time)
    if problem.delta_bias is not None:
        raw = raw + problem.delta_bias.unsqueeze(-1)
    step = softplus(raw) if problem.softplus else raw
    u = problem.stream(problem.u, batch, time)
    terms = Terms(
        step=problem.rows_of(step),
        entry=problem.rows_of(u if problem.zoh else step * u),
        B=problem.matrix(problem.B, batch, time),
        C=problem.matrix(problem.C, batch, time),
        modes=problem.modes,
        zoh=problem.zoh,
        hold=None,
        resets=_resets(problem, batch, time),
    )
    return Streams(raw, step, u), terms


def _resets(problem: Problem, batch: slice, time: slice) -> Resets | None:
    """Where seq_idx (b, l) differs from the step before; never at the first step of all."""
    if problem.seq_idx is None:
        return None
    now = problem.seq_idx[batch, time]
    before = problem.seq_idx[batch, max(time.start - 1, 0) : time.stop - 1]
    if time.start == 0:
        before = torch.cat([now[:, :1], before], dim=1)
    mask = problem.order(now.shape[1]).arrange(now != before, torch.bool)
    return Resets(mask[:, :, None, None, None])
