"""The selective scan where its arguments are known within errors of their own, as inside a block.

With e_x for the error of an argument x, to what the scan's own analysis says is added

    Δ: σe_δ + e_δ²/8, since softplus'' <= ¼;  a: the same, and ε_A(Δ + E_s), ε_A the relative error of A
    b̄u: φ((|u| + e_u)(|B| + e_B) − |u||B|);  v: Σ_n e_C|h| + |D|e_u;  silu(z): `silu_error`,

and its rounding is that of |u| + e_u, |B| + e_B and |C| + e_C.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ssm_spec._gate_errors import silu_error
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._blocks import blocks
from ssm_spec._selective_scan._bounds import ANALYSED, output_error, output_reach
from ssm_spec._selective_scan._classes import forward_errors
from ssm_spec._selective_scan._inputs import Scan
from ssm_spec._selective_scan._local_errors import LocalErrors, flushed, local_errors, step_error
from ssm_spec._selective_scan._state_errors import StateErrors
from ssm_spec._selective_scan._trajectory import Trajectory, follow
from ssm_spec._validate import Float


@dataclass(frozen=True, eq=False)
class Perturbation:
    """Bounds on the errors of a scan's arguments.

    Attributes
    ----------
    u, delta, z
        (b, d, l).
    A
        (d, n), relative.
    B, C
        (b, n, l).
    """

    u: Float
    delta: Float
    A: Float
    B: Float
    C: Float
    z: Float

    def block(self, batch: slice, channels: slice) -> Perturbation:
        """Those of some rows and channels, time first: (l, b, d), (n, 1, d), and (l, n, b, 1)."""
        u, delta, z = (np.moveaxis(array[batch, channels], -1, 0) for array in (self.u, self.delta, self.z))
        B, C = (array[batch].transpose(2, 1, 0)[..., None] for array in (self.B, self.C))
        return Perturbation(u, delta, self.A[channels].T[:, None], B, C, z)


def perturbed_scan(
    scan: Scan, given: Perturbation, arithmetic: Arithmetic
) -> tuple[Float, Float, Float, Float]:
    """The error of y and its range, (b, d, l), of the last state and its range, (b, d, n).

    For a real scan with a gate and softplus, one sequence a row, B and C of one group.
    """
    b, d, l, n = scan.sizes
    y, y_peak = np.zeros((l, b, d)), np.zeros((l, b, d))
    state, state_peak = np.zeros((n, b, d)), np.zeros((n, b, d))
    if l == 0 and scan.initial_state is not None:
        state[:], state_peak = arithmetic.eta, np.abs(scan.initial_state)
    for batch, channels in blocks(b, d, n * l, ANALYSED):
        where = (slice(None), batch, channels)
        trajectory = follow(scan.block(batch, channels))
        here = given.block(batch, channels)
        moved, local = moved_scan(trajectory, here, arithmetic)
        drift = forward_errors(moved, local, arithmetic)
        y[where], y_peak[where] = _gated(trajectory, moved, here, drift, arithmetic)
        state[where], state_peak[where] = drift.error[-1], drift.peak[-1]
    to_time_last, to_state = (1, 2, 0), (1, 2, 0)
    return (
        y.transpose(to_time_last),
        y_peak.transpose(to_time_last),
        state.transpose(to_state),
        state_peak.transpose(to_state),
    )


def moved_scan(
    trajectory: Trajectory, given: Perturbation, arithmetic: Arithmetic
) -> tuple[Trajectory, LocalErrors]:
    """The trajectory with moduli as large as they may get, and the errors of one step's coefficients."""
    u, B = trajectory.u + given.u, trajectory.B + given.B
    source = trajectory.phi * u[:, None] * B
    moved = replace(trajectory, u=u, B=B, C=trajectory.C + given.C, source=source)
    step = step_error(trajectory, arithmetic)
    step = step + trajectory.slope * given.delta + given.delta * given.delta / 8.0
    # The step of b̄ has no error of A in it: what is added for that of exp(ΔA) is harmless there.
    step = step + given.A.max(axis=(0, 1)) * (trajectory.step + step)
    local = local_errors(moved, arithmetic, step)
    return moved, replace(local, source=local.source + (source - trajectory.source))


def _gated(
    trajectory: Trajectory,
    moved: Trajectory,
    given: Perturbation,
    drift: StateErrors,
    arithmetic: Arithmetic,
) -> tuple[Float, Float]:
    """The error of y = v silu(z), and its range. (l, b, d)."""
    v, z = np.abs(trajectory.v), trajectory.z
    assert z is not None
    e_v = output_error(moved, drift, arithmetic)
    e_v += (given.C * trajectory.h).sum(axis=1) + trajectory.D * given.u
    size, e_gate = np.abs(trajectory.gate), silu_error(z, given.z, arithmetic)
    error = size * e_v + e_gate * (v + e_v) + arithmetic.u * (size + e_gate) * (v + e_v)
    error += flushed(arithmetic, size, v + e_v)
    peak = np.maximum(output_reach(moved, drift, arithmetic), np.maximum(size * v, np.abs(z)))
    return error, peak
