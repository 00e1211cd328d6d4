"""The backward pass: block by block from the end, its states computed again from those before its lanes.

With r the cotangent of y, q = r silu(z) and γ = 2 if A is complex, else 1::

    c_t = γ q_t conj(C_t),   λ_t = c_t + conj(a_{t+1}) λ_{t+1},   λ_{l−1} = c_{l−1} + r_last

For complex x the gradient is ∂L/∂Re x + i ∂L/∂Im x.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ssm_torch.blockwise.forward import put, room_for_states
from ssm_torch.blockwise.gradients import Gradients
from ssm_torch.blockwise.order import Block
from ssm_torch.blockwise.plan import Span, spans
from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.recurrence import adjoint, in_lanes, leaving, selection
from ssm_torch.blockwise.sums import over_channels, over_modes, real
from ssm_torch.blockwise.terms import Terms, load
from ssm_torch.functions import psi, sigmoid


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
        rooms = _Rooms(problem, span, carried)
        slot = span.slot + -(-(span.time.stop - span.time.start) // problem.lane_length)
        for time in reversed(span.chunks()):
            chunk = _Chunk(problem, span, time, dy, total)
            for block in reversed(problem.order(time.stop - time.start).blocks):
                slot -= block.lanes
                befores = starts[slot : slot + block.lanes, span.batch]
                carried = _Block(chunk, block, rooms).run(befores, carried)
            chunk.finish(ungated)
        total.add_modes(rooms.weighted)
        total.initial_state[span.rows] = problem.by_channel(carried)
    return total


def _initial_cotangent(problem: Problem, span: Span, dlast: Tensor | None) -> Tensor:
    if dlast is not None:
        return problem.by_mode(dlast[span.rows])
    return problem.modes.new_zeros((span.rows.stop - span.rows.start, *problem.modes.shape))


class _Rooms:
    """What the blocks of a span share.

    Attributes
    ----------
    states : (3, rows, b, g, n, p)
    weighted : (rows of a piece, b, g, n, p)
        The gradient of A, summed over pieces.
    """

    def __init__(self, problem: Problem, span: Span, like: Tensor) -> None:
        self.states = room_for_states(problem, span, like, 3)
        orders = {problem.order(time.stop - time.start) for time in span.chunks()}
        pieces = (problem.piece(block, like) * block.lanes for order in orders for block in order.blocks)
        self.weighted = like.new_zeros((max(pieces, default=0), *like.shape))


class _Chunk:
    """What the blocks of a chunk read and fill.

    Attributes
    ----------
    r, q, sigma : (b, d, t)
        The cotangent of the output, and of the output before the gate; σ(z).
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
        self.q = self.r
        if self.z is not None:
            self.sigma = sigmoid(self.z)
            self.q = (self.z * self.sigma).mul_(self.r)
        self.scaled = problem.rows_of(self.q if problem.gamma == 1 else problem.gamma * self.q)
        self.dentry, self.dstep = torch.empty((2, *self.terms.step.shape), dtype=u.dtype, device=u.device)
        size = (*self.terms.step.shape[:3], problem.A.shape[1])
        self.rows = {name: problem.A.new_empty(size) for name in ("B", "C")}

    def finish(self, ungated: Tensor) -> None:
        """Through the gate, D, Δ u and softplus, and into place."""
        problem, total, streams, where = self.problem, self.total, self.streams, self.where
        if self.z is not None:
            slope = self.sigma.addcmul_(self.sigma, torch.sigmoid(-self.z).mul_(self.z))  # σ(z) (1 + z σ(−z))
            torch.mul(slope.mul_(self.r), ungated[where[0], :, where[1]], out=total.place("z", *where))
        places = total.place("u", *where), total.place("delta", *where)
        du, dstep = problem.in_time(self.dentry, places[0]), problem.in_time(self.dstep, places[1])
        if not problem.zoh:
            dstep.addcmul_(streams.u, du)
            du.mul_(streams.step)
        if problem.D is not None:
            du.addcmul_(self.q, problem.D.unsqueeze(-1))
            total.add_feedthrough(self.q * streams.u)
        if problem.softplus:
            dstep.mul_(torch.sigmoid(streams.raw))
        total.add_step(dstep)
        put(dstep, places[1])
        put(du, places[0])
        for name, rows in self.rows.items():
            total.write_matrix(name, rows, *where)


