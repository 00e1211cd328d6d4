"""What honest arithmetic may do to SSD's step sizes and outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssm_spec._errors import DomainError
from ssm_spec._roundoff import ORACLE, Arithmetic, RoundedInputs
from ssm_spec._selective_scan._blocks import blocks
from ssm_spec._selective_scan._bounds import ANALYSED, Worst, gated_error
from ssm_spec._selective_scan._classes import alternatives, forward_errors
from ssm_spec._selective_scan._local_errors import local_errors, softplus_error
from ssm_spec._selective_scan._trajectory import follow
from ssm_spec._ssd._inputs import Ssd, Steps
from ssm_spec._validate import Float


def analyses(arithmetic: Arithmetic) -> list[tuple[Arithmetic, bool]]:
    """Every order of evaluation to analyse, and whether it is the oracle's own.

    A chunk's weights exp(p_t − p_s) are the same whether its sums are taken one by one or as
    products of matrices; so are the bounds, but for operands rounded to a narrower type.
    """
    if arithmetic.operands == "float16":
        raise DomainError(
            "`arithmetic.operands` of SSD must not be 'float16', for which no bound is derived: "
            "a weight may leave its range; got 'float16'"
        )
    if arithmetic.evaluation == "matmul_chunk":
        arithmetic = replace(arithmetic, evaluation="chunk")
    return [(order, False) for order in alternatives(arithmetic)] + [(ORACLE, True)]


def with_operands(given: Ssd, arithmetic: Arithmetic) -> Arithmetic:
    """The arithmetic asked about, by whether x, B and C are rounded where they are operands."""
    return RoundedInputs.of(arithmetic, given.scan.u, given.scan.B.array, given.scan.C.array)


def step_error(steps: Steps, arithmetic: Arithmetic) -> Float:
    """E_s of Δ = clamp(softplus(dt + bias)). (l, b, h).

    The clamp does not enlarge an error. Where it surely acts only the limit's own rounding is left.
    """
    free = free_error(steps, arithmetic)
    limit = arithmetic.u * np.abs(steps.step) + 3.0 * arithmetic.eta
    sure = (steps.free + free < steps.low) | (steps.free - free > steps.high)
    near = ~sure & (_near(steps, steps.low, free) | _near(steps, steps.high, free))
    return np.where(sure, limit, np.where(near, free + limit, free))


def free_error(steps: Steps, arithmetic: Arithmetic) -> Float:
    """E_s before the clamp: a sum, a softplus, or dt as it is given (but for subnormal numbers)."""
    if steps.softplus:
        raw = np.where(steps.raw == -np.inf, 0.0, np.abs(steps.raw))
        return softplus_error(raw, steps.free_slope, np.abs(steps.free), arithmetic)
    rounding = arithmetic.u if steps.biased else 0.0
    return rounding * np.abs(steps.raw) + 3.0 * arithmetic.eta


def undecided(steps: Steps, arithmetic: Arithmetic) -> Float:
    """1 where rounding decides on which side of a limit Δ falls, so that its slope may be 0 or not.

    Without softplus a sum has the right sign, and dt at a limit is at it: there the slope is 1 (C2).
    """
    error = free_error(steps, arithmetic)
    decided = np.ones_like(error, dtype=bool)
    for limit in (steps.low, steps.high):
        reached = error + arithmetic.u * abs(limit) if np.isfinite(limit) else error
        exact = (steps.free == limit) & (not steps.softplus) & (np.float32(limit) == limit)
        decided &= exact | ~(np.abs(steps.free - limit) <= reached)
    return np.where(decided, 0.0, 1.0)


def _near(steps: Steps, limit: float, error: Float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(np.abs(steps.free - limit) <= error)


def output_bounds(given: Ssd, arithmetic: Arithmetic) -> dict[str, Worst]:
    """For "y", (l, b, h·p), and "final_states", (n, b, h·p)."""
    scan, p = given.scan, given.shape[3]
    arithmetic = with_operands(given, arithmetic)
    b, d, l, n = scan.sizes
    y, last = Worst.of(l, b, d), Worst.of(n, b, d)
    if scan.initial_state is not None and l == 0:
        last.raise_to(..., np.full((n, b, d), arithmetic.eta), np.abs(scan.initial_state), own=False)
    orders = [
        (order, own, np.repeat(step_error(given.steps, order), p, -1)) for order, own in analyses(arithmetic)
    ]
    for batch, channels in blocks(b, d, n * l, ANALYSED):
        trajectory = follow(scan.block(batch, channels))
        for order, own, step in orders:
            local = local_errors(trajectory, order, step[:, batch, channels])
            drift = forward_errors(trajectory, local, order, dual=True)
            gated = gated_error(trajectory, drift, order, dual=True)
            y.raise_to((slice(None), batch, channels), *gated, own=own)
            last.raise_to((slice(None), batch, channels), drift.error[-1], drift.peak[-1], own=own)
    return {"y": y, "final_states": last}
