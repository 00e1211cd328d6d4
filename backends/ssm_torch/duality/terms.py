"""What the products of a stretch are made of: step sizes, decays, and who belongs to which sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_torch.duality.problem import Problem, Stretch
from ssm_torch.functions import softplus, split


@dataclass(frozen=True)
class Steps:
    """Δ = clamp(softplus(dt + dt_bias), low, high) on its way, each (b, k, g, r, q)."""

    raw: Tensor
    free: Tensor
    step: Tensor


@dataclass(frozen=True)
class Sequences:
    """Which sequence of its chunk a step belongs to, counted from 0: the one that began before the chunk.

    Attributes
    ----------
    together : (b, k, 1, 1, q, q)
        Whether t and s are of one sequence.
    inherits, stays : (b, k, 1, 1, q)
        Whether a step sees the state before the chunk; whether the state after the chunk sees it.
    kept : (b, k)
        Whether the state after the chunk sees the one before it.
    """

    together: Tensor
    inherits: Tensor
    stays: Tensor
    kept: Tensor


@dataclass(frozen=True)
class Decays:
    """With p_t the sum of ΔA from the chunk's start to t.

    Attributes
    ----------
    between : (b, k, g, r, q, q)
        L_ts = exp(p_t − p_s) for s <= t in one sequence, else 0.
    from_start, to_end : (b, k, g, r, q)
        exp(p_t) of the state before the chunk; exp(p_q − p_s) to the state after it.
    through : (b, k, g, r)
        exp(p_q).
    """

    between: Tensor
    from_start: Tensor
    to_end: Tensor
    through: Tensor


def steps_of(problem: Problem, at: Stretch) -> Steps:
    """The step sizes of a stretch."""
    raw = problem.per_head(problem.dt, at).to(problem.compute, memory_format=torch.contiguous_format)
    if problem.dt_bias is not None:
        raw = raw + problem.heads(problem.dt_bias)
    free = softplus(raw) if problem.softplus else raw
    return Steps(raw, free, free.clamp(problem.low, problem.high))


def sequences_of(problem: Problem, at: Stretch) -> Sequences | None:
    """None if the call has no `seq_idx`."""
    if problem.seq_idx is None:
        return None
    now = problem.seq_idx[at.rows, at.time]
    before = problem.seq_idx[at.rows, max(at.time.start - 1, 0) : at.time.stop - 1]
    if at.time.start == 0:
        before = torch.cat([now[:, :1], before], dim=1)
    number = split(now != before, 1, (-1, at.steps)).cumsum(-1)[:, :, None, None]
    return Sequences(
        number.unsqueeze(-1) == number.unsqueeze(-2),
        number == 0,
        number == number[..., -1:],
        number[:, :, 0, 0, -1] == 0,
    )


def decays_of(problem: Problem, steps: Steps, sequences: Sequences | None) -> Decays:
    """exp of the differences of one cumulative sum."""
    p = (steps.step * problem.heads(problem.A)).cumsum(-1)
    q = p.shape[-1]
    seen = torch.ones(q, q, dtype=torch.bool, device=p.device).tril()
    if sequences is not None:
        seen = seen & sequences.together
    between = (p.unsqueeze(-1) - p.unsqueeze(-2)).masked_fill_(~seen, -torch.inf).exp_()
    from_start, to_end = p.exp(), (p[..., -1:] - p).exp_()
    through = from_start[..., -1]
    if sequences is not None:
        from_start = from_start.masked_fill(~sequences.inherits, 0)
        to_end.masked_fill_(~sequences.stays, 0)
    return Decays(between, from_start, to_end, through)


@dataclass(frozen=True)
class Terms:
    """A stretch, loaded into the compute type.

    Attributes
    ----------
    x : (b, k, g, q, r, p)
    B, C : (b, k, g, q, n)
    scaled : (b, k, g, r, q, p)
        Δ x, head by head.
    steps, decays, sequences
        As above.
    """

    x: Tensor
    B: Tensor
    C: Tensor
    scaled: Tensor
    steps: Steps
    decays: Decays
    sequences: Sequences | None

    def to_end(self) -> Tensor:
        """exp(p_q − p_s) Δ_s x_s, (b, k, g, q, r·p)."""
        return _by_step(self.scaled, self.decays.to_end)

    def by_step(self, x: Tensor) -> Tensor:
        """(b, k, g, q, r·p) as (b, k, g, q, r, p)."""
        return split(x, -1, (self.x.shape[-2], self.x.shape[-1]))

    def pass_on(self, state: Tensor, chunk: int) -> Tensor:
        """The state (b, g, r·p, n) after a chunk of which it is the one before, its own inputs aside."""
        decay = self.decays.through[:, chunk].repeat_interleave(self.x.shape[-1], -1).unsqueeze(-1)
        if self.sequences is not None:
            cut = ~self.sequences.kept[:, chunk, None, None, None]
            return state.masked_fill(cut, 0).mul_(decay.masked_fill(cut, 0))
        return state * decay


def load(problem: Problem, at: Stretch) -> Terms:
    """A stretch of the call's inputs, and its decays."""
    x = problem.stream(problem.x, at).to(problem.compute)
    B, C = (
        problem.matrix(M, at).to(problem.compute, memory_format=torch.contiguous_format)
        for M in (problem.B, problem.C)
    )
    steps, sequences = steps_of(problem, at), sequences_of(problem, at)
    b, k, g, q, r, p = x.shape
    scaled = torch.empty((b, k, g, r, q, p), dtype=problem.compute, device=x.device)
    torch.mul(x.transpose(3, 4), steps.step.unsqueeze(-1), out=scaled)
    return Terms(x, B, C, scaled, steps, decays_of(problem, steps, sequences), sequences)


def weighted(x: Tensor, weight: Tensor) -> Tensor:
    """A stream (b, k, g, q, r, p) times one number a head and step, as (b, k, g, q, r·p)."""
    return _by_step(x.transpose(3, 4), weight)


def _by_step(x: Tensor, weight: Tensor) -> Tensor:
    """(b, k, g, r, q, p) times (b, k, g, r, q), as (b, k, g, q, r·p)."""
    b, k, g, r, q, p = x.shape
    room = torch.empty((b, k, g, q, r, p), dtype=x.dtype, device=x.device)
    torch.mul(x, weight.unsqueeze(-1), out=room.transpose(3, 4))
    return room.flatten(-2)
