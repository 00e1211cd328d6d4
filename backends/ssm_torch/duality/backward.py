"""The backward pass: stretch by stretch from the end, everything but the states before chunks computed again.

With r the cotangent of y, q = r silu(z), Λ the cotangent of the state after a chunk, S the one before it,
and X = Δ x::

    dX_s = Σ_t W_ts q_t + exp(p_Q − p_s) Λ B_s
    dW = q Xᵀ,  dG = Σ_heads dW ∘ L,  dC = dG B + exp(p_t) q_t S,  dB = dGᵀ C + exp(p_Q − p_s) X_s Λ
    dS = exp(p_Q) Λ + Σ_t exp(p_t) q_t C_tᵀ

Every weight is exp of a sum of consecutive ΔA: what step r's gets is the sum over the weights that span r,
M = dW ∘ W from s < r to t ≥ r, those from the state before to t ≥ r, those from s < r to the state after, and
the one from state to state. No differences are taken, so nothing cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_torch.duality.forward import before_gate, weights
from ssm_torch.duality.gradients import Gradients
from ssm_torch.duality.problem import Problem, Stretch
from ssm_torch.duality.terms import Terms, load, weighted
from ssm_torch.functions import silu, split


def backward(problem: Problem, starts: Tensor, dy: Tensor | None, dfinal: Tensor | None) -> Gradients:
    """The gradient of every input.

    Parameters
    ----------
    starts
        As the forward pass kept them.
    dy : (b, l, h, p)
    dfinal : (b, h, p, n)
        Cotangents; None is zero.
    """
    total = Gradients(problem)
    carried = total.initial_states
    if dfinal is not None:
        carried.copy_(dfinal)
    for stretches in problem.stretches():
        for at in reversed(stretches):
            _Stretch(problem, at, starts, dy, total).run(carried[at.rows])
    return total


@dataclass(frozen=True)
class _Spans:
    """What the weights get, for the gradient of ΔA: each weight times its cotangent.

    Attributes
    ----------
    between : (b, k, g, r, q, q)
        From s to t.
    from_start, to_end : (b, k, g, r, q)
        From the state before the chunk to t; from s to the state after it.
    through : (b, k, g, r)
        From the one to the other.
    """

    between: Tensor
    from_start: Tensor
    to_end: Tensor
    through: Tensor

    def by_step(self) -> Tensor:
        """The gradient of ΔA at each step, (b, k, g, r, q)."""
        past = _before(self.between)  # at [t, r]: from all s < r
        across = past.tril_().sum(-2)
        to_later = self.from_start.flip(-1).cumsum(-1).flip(-1)
        return across + to_later + _before(self.to_end) + self.through.unsqueeze(-1)


def _before(x: Tensor) -> Tensor:
    """The sum of all elements before each one, along the last dimension."""
    summed = torch.zeros_like(x)
    torch.cumsum(x[..., :-1], -1, out=summed[..., 1:])
    return summed


class _Stretch:
    """One stretch: its terms again, and what they give to each input."""

    def __init__(
        self, problem: Problem, at: Stretch, starts: Tensor, dy: Tensor | None, total: Gradients
    ) -> None:
        self.problem, self.at, self.total = problem, at, total
        self.terms: Terms = load(problem, at)
        before = starts[at.rows, at.chunks]
        self.states = split(before, 2, (problem.groups, -1)).flatten(3, 4)
        x = self.terms.x
        self.q = torch.zeros_like(x) if dy is None else problem.stream(dy, at).to(problem.compute)

    def run(self, carried: Tensor) -> None:
        """Add this stretch's gradients; `carried`, that of the states after it, becomes that before it."""
        terms, problem = self.terms, self.problem
        self._through_gate()
        from_start = weighted(self.q, terms.decays.from_start)
        after = self._cotangents_after(from_start.mT @ terms.C, carried)
        to_end = terms.to_end()
        spans = self._matrices(from_start, to_end, after)
        by_step = spans.by_step()
        step = terms.steps.step
        dscaled = self._scaled(after)
        dstep = by_step * problem.heads(problem.A)
        dstep += (dscaled * terms.x).sum(-1).transpose(3, 4)
        self.total.add_rates(by_step * step)
        self.total.add_steps(dstep, terms.steps, self.at)
        dx = dscaled.mul_(step.transpose(3, 4).unsqueeze(-1))
        skip = problem.skip()
        if skip is not None:
            self.total.add_skip(self.q * terms.x)
            dx.addcmul_(skip, self.q)
        self.total.write("x", dx, self.at)

    def _through_gate(self) -> None:
        """From the cotangent of y to that of the output before the gate."""
        problem = self.problem
        if problem.z is None:
            return
        z = problem.stream(problem.z, self.at).to(problem.compute)
        v = before_gate(problem, self.terms, self.states)
        slope = torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))
        self.total.write("z", v.mul_(self.q).mul_(slope), self.at)
        self.q = self.q * silu(z)

    def _cotangents_after(self, given: Tensor, carried: Tensor) -> Tensor:
        """The cotangents of the states after each chunk, in place of what the chunks give to those before.

        `carried` becomes the cotangent of the states before the stretch.
        """
        after = self.problem.states(carried).clone()
        for j in reversed(range(given.shape[1])):
            before = self.terms.pass_on(after, j).add_(given[:, j])
            given[:, j] = after
            after = before
        carried.copy_(after.view(carried.shape))
        return given

    def _matrices(self, from_start: Tensor, to_end: Tensor, after: Tensor) -> _Spans:
        """Give to B and C, and gather what the weights get."""
        terms, decays = self.terms, self.terms.decays
        heads = (self.q.shape[4], self.q.shape[5])
        q = self.q.transpose(3, 4)
        dweights = (q @ terms.scaled.mT).mul_(decays.between)
        dproducts = dweights.sum(3)  # over the heads of a group
        self.total.write_matrix("C", dproducts @ terms.B + from_start @ self.states, self.at)
        self.total.write_matrix("B", dproducts.mT @ terms.C + to_end @ after, self.at)
        between = dweights.mul_((terms.C @ terms.B.mT).unsqueeze(3))
        seen = split(from_start * (terms.C @ self.states.mT), -1, heads).sum(-1)
        left = split(to_end * (terms.B @ after.mT), -1, heads).sum(-1)
        kept = split(self.states * after, 3, heads).sum((-1, -2))
        through = decays.through * kept
        if terms.sequences is not None:
            through = through.masked_fill(~terms.sequences.kept, 0)
        return _Spans(between, seen.transpose(3, 4), left.transpose(3, 4), through)

    def _scaled(self, after: Tensor) -> Tensor:
        """The gradient of Δ x, (b, k, g, q, r, p)."""
        terms = self.terms
        found = terms.by_step(terms.B @ after.mT)
        found.mul_(terms.decays.to_end.transpose(3, 4).unsqueeze(-1))
        return found.add_((weights(terms).mT @ self.q.transpose(3, 4)).transpose(3, 4))
