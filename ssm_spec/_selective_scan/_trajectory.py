"""What a block of the scan computes on its way, exact, for the error analysis to lean on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._functions import psi, sigmoid
from ssm_spec._selective_scan._adjoint import (
    Cotangents,
    adjoint_states,
    gate_slope,
    hold_slope,
    previous_states,
)
from ssm_spec._selective_scan._inputs import Scan
from ssm_spec._selective_scan._value import discretised, gate, read_out, states, step_sizes

Array = NDArray[Any]
Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Moduli of the forward quantities of a block, for all times at once.

    Attributes
    ----------
    x, step, slope
        (l, b, d): |delta + delta_bias|, |Δ|, and the slope of Δ in x (σ, or 1). x is 0 at −∞.
    A, B, C
        Broadcastable to (l, n, b, d).
    p, a, phi, source, h, before
        (l, n, b, d): |ΔA|, |a|, |φ|, |b̄ u|, |h_t|, |h_{t−1}|; phi (l, 1, b, d) under the Euler rule.
    v
        (l, b, d): the output before the gate, with its sign.
    u, D, z
        (l, b, d), (d,), (l, b, d): |u|, |D| (zero if not given), z itself or None.
    """

    scan: Scan
    x: Float
    step: Float
    slope: Float
    A: Float
    B: Float
    C: Float
    p: Float
    a: Float
    phi: Float
    source: Float
    h: Float
    before: Float
    v: Float
    u: Float
    D: Float
    z: Float | None
    decay: Array
    decayed: Array

    @property
    def gate(self) -> Float:
        """silu(z), or 1."""
        return np.ones_like(self.v) if self.z is None else gate(self.z)

    @property
    def inverse(self) -> Float:
        """1/|A|, which the zero-order hold may multiply by; 0 where A is, and under Euler's rule."""
        divides = self.A != 0.0 if self.scan.zoh else np.zeros(self.A.shape, dtype=bool)
        return np.divide(1.0, self.A, out=np.zeros_like(self.A), where=divides)

    @cached_property
    def hold_moves(self) -> Float:
        """|Δ|ψ(Re p), how much φ = Δφ₁(p) moves with p. (l, n, b, d)."""
        found: Float = self.step[:, None] * psi(step_sizes(self.scan)[:, None] * self.scan.A.real)
        return found


def follow(scan: Scan) -> Trajectory:
    """Compute a block's trajectory."""
    everything = slice(0, scan.sizes[2])
    s = step_sizes(scan)
    a, phi = discretised(scan, s, everything)
    h = states(scan, a, phi, everything, None)
    before = previous_states(scan, h)
    x = scan.delta if scan.delta_bias is None else scan.delta + scan.delta_bias
    return Trajectory(
        scan=scan,
        x=np.where(x == -np.inf, 0.0, np.abs(x)) if scan.softplus else np.abs(x),
        step=np.abs(s),
        slope=sigmoid(x) if scan.softplus else np.ones_like(x),
        A=np.abs(scan.A),
        B=np.abs(scan.B.at(everything)),
        C=np.abs(scan.C.at(everything)),
        p=np.abs(s[:, None] * scan.A),
        a=np.abs(a),
        phi=np.abs(phi),
        source=np.abs(np.broadcast_to(phi * scan.u[:, None] * scan.B.at(everything), a.shape)),
        h=np.abs(h),
        before=np.abs(before),
        v=read_out(scan, h, everything),
        u=np.abs(scan.u),
        D=np.zeros(scan.sizes[1]) if scan.D is None else np.abs(scan.D),
        z=scan.z,
        decay=a,
        decayed=a * before,
    )


@dataclass(frozen=True, eq=False)
class AdjointTrajectory:
    """Moduli of the backward quantities of a block, for all times at once.

    Attributes
    ----------
    r, q
        (l, b, d): |∂L/∂y|, and |∂L/∂v| = |r silu(z)|.
    c, adjoint, after, dp
        (l, n, b, d): |γ q C|, |λ_t|, |λ_{t+1}| (the last state's cotangent where a sequence
        ends), |λ conj(a h_{t−1})|.
    d_step
        (l, b, d): |∂L/∂Δ|.
    hold
        (l, n, b, d): |∂φ/∂A| under the zero-order hold, else None.
    gate_slope
        (l, b, d): silu'(z), or None.
    last
        Whether a last state's cotangent enters.
    """

    r: Float
    q: Float
    c: Float
    adjoint: Float
    after: Float
    dp: Float
    d_step: Float
    hold: Float | None
    gate_slope: Float | None


def follow_back(trajectory: Trajectory, cotangents: Cotangents) -> AdjointTrajectory:
    """Compute a block's backward trajectory."""
    scan, everything = trajectory.scan, slice(0, trajectory.scan.sizes[2])
    a = trajectory.decay
    q = cotangents.y * trajectory.gate
    adjoint, _ = adjoint_states(scan, cotangents, q, a, everything, None)
    after = np.concatenate([adjoint[1:], np.zeros_like(adjoint[:1])])
    over = scan.sequences.over
    leaving = np.zeros_like(after[over.nonzero()[0], :, over.nonzero()[1]])
    if cotangents.last_state is not None:
        slots = scan.sequences.ends[over]
        leaving[slots >= 0] = cotangents.last_state[:, slots[slots >= 0]].swapaxes(0, 1)
    t, row = over.nonzero()
    after[t, :, row] = leaving
    dp = adjoint * trajectory.decayed.conj()
    through_source = scan.u[:, None] * adjoint * scan.B.at(everything).conj()
    if scan.zoh:
        through_source *= a.conj()
    d_step = (dp * scan.A.conj()).real.sum(axis=1) + through_source.real.sum(axis=1)
    return AdjointTrajectory(
        r=np.abs(cotangents.y),
        q=np.abs(q),
        c=np.abs(np.broadcast_to(scan.gamma * q[:, None] * scan.C.at(everything), a.shape)),
        adjoint=np.abs(adjoint),
        after=np.abs(after),
        dp=np.abs(dp),
        d_step=np.abs(d_step),
        hold=np.abs(hold_slope(scan, step_sizes(scan), everything)) if scan.zoh else None,
        gate_slope=None if scan.z is None else gate_slope(scan.z),
    )
