"""What honest arithmetic may do to the scan's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._functions import sigmoid
from ssm_spec._products import met
from ssm_spec._roundoff import ORACLE, Arithmetic
from ssm_spec._selective_scan._blocks import blocks
from ssm_spec._selective_scan._classes import alternatives, forward_errors
from ssm_spec._selective_scan._inputs import Scan
from ssm_spec._selective_scan._local_errors import flushed, local_errors, reached, sigmoid_error
from ssm_spec._selective_scan._state_errors import StateErrors
from ssm_spec._selective_scan._trajectory import Trajectory, follow

Array = NDArray[Any]
Float = NDArray[np.float64]

ANALYSED = 2**18
"""States (l, n, b, d) analysed at once: 2 MiB an array, some fifty of them; twice it is no faster."""


@dataclass(frozen=True, eq=False)
class Worst:
    """Running element-wise maxima: the bound, the oracle's own bound, and the range used.

    The range is the largest modulus that the element, or what feeds it, reaches.
    """

    bound: Float
    own: Float
    peak: Float

    @classmethod
    def of(cls, *shape: int) -> Worst:
        """All zero."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def raise_to(self, where: Any, error: Float, peak: Float, *, own: bool) -> None:
        """Merge one analysis of the elements at `where`."""
        target = self.own if own else self.bound
        target[where] = np.maximum(target[where], error)
        if not own:
            self.peak[where] = np.maximum(self.peak[where], peak)

    def judged(self, value: Array, largest: float) -> NDArray[np.bool_]:
        """Where the value with its bound, and all that feeds it, stay within the range."""
        return np.less(self.peak, largest) & np.less(np.abs(value) + self.bound, largest)


def analyses(arithmetic: Arithmetic) -> list[tuple[Arithmetic, bool]]:
    """Every order of evaluation to analyse, and whether it is the oracle's own."""
    return [(order, False) for order in alternatives(arithmetic)] + [(ORACLE, True)]


def output_bounds(scan: Scan, arithmetic: Arithmetic) -> dict[str, Worst]:
    """For "y", (l, b, d), and "last_state", (n, s, d)."""
    b, d, l, n = scan.sizes
    y, last = Worst.of(l, b, d), Worst.of(n, scan.sequences.slots, d)
    if scan.initial_state is not None:  # an empty sequence hands its initial state on
        empty = (slice(None), scan.sequences.empty)
        state = np.abs(scan.initial_state[empty])
        last.raise_to(empty, np.full_like(state, arithmetic.eta), state, own=False)
    for batch, channels in blocks(b, d, n * l, ANALYSED):
        trajectory = follow(scan.block(batch, channels))
        slots = trajectory.scan.sequences.ends
        t, row = np.nonzero(slots >= 0)
        leaving = slice(None), slots[t, row], channels
        for order, own in analyses(arithmetic):
            drift = forward_errors(trajectory, local_errors(trajectory, order), order)
            y.raise_to((slice(None), batch, channels), *gated_error(trajectory, drift, order), own=own)
            error, peak = (array[t, :, row].swapaxes(0, 1) for array in (drift.error, drift.peak))
            last.raise_to(leaving, error, peak, own=own)
    return {"y": y, "last_state": last}


def output_error(
    trajectory: Trajectory, drift: StateErrors, arithmetic: Arithmetic, dual: bool = False
) -> Float:
    """e_v = γΣ|C|(e + met u(m + e)) + (met′ + Q)u|Du| + u|v| + η, Q by products of matrices. (l, b, d).

    There D u may enter before the sum over times; before that over states it may enter everywhere.
    """
    scan, u = trajectory.scan, arithmetic.u
    roundings = met(scan.sizes[3], 1, scan.complex)
    mass = drift.mass + drift.error
    rounding = roundings.read * u
    states = trajectory.C * (drift.error + rounding * mass) + flushed(arithmetic, trajectory.C, mass)
    states += arithmetic.eta * (1.0 + trajectory.C) * drift.pairs
    error: Float = scan.gamma * states.sum(axis=1) + u * np.abs(trajectory.v)
    passing = roundings.passing + sums_over_times(arithmetic, len(trajectory.v), dual)[:, None, None]
    error += passing * u * trajectory.D * trajectory.u + flushed(arithmetic, trajectory.D, trajectory.u)
    return error


def sums_over_times(arithmetic: Arithmetic, length: int, dual: bool) -> Float:
    """How many terms of a chunk D u may meet up to each time, (l,): none where a state is formed first."""
    by_matrices = arithmetic.evaluation == "matmul_chunk" or (dual and arithmetic.in_chunks)
    return np.asarray(np.minimum(np.arange(1.0, length + 1), arithmetic.chunk if by_matrices else 0.0))


def output_reach(trajectory: Trajectory, drift: StateErrors, arithmetic: Arithmetic) -> Float:
    """The largest number on the way to v: γΣ|C h| and |D u|, before anything cancels. (l, b, d)."""
    gamma = trajectory.scan.gamma
    read = np.maximum(reached(arithmetic, drift.mass + drift.error), drift.meets)
    states = (reached(arithmetic, gamma, trajectory.C) * read).sum(axis=1)
    reach = states + reached(arithmetic, trajectory.D, trajectory.u)
    larger: Float = np.maximum(drift.peak.max(axis=1), reach)
    return larger


def gated_error(
    trajectory: Trajectory, drift: StateErrors, arithmetic: Arithmetic, dual: bool = False
) -> tuple[Float, Float]:
    """e_o = |G|e_v + (ρ_σ + 2u)|G|(|v| + e_v) + η, and the range used. G = silu(z)."""
    error, v = output_error(trajectory, drift, arithmetic, dual), np.abs(trajectory.v)
    peak = output_reach(trajectory, drift, arithmetic)
    if trajectory.z is None:
        return error, peak
    size = np.abs(trajectory.gate)
    relative = sigmoid_error(trajectory.z, arithmetic) + 2.0 * arithmetic.u
    gated = size * error + relative * size * (v + error)
    gated += flushed(arithmetic, np.abs(trajectory.z), sigmoid(trajectory.z), v + error)
    # σ <= 1 is in no largest product; v z σ may be taken from the left.
    return gated, np.maximum(peak, reached(arithmetic, v + error, np.abs(trajectory.z)))
