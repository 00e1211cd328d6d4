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
from ssm_torch.blockwise.plan import Span, spans
from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.recurrence import run_backward, run_forward
from ssm_torch.blockwise.terms import Terms, load, real
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
        length = problem.block_length
        room = torch.empty((4, length, *carried.shape), dtype=carried.dtype, device=carried.device)
        blocks = list(enumerate(span.blocks(length), span.slot))
        for slot, time in reversed(blocks):
            block = _Block(problem, span, time, room[:, : time.stop - time.start], total)
            carried = block.run(starts[slot, span.batch], dy, carried)
        total.initial_state[span.rows] = problem.by_channel(carried)
    return total


def _initial_cotangent(problem: Problem, span: Span, dlast: Tensor | None) -> Tensor:
    if dlast is not None:
        return problem.by_mode(dlast[span.rows])
    return problem.modes.new_zeros((span.rows.stop - span.rows.start, *problem.modes.shape))


class _Block:
    """One block: its states, their cotangents, and what these give to each input."""

    def __init__(self, problem: Problem, span: Span, time: slice, room: Tensor, total: Gradients) -> None:
        self.problem, self.batch, self.time, self.total = problem, span.batch, time, total
        self.a, self.h, self.adjoint, self.spare = room
        self.terms: Terms = load(problem, span.batch, time)

    def run(self, start: Tensor, dy: Tensor | None, carried: Tensor) -> Tensor:
        """Add this block's gradients; from the cotangent of its last state to that of `start`."""
        terms = self.terms
        terms.decay(self.a)
        run_forward(self.a, terms.drive(self.h), start, terms.resets)
        du = self._output(dy)
        carried = run_backward(self.a, self.adjoint, carried, terms.resets)
        dstep = self._drive(du)
        self._decay(start, dstep)
        if self.problem.softplus:
            dstep.mul_(torch.sigmoid(terms.raw))
        self.total.add_step(dstep, self.batch, self.time)
        self.total.write("u", du, self.batch, self.time)
        return carried

    def _output(self, dy: Tensor | None) -> Tensor:
        """Through D, z and C; leaves c in `adjoint` and returns what u gets through D."""
        problem, terms = self.problem, self.terms
        if dy is None:
            self.adjoint.zero_()
            return torch.zeros_like(terms.u)
        q = problem.stream(dy, self.batch, self.time)
        if problem.z is not None:
            z = problem.stream(problem.z, self.batch, self.time)
            v = before_gate(problem, terms, self.h, self.spare)
            dz = q * v * torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))
            self.total.write("z", dz, self.batch, self.time)
            q = q * silu(z)
        scaled = terms.gamma * q
        self.total.add_matrix("C", torch.mul(self.h, scaled, out=self.spare), self.batch, self.time)
        torch.mul(scaled, terms.C.conj(), out=self.adjoint)
        if problem.D is None:
            return torch.zeros_like(q)
        self.total.add_feedthrough(q * terms.u)
        return q * problem.channels(problem.D)

    def _drive(self, du: Tensor) -> Tensor:
        """Through b̄ u: adds to dB and du, and returns what Δ gets."""
        terms, adjoint, spare = self.terms, self.adjoint, self.spare
        if terms.hold is None:
            by_B = real(torch.mul(adjoint, terms.B.conj(), out=spare)).sum(3, keepdim=True)
            du.addcmul_(terms.step, by_B)
            self.total.add_matrix("B", torch.mul(adjoint, terms.step * terms.u, out=spare), self.batch, self.time)
            return by_B.mul_(terms.u)
        torch.mul(adjoint, terms.hold.conj(), out=spare)
        du.add_(real(spare * terms.B.conj()).sum(3, keepdim=True))
        self.total.add_matrix("B", spare.mul_(terms.u), self.batch, self.time)
        dhold = torch.mul(adjoint, terms.B.conj(), out=spare).mul_(terms.u)
        p = terms.step * terms.modes
        self.total.add_modes(dhold * (terms.step.square() * psi(p)).conj())
        return real(dhold * torch.exp(p).conj()).sum(3, keepdim=True)

    def _decay(self, start: Tensor, dstep: Tensor) -> None:
        """Through a_t h_{t−1}: adds to dA and dΔ. Overwrites `a`."""
        terms = self.terms
        decayed = self.a
        decayed[0].mul_(start)
        decayed[1:].mul_(self.h[:-1])
        if terms.resets is not None:
            decayed.masked_fill_(terms.resets.mask, 0)
        dp = decayed.conj_physical_().mul_(self.adjoint)
        dstep.add_(real(torch.mul(dp, terms.modes.conj(), out=self.spare)).sum(3, keepdim=True))
        self.total.add_modes(torch.mul(dp, terms.step, out=self.spare))
