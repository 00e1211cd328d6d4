"""The backward pass: block by block from the end, its states computed again from those before its lanes.

With r the cotangent of y, q = r silu(z) and γ = 2 if A is complex, else 1::

    c_t = γ q_t conj(C_t),   λ_t = c_t + conj(a_{t+1}) λ_{t+1},   λ_{l−1} = c_{l−1} + r_last

For complex x the gradient is ∂L/∂Re x + i ∂L/∂Im x.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.blockwise.forward import room_for_states
from ssm_torch.blockwise.gradients import Gradients
from ssm_torch.blockwise.order import Block
from ssm_torch.blockwise.plan import Span, spans
from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.recurrence import in_lanes, run, run_backward
from ssm_torch.blockwise.sums import over_channels, over_modes, real
from ssm_torch.blockwise.terms import load
from ssm_torch.functions import psi, silu


def backward(
    problem: Problem, starts: Tensor, ungated: Tensor, dy: Tensor | None, dlast: Tensor | None
) -> Gradients:
    """The gradient of every input.

    Parameters
    ----------
    starts, ungated
        As the forward pass kept them.
    dy : (b, d, l)
    dlast : (rows, d, n)
        Cotangents; None is zero.
    """
    total = Gradients(problem)
    for span in spans(problem):
        carried = _initial_cotangent(problem, span, dlast)
        arrays = room_for_states(problem, span, carried, 3)
        slot = span.slot + -(-(span.time.stop - span.time.start) // problem.lane_length)
        for time in reversed(span.chunks()):
            chunk = _Chunk(problem, span, time, dy, total)
            for block in reversed(problem.order(time.stop - time.start).blocks):
                slot -= block.lanes
                befores = starts[slot : slot + block.lanes, span.batch]
                carried = _Block(chunk, block, arrays).run(befores, carried)
            chunk.finish(ungated)
        total.initial_state[span.rows] = problem.by_channel(carried)
    return total


def _initial_cotangent(problem: Problem, span: Span, dlast: Tensor | None) -> Tensor:
    if dlast is not None:
        return problem.by_mode(dlast[span.rows])
    return problem.modes.new_zeros((span.rows.stop - span.rows.start, *problem.modes.shape))


class _Chunk:
    """What the blocks of a chunk read and fill.

    Attributes
    ----------
    r, q : (b, d, t)
        The cotangent of the output, and of the output before the gate.
    scaled : (t, b, g, 1, p)
        γ q, in the chunk's order.
    dentry, dstep : (t, b, g, 1, p)
        What B's entry gets, and Δ through the decay (and the hold), in the chunk's order.
    rows : (t, b, g, n)
        What B gets, and conj(C).
    """

    def __init__(
        self, problem: Problem, span: Span, time: slice, dy: Tensor | None, total: Gradients
    ) -> None:
        self.problem, self.where, self.total = problem, (span.batch, time), total
        self.streams, self.terms = load(problem, *self.where)
        u = self.streams.u
        self.r = torch.zeros_like(u) if dy is None else problem.stream(dy, *self.where)
        self.z = None if problem.z is None else problem.stream(problem.z, *self.where)
        self.q = self.r if self.z is None else self.r * silu(self.z)
        self.scaled = problem.rows_of(self.q if problem.gamma == 1 else problem.gamma * self.q)
        self.dentry, self.dstep = torch.empty((2, *self.terms.step.shape), dtype=u.dtype, device=u.device)
        size = (*self.terms.step.shape[:3], problem.A.shape[1])
        self.rows = {name: problem.A.new_empty(size) for name in ("B", "C")}

    def finish(self, ungated: Tensor) -> None:
        """Through the gate, D, Δ u and softplus, and into place."""
        problem, total, streams, where = self.problem, self.total, self.streams, self.where
        t = streams.u.shape[2]
        if self.z is not None:
            slope = torch.sigmoid(self.z) * (1 + self.z * torch.sigmoid(-self.z))
            total.write("z", slope.mul_(self.r).mul_(ungated[where[0], :, where[1]]), *where)
        du, dstep = problem.in_time(self.dentry, t), problem.in_time(self.dstep, t)
        if not problem.zoh:
            dstep.addcmul_(streams.u, du)
            du.mul_(streams.step)
        if problem.D is not None:
            du.addcmul_(self.q, problem.D.unsqueeze(-1))
            total.add_feedthrough(self.q * streams.u)
        if problem.softplus:
            dstep.mul_(torch.sigmoid(streams.raw))
        total.add_step(dstep, *where)
        total.write("u", du, *where)
        for name, rows in self.rows.items():
            total.write_matrix(name, rows, *where)


class _Block:
    """One block: its states, their cotangents, and what these give to each input."""

    def __init__(self, chunk: _Chunk, block: Block, arrays: Tensor) -> None:
        self.chunk, self.rows, self.lanes = chunk, block.rows, block.lanes
        self.a, self.h, self.adjoint = arrays[:, : block.length]
        self.terms = chunk.terms.part(block.rows)

    def run(self, befores: Tensor, carried: Tensor) -> Tensor:
        """Add this block's gradients; from the cotangent of its last state to that of the state before it."""
        terms, resets = self.terms, self.terms.resets_in(self.lanes)
        a = in_lanes(terms.decay(self.a), self.lanes)
        h = in_lanes(terms.drive(self.h), self.lanes)
        run(a, h, befores, resets)
        scaled = self.chunk.scaled[self.rows]
        self._give_matrix("C", self.h, scaled, room=self.adjoint)
        torch.mul(scaled, terms.C.conj(), out=self.adjoint)
        carried = run_backward(a, in_lanes(self.adjoint, self.lanes), carried, resets)
        a[0].mul_(befores.conj())
        a[1:].mul_(h[:-1].conj())
        self._decay()
        self._drive()
        return carried

    def _decay(self) -> None:
        """From conj(a_t h_{t−1}) λ_t, which is in `a`: gives to A and Δ, and writes over the states."""
        terms, dp = self.terms, self.a
        if terms.resets is not None:
            dp.masked_fill_(terms.resets.mask, 0)
        self.chunk.total.add_modes(torch.mul(dp, terms.step, out=self.h))
        over_modes(dp, terms.modes.conj(), self.h, out=self.chunk.dstep[self.rows])

    def _drive(self) -> None:
        """Through b̄ u: gives to B and its entry, and through the hold to A and Δ."""
        terms, dentry = self.terms, self.chunk.dentry[self.rows]
        if terms.hold is None:
            over_modes(self.adjoint, terms.B.conj(), self.h, out=dentry)
            self._give_matrix("B", self.adjoint, terms.entry, room=self.h)
            return
        dhold = torch.mul(self.adjoint, terms.B.conj(), out=self.a).mul_(terms.entry)
        p = terms.step * terms.modes
        self.chunk.total.add_modes(dhold * (terms.step.square() * psi(p)).conj())
        self.chunk.dstep[self.rows] += real(dhold * torch.exp(p).conj()).sum(3, keepdim=True)
        held = self.adjoint.mul_(terms.hold.conj())
        over_modes(held, terms.B.conj(), self.h, out=dentry)
        self._give_matrix("B", held, terms.entry, room=self.h)

    def _give_matrix(self, name: str, x: Tensor, stream: Tensor, room: Tensor) -> None:
        """What B gets, or conj(C), of x s (t, b, g, n, p)."""
        if getattr(self.chunk.problem, name).ndim == 2:
            self.chunk.total.add_matrix(name, torch.mul(x, stream, out=room))
        else:
            over_channels(x, stream, room, out=self.chunk.rows[name][self.rows])
