"""The forward pass: outputs, last states, and what is kept for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ssm_torch.blockwise.plan import Span, spans
from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.recurrence import in_lanes, in_order, run, states_before
from ssm_torch.blockwise.sizes import slots
from ssm_torch.blockwise.sums import over_modes
from ssm_torch.blockwise.terms import Terms, load
from ssm_torch.functions import silu

Results = tuple[Tensor, Tensor, Tensor, Tensor]
"""y (b, d, l), dtype of u; last_state (rows, d, n); starts (slots, b, g, n, p), the state before each lane,
then zeros; and ungated (b, d, l), the output before the gate, in the compute type. The last two are empty
unless they are kept, the last one also without a gate."""


def room_for_results(problem: Problem, keep: bool) -> Results:
    """Not filled yet."""
    b, d, l = problem.u.shape
    g, n, p = problem.groups, problem.A.shape[1], d // problem.groups
    kept = slots(b, d, l, n, problem.u.device.type, problem.packed) if keep else 0
    return (
        torch.empty_like(problem.u, memory_format=torch.contiguous_format),
        problem.A.new_empty((problem.rows, d, n)),
        problem.A.new_empty((kept, b, g, n, p)),
        problem.u.new_empty((b, d, l if keep and problem.z is not None else 0), dtype=problem.compute),
    )


def forward(problem: Problem, keep: bool) -> Results:
    """Scan every span."""
    results = room_for_results(problem, keep)
    results[2][-1:].zero_()  # which no lane has
    for span in spans(problem):
        h = _scan(problem, span, results, keep)
        results[1][span.rows] = problem.by_channel(h)
    return results


def initial_states(problem: Problem, rows: slice) -> Tensor:
    """The states before the first step, (b, g, n, p), to be written over."""
    if problem.initial_state is not None:
        return problem.by_mode(problem.initial_state[rows]).clone()
    return problem.modes.new_zeros((rows.stop - rows.start, *problem.modes.shape))


def room_for_states(problem: Problem, span: Span, states: Tensor, arrays: int) -> Tensor:
    """Arrays for the states of a block, (arrays, rows, b, g, n, p)."""
    rows = max((problem.order(time.stop - time.start).longest for time in span.chunks()), default=0)
    return torch.empty((arrays, rows, *states.shape), dtype=states.dtype, device=states.device)


def _scan(problem: Problem, span: Span, results: Results, keep: bool) -> Tensor:
    """Write the outputs of a span, and what is kept; return its last states."""
    y, _, starts, ungated = results
    h = initial_states(problem, span.rows)
    decays, states = room_for_states(problem, span, h, 2)
    slot = span.slot
    for time in span.chunks():
        streams, terms = load(problem, span.batch, time)
        v = torch.empty_like(terms.step)
        t = time.stop - time.start
        for block in problem.order(t).blocks:
            part, rows, lanes = terms.block(block.rows), block.length, block.lanes
            a, x = in_lanes(decays[:rows], lanes), in_lanes(states[:rows], lanes)
            resets = part.resets_in(lanes)
            befores = starts[slot : slot + lanes, span.batch] if keep else _before(h, lanes)
            filled = _filled(part, a, x, problem.piece(block, h))
            states_before(filled, part.products(a, lanes), h, befores, resets)
            run(in_order(a, x), befores, resets)
            h.copy_(x[-1, -1])
            over_modes(states[:rows], part.C, decays[:rows], out=v[block.rows])
            slot += lanes
        place = y[span.batch, :, time]
        open_gate = ungated[span.batch, :, time] if keep and problem.z is not None else place
        out = _before_gate(problem, streams.u, problem.in_time(v, open_gate))
        put(out, open_gate)
        if problem.z is not None:
            torch.mul(out, silu(problem.stream(problem.z, span.batch, time)), out=place)
    return h


def put(x: Tensor, place: Tensor) -> None:
    """x into its place, if it is not there already."""
    if x is not place:
        place.copy_(x)


def _before(h: Tensor, lanes: int) -> Tensor:
    """A room for the state before each lane, (k, …); of one lane it is h itself."""
    return h.unsqueeze(0) if lanes == 1 else h.new_empty((lanes, *h.shape))


def _filled(terms: Terms, a: Tensor, x: Tensor, piece: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """t, a_t and x_t of each step of all lanes but the last of a block, computed a piece at a time."""
    lanes = a.shape[1]
    decays, drives = a[:, :-1].unbind(), x[:, :-1].unbind()
    for steps, _, part in terms.pieces(lanes, piece):
        some = slice(steps.start, steps.stop)
        part.decay(a[some].flatten(0, 1))
        part.drive(x[some].flatten(0, 1))
        for t in steps:
            yield t, decays[t], drives[t]


def _before_gate(problem: Problem, u: Tensor, v: Tensor) -> Tensor:
    """γ v + D u, (b, d, t), in place of v = Re Σ_n C_t h_t."""
    if problem.gamma != 1:
        v.mul_(problem.gamma)
    return v if problem.D is None else v.addcmul_(problem.D.unsqueeze(-1), u)
