"""The backward pass: block by block from the end, the states of each computed again from the one before it.

With r the cotangent of y, q = r silu(z) and γ = 2 if A is complex, else 1::

    c_t = γ q_t conj(C_t),   λ_t = c_t + conj(a_{t+1}) λ_{t+1},   λ_{l−1} = c_{l−1} + r_last

For complex x the gradient is ∂L/∂Re x + i ∂L/∂Im x.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.blockwise.forward import before_gate
from ssm_torch.blockwise.gradients import Gradients
from ssm_torch.blockwise.plan import Span, pieces, spans
from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.recurrence import run_backward, run_forward
from ssm_torch.blockwise.terms import Terms, load, over_modes
from ssm_torch.functions import psi, silu


def backward(problem: Problem, starts: Tensor, dy: Tensor | None, dlast: Tensor | None) -> Gradients:
    """The gradient of every input.

    Parameters
    ----------
    starts
        As the forward pass kept them.
    dy : (b, d, l)
    dlast : (rows, d, n)
        Cotangents; None is zero.
    """
    total = Gradients(problem)
    for span in spans(problem):
        carried = _initial_cotangent(problem, span, dlast)
        size = (4, problem.block_length, *carried.shape)
        room = torch.empty(size, dtype=carried.dtype, device=carried.device)
        slot = span.slot + -(-(span.time.stop - span.time.start) // problem.block_length)
        for time in reversed(span.chunks()):
            chunk = _Chunk(problem, span, time, dy, total)
            for steps in reversed(list(pieces(slice(0, len(chunk.q)), problem.block_length))):
                slot -= 1
                block = _Block(chunk, steps, room[:, : steps.stop - steps.start])
                carried = block.run(starts[slot, span.batch], carried)
            chunk.finish()
        total.initial_state[span.rows] = problem.by_channel(carried)
    return total


def _initial_cotangent(problem: Problem, span: Span, dlast: Tensor | None) -> Tensor:
    if dlast is not None:
        return problem.by_mode(dlast[span.rows])
    return problem.modes.new_zeros((span.rows.stop - span.rows.start, *problem.modes.shape))


class _Chunk:
    """What the blocks of a chunk read and fill, all (t, b, g, 1, p), or (t, b, g, n) for B and C.

    Attributes
    ----------
    q
        The cotangent of the output before the gate.
    v
        That output, up to γ and D; filled if there is a gate.
    du, dstep
        What u and Δ get.
    rows
        What B and C get, in the order of :class:`Gradients`.
    """

    def __init__(
        self, problem: Problem, span: Span, time: slice, dy: Tensor | None, total: Gradients
    ) -> None:
        self.problem, self.batch, self.time, self.total = problem, span.batch, time, total
        self.terms = load(problem, span.batch, time)
        u = self.terms.u
        self.r = torch.zeros_like(u) if dy is None else problem.stream(dy, span.batch, time)
        self.z = None if problem.z is None else problem.stream(problem.z, span.batch, time)
        self.q = self.r if self.z is None else self.r * silu(self.z)
        self.v = torch.empty_like(u)
        self.du = torch.zeros_like(u) if problem.D is None else self.q * problem.channels(problem.D)
        self.dstep = torch.empty_like(u)
        size = (*u.shape[:3], problem.A.shape[1])
        self.rows = {name: problem.A.new_empty(size) for name in ("B", "C")}

    def finish(self) -> None:
        """Through the gate, D and softplus, and into place."""
        problem, total, where = self.problem, self.total, (self.batch, self.time)
        if self.z is not None:
            v = before_gate(problem, self.terms, self.v)
            slope = torch.sigmoid(self.z) * (1 + self.z * torch.sigmoid(-self.z))
            total.write("z", self.r * v * slope, *where)
        if problem.D is not None:
            total.add_feedthrough(self.q * self.terms.u)
        if problem.softplus:
            self.dstep.mul_(torch.sigmoid(self.terms.raw))
        total.add_step(self.dstep, *where)
        total.write("u", self.du, *where)
        for name, rows in self.rows.items():
            total.write_matrix(name, rows, *where)


class _Block:
    """One block: its states, their cotangents, and what these give to each input."""

    def __init__(self, chunk: _Chunk, steps: slice, room: Tensor) -> None:
        self.chunk, self.steps = chunk, steps
        self.a, self.h, self.adjoint, self.spare = room
        self.terms: Terms = chunk.terms.part(steps)

    def run(self, start: Tensor, carried: Tensor) -> Tensor:
        """Add this block's gradients; from the cotangent of its last state to that of `start`."""
        terms = self.terms
        terms.decay(self.a)
        run_forward(self.a, terms.drive(self.h), start, terms.resets)
        self._output()
        carried = run_backward(self.a, self.adjoint, carried, terms.resets)
        self.chunk.dstep[self.steps] = self._drive().add_(self._decay(start))
        return carried

    def _output(self) -> None:
        """Through C: fills what it gets, and v, and leaves c in `adjoint`."""
        chunk, terms = self.chunk, self.terms
        if chunk.z is not None:
            chunk.v[self.steps] = terms.output(self.h, self.spare)
        scaled = terms.gamma * chunk.q[self.steps]
        self._give_matrix("C", torch.mul(self.h, scaled, out=self.spare))
        torch.mul(scaled, terms.C.conj(), out=self.adjoint)

    def _drive(self) -> Tensor:
        """Through b̄ u: gives to B and u, and returns what Δ gets."""
        terms, adjoint, spare, du = self.terms, self.adjoint, self.spare, self.chunk.du[self.steps]
        if terms.hold is None:
            by_B = over_modes(torch.mul(adjoint, terms.B.conj(), out=spare))
            du.addcmul_(terms.step, by_B)
            self._give_matrix("B", torch.mul(adjoint, terms.step * terms.u, out=spare))
            return by_B.mul_(terms.u)
        held = torch.mul(adjoint, terms.hold.conj(), out=spare)
        du.add_(over_modes(held * terms.B.conj()))
        self._give_matrix("B", held.mul_(terms.u))
        dhold = torch.mul(adjoint, terms.B.conj(), out=spare).mul_(terms.u)
        p = terms.step * terms.modes
        self.chunk.total.add_modes(dhold * (terms.step.square() * psi(p)).conj())
        return over_modes(dhold * torch.exp(p).conj())

    def _decay(self, start: Tensor) -> Tensor:
        """Through a_t h_{t−1}: gives to A, and returns what Δ gets. Overwrites `a`."""
        terms, decayed = self.terms, self.a
        decayed[0].mul_(start)
        decayed[1:].mul_(self.h[:-1])
        if terms.resets is not None:
            decayed.masked_fill_(terms.resets.mask, 0)
        dp = decayed.conj_physical_().mul_(self.adjoint)
        self.chunk.total.add_modes(torch.mul(dp, terms.step, out=self.spare))
        return over_modes(torch.mul(dp, terms.modes.conj(), out=self.spare))

    def _give_matrix(self, name: str, x: Tensor) -> None:
        """The terms (t, b, g, n, p) of dB, or of conj(dC)."""
        if getattr(self.chunk.problem, name).ndim == 2:
            self.chunk.total.add_matrix(name, x)
        else:
            torch.sum(x, -1, out=self.chunk.rows[name][self.steps])
