"""From a declared order of evaluation to the analyses that bound it, forward and backward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import DomainError
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import LocalErrors, reached
from ssm_spec._selective_scan._recurrence import cuts_of, recur
from ssm_spec._selective_scan._state_errors import (
    Chunks,
    Recurrence,
    StateErrors,
    behind_masks,
    bracketed,
    chunked,
    sequential,
    within_range,
)
from ssm_spec._selective_scan._trajectory import AdjointTrajectory, Trajectory

Float = NDArray[np.float64]

EVALUATIONS = ("any", "sequential", "scan", "right_fold", "chunk", "matmul_chunk")


def alternatives(arithmetic: Arithmetic) -> tuple[Arithmetic, ...]:
    """The orders of evaluation whose element-wise maximum is the bound."""
    if arithmetic.evaluation not in EVALUATIONS:
        raise DomainError(
            f"`arithmetic.evaluation` of a selective scan must be one of {EVALUATIONS}; "
            f"got {arithmetic.evaluation!r}"
        )
    if arithmetic.evaluation == "matmul_chunk" and arithmetic.operands != "compute":
        raise DomainError(
            "`arithmetic.operands` of a selective scan must be 'compute': its bound has no term for "
            f"rounded operands; got {arithmetic.operands!r}"
        )
    if arithmetic.evaluation == "any":
        return replace(arithmetic, evaluation="scan"), replace(arithmetic, evaluation="chunk", chunk=256)
    return (arithmetic,)


def forward_errors(
    trajectory: Trajectory, local: LocalErrors, arithmetic: Arithmetic, dual: bool = False
) -> StateErrors:
    """The errors of h; `dual` where C B may come first, as in products of matrices."""
    made = reached(arithmetic, trajectory.phi + local.phi, trajectory.u[:, None], trajectory.B)
    recurrence = Recurrence(
        decay=trajectory.a,
        decay_error=local.decay,
        exponent=trajectory.p,
        step_error=local.step,
        rate=trajectory.A,
        before=trajectory.before,
        state=trajectory.h,
        source=trajectory.source,
        source_error=local.source,
        fresh=trajectory.scan.sequences.fresh,
        complex=trajectory.scan.complex,
        factors=all_of(trajectory.phi + local.phi, trajectory.u[:, None], trajectory.B),
        reach=np.maximum(made, trajectory.inverse),
    )
    sums = chunk_sums(trajectory.step, arithmetic.chunk)
    dual = dual or arithmetic.evaluation == "matmul_chunk"
    chunks = Chunks(arithmetic.chunk, chunk_begins(len(sums), arithmetic.chunk), sums, sums, dual=dual)
    return drift_in_order(recurrence, arithmetic, chunks)


def backward_errors(
    trajectory: Trajectory,
    adjoint: AdjointTrajectory,
    local: LocalErrors,
    c_error: Float,
    c_reach: Float,
    arithmetic: Arithmetic,
    dual: bool = False,
) -> StateErrors:
    """The errors of λ: the same recurrence on reversed arrays, its decay at t being a_{t+1}.

    Where a sequence ends, the last state's cotangent enters undecayed. `c_reach` is the largest
    number on the way to c; `dual` where C B may come first.
    """
    scan = trajectory.scan
    over = scan.sequences.over
    ends = over[:, None, :, None]
    recurrence = Recurrence(
        decay=np.where(ends, 1.0, next_step(trajectory.a))[::-1],
        decay_error=np.where(ends, 0.0, next_step(local.decay))[::-1],
        exponent=np.where(ends, 0.0, next_step(trajectory.p))[::-1],
        step_error=np.where(over[..., None], 0.0, next_step(local.step))[::-1],
        rate=trajectory.A,
        before=adjoint.after[::-1],
        state=adjoint.adjoint[::-1],
        source=adjoint.c[::-1],
        source_error=c_error[::-1],
        fresh=over[::-1],
        complex=scan.complex,
        factors=scan.gamma * all_of(adjoint.q[:, None], trajectory.C)[::-1],
        reach=c_reach[::-1],
    )
    dual = dual or arithmetic.evaluation == "matmul_chunk"
    chunks = chunks_back(trajectory.step, arithmetic.chunk, dual)
    found = drift_in_order(recurrence, arithmetic, chunks)
    return found.map(lambda part: part[::-1])


def all_of(*factors: Any) -> Any:
    """Π(1 + |f|)."""
    product: Any = 1.0
    for factor in factors:
        product = product * (1.0 + factor)
    return product


def chunks_back(steps: Float, q: int, dual: bool = False) -> Chunks:
    """The chunks as the way back meets them; `steps` is |Δ|, (l, b, d), in order of time."""
    # A kernel may reuse the forward sums or sum from the other end: the larger of the two.
    forward, ends = chunk_sums(steps, q), np.roll(chunk_begins(len(steps), q), -1)
    backward = recur(np.ones(len(steps)), steps[::-1], cuts_of(_column(ends[::-1])))[::-1]
    sums = np.maximum(forward, backward)
    return Chunks(q, ends[::-1], next_step(sums)[::-1], sums[::-1], decayed=True, dual=dual)


def chunk_begins(length: int, q: int) -> NDArray[np.bool_]:
    """(l,): True where a chunk of the forward grid begins."""
    return np.equal(np.arange(length) % q, 0)


def chunk_sums(steps: Float, q: int) -> Float:
    """S: the in-chunk cumulative sum of |Δ|, (l, b, d). A reset does not restart it."""
    return recur(np.ones(len(steps)), steps, cuts_of(_column(chunk_begins(len(steps), q))))


def sum_to_chunk_end(terms: Float, q: int) -> Float:
    """For each time, the sum of `terms` from there to its chunk's end."""
    ends = np.roll(chunk_begins(len(terms), q), -1)
    return recur(np.ones(len(terms)), terms[::-1], cuts_of(_column(ends[::-1])))[::-1]


def sum_from_chunk_begin(terms: Float, q: int) -> Float:
    """For each time, the sum of `terms` from its chunk's beginning to the time before."""
    begins = chunk_begins(len(terms), q)
    before = np.concatenate([np.zeros_like(terms[:1]), terms[:-1]])[: len(terms)]
    before[begins] = 0.0
    return recur(np.ones(len(terms)), before, cuts_of(_column(begins)))


def drift_in_order(recurrence: Recurrence, arithmetic: Arithmetic, chunks: Chunks) -> StateErrors:
    """The analysis of one order of evaluation, and of the range that it uses."""
    found = within_range(_drift(recurrence, arithmetic, chunks), recurrence, arithmetic)
    masked = arithmetic.in_chunks and chunks.dual
    return behind_masks(found, recurrence.fresh) if masked else found


def _drift(recurrence: Recurrence, arithmetic: Arithmetic, chunks: Chunks) -> StateErrors:
    if arithmetic.evaluation == "sequential":
        return sequential(recurrence, arithmetic)
    if arithmetic.in_chunks:
        return chunked(recurrence, arithmetic, chunks)
    return bracketed(recurrence, arithmetic, arithmetic.tree_depth(len(recurrence.decay)))


def next_step(array: Any) -> Any:
    """The array one step later; zero after the end."""
    return np.concatenate([array[1:], np.zeros_like(array[:1])])


def _column(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask[:, None]