class _Block:
    """One block: its states, their cotangents, and what these give to each input.

    Attributes
    ----------
    a, carried, h : (rows, b, g, n, p)
        a_t; a_t h_{t−1}, which the gradient of the decay needs; and h_t, over which λ_t is written.
    existing
        How many steps of the last lane exist.
    """

    def __init__(self, chunk: _Chunk, block: Block, rooms: _Rooms) -> None:
        self.chunk, self.rows, self.lanes = chunk, block.rows, block.lanes
        self.existing = block.length // block.lanes - block.filling
        self.a, self.carried, self.h = rooms.states[:, : block.length]
        self.weighted = rooms.weighted
        self.piece = chunk.problem.piece(block, self.a[0])
        self.terms = chunk.terms.block(block.rows)
        self.resets = self.terms.resets_in(self.lanes)

    def run(self, befores: Tensor, after: Tensor) -> Tensor:
        """Add this block's gradients; from the cotangent of its last state to that of the state before it."""
        terms, scaled = self.terms, self.chunk.scaled[self.rows]
        self._states(befores)
        self._give_matrix("C", self.h, scaled, room=self.h)
        torch.mul(scaled, terms.C.conj(), out=self.h)
        conjugate = replace(terms, modes=terms.modes.conj())
        a, adjoints = (in_lanes(x, self.lanes) for x in (self.a.conj_physical_(), self.h))
        cuts = conjugate.pieces(self.lanes, self.piece)
        pieces = {steps.start: (rows, part) for steps, rows, part in cuts}
        for t in adjoint(a, adjoints, conjugate.products(a, self.lanes), after, self.resets):
            if t in pieces:
                self._decay(*pieces[t])
        reached = leaving(a, adjoints, self.resets)
        self._drive()
        return reached

    def _states(self, befores: Tensor) -> None:
        """The decays, what they carry, and the states."""
        terms, lanes = self.terms, self.lanes
        keep, driven = selection(self.resets), terms.driver(lanes)
        a, carried, states = (in_lanes(x, lanes).unbind() for x in (self.a, self.carried, self.h))
        h = befores
        for steps, rows, part in terms.pieces(lanes, self.piece):
            part.decay(self.a[rows])
            for t in steps:
                h = driven(t, torch.mul(a[t], keep(t, h), out=carried[t]), states[t])

    def _decay(self, rows: slice, conjugate: Terms) -> None:
        """Of a piece, from conj(a_t h_{t−1}) λ_t: gives to A and Δ, nothing of steps that do not exist."""
        dp = self.carried[rows].conj_physical_().mul_(self.h[rows])
        if conjugate.resets is not None:
            dp.masked_fill_(conjugate.resets.mask, 0)
        in_lanes(dp, self.lanes)[max(self.existing - rows.start // self.lanes, 0) :, -1] = 0
        self.weighted[: len(dp)].addcmul_(dp, conjugate.step)
        over_modes(dp, conjugate.modes, dp, out=self.chunk.dstep[self.rows][rows])

    def _drive(self) -> None:
        """Through b̄ u: gives to B and its entry, and through the hold to A and Δ."""
        terms, dentry = self.terms, self.chunk.dentry[self.rows]
        if terms.hold is None:
            over_modes(self.h, terms.B.conj(), self.a, out=dentry)
            self._give_matrix("B", self.h, terms.entry, room=self.a)
            return
        dhold = torch.mul(self.h, terms.B.conj(), out=self.a).mul_(terms.entry)
        p = terms.step * terms.modes
        slope = terms.step * (
            terms.step * psi(p)
        )  # about 1/A²: Δ², or Δ times another factor, overflows first
        self.chunk.total.add_modes(dhold * slope.conj())
        self.chunk.dstep[self.rows] += real(dhold * torch.exp(p).conj()).sum(3, keepdim=True)
        held = self.h.mul_(terms.hold.conj())
        over_modes(held, terms.B.conj(), self.a, out=dentry)
        self._give_matrix("B", held, terms.entry, room=self.a)

    def _give_matrix(self, name: str, x: Tensor, stream: Tensor, room: Tensor) -> None:
        """What B gets, or conj(C), of x s (t, b, g, n, p)."""
        if getattr(self.chunk.problem, name).ndim == 2:
            self.chunk.total.add_matrix(name, torch.mul(x, stream, out=room))
        else:
            over_channels(x, stream, room, out=self.chunk.rows[name][self.rows])
