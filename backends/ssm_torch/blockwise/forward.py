"""The forward pass: outputs, last states, and the state before each block."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.blockwise.plan import Span, pieces, spans
from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.recurrence import run_forward
from ssm_torch.blockwise.sizes import slots
from ssm_torch.blockwise.terms import Terms, load
from ssm_torch.functions import silu


def forward(problem: Problem, keep_starts: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Scan every span.

    Returns
    -------
    y : (b, d, l), dtype of u
    last_state : (rows, d, n)
    starts : (slots, b, g, n, p)
        The state before each block; without slots unless `keep_starts`.
    """
    b, d, l = problem.u.shape
    n = problem.A.shape[1]
    y = torch.empty_like(problem.u, memory_format=torch.contiguous_format)
    last_state = problem.A.new_empty((problem.rows, d, n))
    kept = slots(b, d, l, n, problem.u.device.type, problem.packed) if keep_starts else 0
    starts = problem.modes.new_empty((kept, b, *problem.modes.shape))
    for span in spans(problem):
        h = _scan(problem, span, y, starts if keep_starts else None)
        last_state[span.rows] = problem.by_channel(h)
    return y, last_state, starts


def initial_states(problem: Problem, rows: slice) -> Tensor:
    """The states before the first step, (b, g, n, p)."""
    if problem.initial_state is not None:
        return problem.by_mode(problem.initial_state[rows])
    return problem.modes.new_zeros((rows.stop - rows.start, *problem.modes.shape))


def _scan(problem: Problem, span: Span, y: Tensor, starts: Tensor | None) -> Tensor:
    """Write the outputs of a span and the states before its blocks; return its last states."""
    h = initial_states(problem, span.rows)
    length = problem.block_length
    decays, states, spare = torch.empty((3, length, *h.shape), dtype=h.dtype, device=h.device)
    slot = span.slot
    for time in span.chunks():
        terms = load(problem, span.batch, time)
        v = torch.empty_like(terms.u)
        for steps in pieces(slice(0, len(v)), length):
            if starts is not None:
                starts[slot, span.batch] = h
            block, t = terms.part(steps), steps.stop - steps.start
            x = block.drive(states[:t])
            run_forward(block.decay(decays[:t]), x, h, block.resets)
            h = x[-1].clone()
            v[steps] = block.output(x, spare[:t])
            slot += 1
        v = before_gate(problem, terms, v)
        if problem.z is not None:
            v.mul_(silu(problem.stream(problem.z, span.batch, time)))
        problem.write(y, span.batch, time, v)
    return h


def before_gate(problem: Problem, terms: Terms, v: Tensor) -> Tensor:
    """γ v + D u, (t, b, g, 1, p), in place of v = Re Σ_n C_t h_t."""
    if terms.gamma != 1:
        v.mul_(terms.gamma)
    return v if problem.D is None else v.addcmul_(problem.channels(problem.D), terms.u)
