"""What honest arithmetic may do to SSD's gradients: the scan's analysis, and the dual form's sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._adjoint import Cotangents
from ssm_spec._selective_scan._adjoint_bounds import Sums
from ssm_spec._selective_scan._adjoint_terms import Analysis, Terms
from ssm_spec._selective_scan._blocks import blocks
from ssm_spec._selective_scan._bounds import ANALYSED, Worst
from ssm_spec._selective_scan._local_errors import (
    flushed,
    local_errors,
    softplus_slope_error,
    softplus_slope_reach,
)
from ssm_spec._selective_scan._trajectory import AdjointTrajectory, Trajectory, follow, follow_back
from ssm_spec._ssd._bounds import analyses, step_error, undecided, with_operands
from ssm_spec._ssd._inputs import Ssd
from ssm_spec._validate import Float

Array = NDArray[Any]

_IN_SCAN = {"x": "u", "dt": "delta", "dt_bias": "delta", "initial_states": "initial_state"}


class DualAnalysis(Analysis):
    """The analysis of a block of channels, `width` of which share Δ."""

    dual = True

    def __init__(
        self,
        forward: Trajectory,
        backward: AdjointTrajectory,
        step: Float,
        arithmetic: Arithmetic,
        width: int,
    ) -> None:
        self.width = width
        super().__init__(forward, backward, arithmetic, local_errors(forward, arithmetic, step))

    def delta_terms(self) -> Terms:
        """dΔ of one channel, before it is summed over its head."""
        return self.step_terms()


def gradient_bounds(
    given: Ssd, cotangents: Cotangents, names: tuple[str, ...], arithmetic: Arithmetic
) -> dict[str, Worst]:
    """For each gradient named, in the shape of the input."""
    worst: dict[str, Worst] = {}
    for order, own in analyses(with_operands(given, arithmetic)):
        found = _by_channel(given, cotangents, {_IN_SCAN.get(name, name) for name in names}, order)
        for name in names:
            error, peak = _in_shape(given, name, found[_IN_SCAN.get(name, name)], order)
            place = worst.setdefault(name, Worst.of(*error.shape))
            place.raise_to(..., error, peak, own=own)
    if "initial_states" in worst and given.shape[1] == 0 and cotangents.last_state is not None:
        size = given.from_states(np.abs(cotangents.last_state))
        worst["initial_states"].raise_to(..., np.full_like(size, arithmetic.eta), size, own=False)
    return worst


def _by_channel(
    given: Ssd, cotangents: Cotangents, names: set[str], order: Arithmetic
) -> dict[str, tuple[Float, Float, Float, Float]]:
    """The error and the range of each gradient as the scan lays it out, |dΔ| for "delta", and Σ|terms|."""
    b, l, h, p = given.shape
    scan, n = given.scan, given.scan.sizes[3]
    # How many terms are summed in free order, over heads and states as well as over times and rows.
    counts = {"delta": 2 * n * p, "A": l * b * n * p, "D": l * b * (p if given.d_per_head else 1)}
    sums = {name: Sums.of(scan, name, order) for name in names}
    for name in names & counts.keys():
        sums[name] = replace(sums[name], rounding=counts[name] * order.u)
    for name in names & {"B", "C"}:
        sums[name] = replace(sums[name], join=np.add)
    step, size = np.repeat(step_error(given.steps, order), p, -1), np.zeros((l, b, h * p))
    for batch, channels in blocks(b, h * p, n * l, ANALYSED):
        block = scan.block(batch, channels)
        forward = follow(block)
        backward = follow_back(forward, cotangents.block(batch, channels))
        analysis = DualAnalysis(forward, backward, step[:, batch, channels], order, p)
        for name, total in sums.items():
            total.add(block, batch, channels, analysis.terms(name))
        size[:, batch, channels] = backward.d_step
    return {name: (total.error, total.peak, size, total.size) for name, total in sums.items()}


def _in_shape(
    given: Ssd, name: str, found: tuple[Float, Float, Float, Float], order: Arithmetic
) -> tuple[Float, Float]:
    """Sum a channel's errors over what shares the input.

    The range too, where a sum over states or channels may be taken before a factor that they share.
    """
    error, peak, size, terms = found
    b, l, h, p = given.shape
    layouts: dict[str, Callable[[Array], Array]] = {
        "x": given.from_stream,
        "z": given.from_stream,
        "B": lambda array: array.transpose(2, 0, 3, 1),
        "C": lambda array: array.transpose(2, 0, 3, 1),
        "initial_states": given.from_states,
    }
    if name in layouts:
        return layouts[name](error), layouts[name](peak)
    if name == "D":
        error, peak = error.reshape(h, p), peak.reshape(h, p)
        return (error.sum(-1), peak.max(-1, initial=0.0)) if given.d_per_head else (error, peak)
    if name == "A":
        n = given.scan.sizes[3]
        return error.reshape(n, h, p).sum((0, 2)), peak.reshape(n, h, p).sum((0, 2))
    wide = (l, b, h, p)
    e_step, size = error.reshape(wide).sum(-1), size.reshape(wide).sum(-1)
    peak = peak.reshape(wide).sum(-1)
    if given.steps.softplus:
        reach = softplus_slope_reach(given.steps.free, size + e_step, order)
        peak = np.maximum(peak, np.where(given.steps.inside, reach, 0.0))
    e_dt, size = _slope_error(given, e_step, size, order)
    if name == "dt":
        return e_dt.swapaxes(0, 1), peak.swapaxes(0, 1)
    met = order.u * size.sum((0, 1))
    if not given.steps.softplus:
        # No slope comes between: the terms of dΔ meet those of all other steps.
        passed = given.steps.inside | (undecided(given.steps, order) > 0)
        terms = np.where(passed, terms.reshape(wide).sum(-1), 0.0)
        met = 2 * given.scan.sizes[3] * p * order.u * terms.sum((0, 1))
    summed = e_dt.sum((0, 1)) + l * b * (met + flushed(order))
    return summed, peak.max((0, 1), initial=0.0)


def _slope_error(given: Ssd, error: Float, size: Float, order: Arithmetic) -> tuple[Float, Float]:
    """The error of d(dt) = slope · dΔ, all of it where a limit is undecided; and its size. (l, b, h)."""
    steps = given.steps
    if not steps.softplus:
        return np.where(undecided(steps, order) > 0, size + error, np.where(steps.inside, error, 0.0)), size
    raw = np.where(steps.raw == -np.inf, 0.0, np.abs(steps.raw))
    slope = steps.free_slope
    passed = slope * error + softplus_slope_error(raw, slope, order) * (size + error)
    passed += order.u * slope * size + flushed(order, slope, size)
    decided = np.where(steps.inside, passed, 0.0)
    return np.where(undecided(steps, order) > 0, slope * size + passed, decided), slope * size
