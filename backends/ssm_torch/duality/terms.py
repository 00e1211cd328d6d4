"""What the products of a stretch are made of: step sizes, decays, and who belongs to which sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_torch.duality.decays import Decays, Sequences, decays_of, sequences_of
from ssm_torch.duality.problem import Problem, Stretch
from ssm_torch.duality.states import pass_on
from ssm_torch.functions import softplus, split


@dataclass(frozen=True)
class Steps:
    """Δ = clamp(softplus(dt + dt_bias), low, high) on its way, each (b, k, g, r, q)."""

    raw: Tensor
    free: Tensor
    step: Tensor


def steps_of(problem: Problem, at: Stretch) -> Steps:
    """The step sizes of a stretch."""
    raw = problem.per_head(problem.dt, at).to(problem.compute, memory_format=torch.contiguous_format)
    if problem.dt_bias is not None:
        raw = raw + problem.heads(problem.dt_bias)
    free = softplus(raw) if problem.softplus else raw
    return Steps(raw, free, free.clamp(problem.low, problem.high))


def fresh_in(problem: Problem, at: Stretch) -> Tensor | None:
    """Where a sequence starts after t = 0, (b, k, 1, 1, q); None if the call has no `seq_idx`."""
    if problem.seq_idx is None:
        return None
    now = problem.seq_idx[at.rows, at.time]
    before = problem.seq_idx[at.rows, max(at.time.start - 1, 0) : at.time.stop - 1]
    if at.time.start == 0:
        before = torch.cat([now[:, :1], before], dim=1)
    return split(now != before, 1, (-1, at.steps))[:, :, None, None]


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
        Of steps and their heads, (b, k, g, r, q).
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
        kept = None if self.sequences is None else self.sequences.kept[:, chunk].unsqueeze(-1)
        return pass_on(state, decay, kept)


def load(problem: Problem, at: Stretch) -> Terms:
    """A stretch of the call's inputs, and its decays."""
    x = problem.stream(problem.x, at).to(problem.compute)
    B, C = (
        problem.matrix(M, at).to(problem.compute, memory_format=torch.contiguous_format)
        for M in (problem.B, problem.C)
    )
    steps, fresh = steps_of(problem, at), fresh_in(problem, at)
    sequences = None if fresh is None else sequences_of(fresh)
    decays = decays_of(steps.step * problem.heads(problem.A), sequences)
    b, k, g, q, r, p = x.shape
    scaled = torch.empty((b, k, g, r, q, p), dtype=problem.compute, device=x.device)
    torch.mul(x.transpose(3, 4), steps.step.unsqueeze(-1), out=scaled)
    return Terms(x, B, C, scaled, steps, decays, sequences)


def weighted(x: Tensor, weight: Tensor) -> Tensor:
    """A stream (b, k, g, q, r, p) times one number a head and step, as (b, k, g, q, r·p)."""
    return _by_step(x.transpose(3, 4), weight)


def _by_step(x: Tensor, weight: Tensor) -> Tensor:
    """(b, k, g, r, q, p) times (b, k, g, r, q), as (b, k, g, q, r·p)."""
    b, k, g, r, q, p = x.shape
    room = torch.empty((b, k, g, q, r, p), dtype=x.dtype, device=x.device)
    torch.mul(x, weight.unsqueeze(-1), out=room.transpose(3, 4))
    return room.flatten(-2)
