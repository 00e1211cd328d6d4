"""The forward pass: matrix products inside a chunk, the state S from chunk to chunk.

Dao and Gu, "Transformers are SSMs" (2024), section 6 and listing 1::

    y_t = Σ_s L_ts (C_t · B_s) Δ_s x_s + exp(p_t) S C_t,   L_ts = exp(p_t − p_s)
    S' = exp(p_q) S + Σ_s exp(p_q − p_s) Δ_s x_s B_sᵀ
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.duality.problem import Problem, Stretch
from ssm_torch.duality.sizes import places_for_starts
from ssm_torch.duality.terms import Terms, load
from ssm_torch.functions import silu


def forward(problem: Problem, keep_starts: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Run every stretch.

    Returns
    -------
    y : (b, l, h, p), dtype of x
    final_states : (b, h, p, n)
    starts : (b, chunks, h, p, n)
        The states before each chunk, then zeros; empty unless `keep_starts`.
    """
    b, l, h, p = problem.x.shape
    n = problem.B.shape[3]
    y = torch.empty_like(problem.x, memory_format=torch.contiguous_format)
    final_states = problem.A.new_empty((b, h, p, n), dtype=problem.compute)
    kept = places_for_starts(l) if keep_starts else 0
    starts = final_states.new_empty((b, kept, h, p, n))
    starts[:, -1:].zero_()
    if problem.initial_states is None:
        final_states.zero_()
    else:
        final_states.copy_(problem.initial_states)
    for stretches in problem.stretches():
        for at in stretches:
            _run(problem, at, y, final_states[at.rows], starts if keep_starts else None)
    return y, final_states, starts


def _run(problem: Problem, at: Stretch, y: Tensor, states: Tensor, starts: Tensor | None) -> None:
    """Write the outputs of a stretch; `states` are the ones before it, and become those after it."""
    terms = load(problem, at)
    before = states_before(problem, terms, states)
    if starts is not None:
        starts[at.rows, at.chunks] = before.view(starts[at.rows, at.chunks].shape)
    v = before_gate(problem, terms, before)
    if problem.z is not None:
        v.mul_(silu(problem.stream(problem.z, at).to(problem.compute)))
    problem.stream(y, at).copy_(v)


def states_before(problem: Problem, terms: Terms, states: Tensor) -> Tensor:
    """The states before each chunk, (b, k, g, r·p, n); `states` (b, h, p, n) become those after the last."""
    added = terms.to_end().mT @ terms.B
    state = problem.states(states).clone()
    for j in range(added.shape[1]):
        after = terms.pass_on(state, j).add_(added[:, j])
        added[:, j] = state
        state = after
    states.copy_(state.view(states.shape))
    return added


def weights(terms: Terms) -> Tensor:
    """W_ts = L_ts (C_t · B_s), (b, k, g, r, q, q)."""
    return (terms.C @ terms.B.mT).unsqueeze(3) * terms.decays.between


def before_gate(problem: Problem, terms: Terms, before: Tensor) -> Tensor:
    """Σ_s W_ts Δ_s x_s + exp(p_t) S C_t + D x_t, (b, k, g, q, r, p)."""
    v = terms.by_step(terms.C @ before.mT)
    v.mul_(terms.decays.from_start.transpose(3, 4).unsqueeze(-1))
    v.add_((weights(terms) @ terms.scaled).transpose(3, 4))
    skip = problem.skip()
    return v if skip is None else v.addcmul_(skip, terms.x)
