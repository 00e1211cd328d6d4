"""One chunk of time, loaded into the compute type and discretised."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.recurrence import Resets
from ssm_torch.functions import held_values, softplus


@dataclass(frozen=True)
class Terms:
    """What a chunk, or a block of it, needs of the inputs.

    Attributes
    ----------
    raw, step : (t, b, g, 1, p) real
        delta + delta_bias, and Δ.
    u : (t, b, g, 1, p) real
    B, C : (t, b, g, n, 1), or (g, n, p) if constant
    modes : (g, n, p)
        A.
    hold : (t, b, g, n, p)
        expm1(ΔA)/A; None where b̄ = ΔB.
    gamma
        2 for complex A, else 1.
    resets
        None if the call has no `seq_idx`.
    """

    raw: Tensor
    step: Tensor
    u: Tensor
    B: Tensor
    C: Tensor
    modes: Tensor
    hold: Tensor | None
    gamma: int
    resets: Resets | None

    def part(self, steps: slice) -> Terms:
        """Some of its steps."""
        return replace(
            self,
            raw=self.raw[steps],
            step=self.step[steps],
            u=self.u[steps],
            B=self.B if self.B.ndim == 3 else self.B[steps],
            C=self.C if self.C.ndim == 3 else self.C[steps],
            hold=None if self.hold is None else self.hold[steps],
            resets=None if self.resets is None else Resets(self.resets.mask[steps]),
        )

    def decay(self, room: Tensor) -> Tensor:
        """a_t = exp(Δ_t A) into a room (t, b, g, n, p); 0 at a reset."""
        a = torch.mul(self.step, self.modes, out=room).exp_()
        return a if self.resets is None else a.masked_fill_(self.resets.mask, 0)

    def drive(self, room: Tensor) -> Tensor:
        """b̄_t u_t into a room (t, b, g, n, p)."""
        if self.hold is None:
            return torch.mul(self.step * self.u, self.B, out=room)
        return torch.mul(self.hold, self.B, out=room).mul_(self.u)

    def output(self, h: Tensor, room: Tensor) -> Tensor:
        """Re Σ_n C_t h_t, (t, b, g, 1, p); the room is used up."""
        return over_modes(torch.mul(h, self.C, out=room))


def load(problem: Problem, batch: slice, time: slice) -> Terms:
    """A chunk of the call's inputs."""
    raw = problem.stream(problem.delta, batch, time)
    if problem.delta_bias is not None:
        raw = raw + problem.channels(problem.delta_bias)
    step = softplus(raw) if problem.softplus else raw
    return Terms(
        raw=raw,
        step=step,
        u=problem.stream(problem.u, batch, time),
        B=problem.matrix(problem.B, batch, time),
        C=problem.matrix(problem.C, batch, time),
        modes=problem.modes,
        hold=held_values(step, problem.modes) if problem.zoh else None,
        gamma=problem.gamma,
        resets=_resets(problem.seq_idx, batch, time),
    )


def _resets(seq_idx: Tensor | None, batch: slice, time: slice) -> Resets | None:
    """Where seq_idx (b, l) differs from the step before; never at the first step of all."""
    if seq_idx is None:
        return None
    now = seq_idx[batch, time]
    before = seq_idx[batch, max(time.start - 1, 0) : time.stop - 1]
    if time.start == 0:
        before = torch.cat([now[:, :1], before], dim=1)
    return Resets((now != before).t()[:, :, None, None, None])


def over_modes(x: Tensor) -> Tensor:
    """The real part of the sum over n, (t, b, g, 1, p)."""
    return real(x).sum(3, keepdim=True)


def real(x: Tensor) -> Tensor:
    """The real part, as a view."""
    return x.real if x.is_complex() else x
