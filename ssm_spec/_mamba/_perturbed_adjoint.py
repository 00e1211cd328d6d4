"""The scan's gradients where its arguments and its output's cotangent are known within errors of their own.

To the scan's own analysis, made with moduli as large as they may get, is added, by argument,

    q = r silu(z): |G|e_r + |r|e_G;  c = qC: |q|e_C;  du: Σ_n φ e_B|λ|;  dB: φ e_u|λ|;  dD: |q|e_u
    dΔ: ((|u| + e_u)(|B| + e_B) − |u||B|)|λ| + ε_A|A||dp|;  σ(x): σ(1 − σ)e_δ + e_δ²/16
    dz = r v silu'(z): |v G'|e_r + |r v|e_{G'} + |r G'|e_v

since |σ''| <= 1/8. dC = q h and d(initial) = aλ have it in their factors' errors already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ssm_spec._functions import sigmoid
from ssm_spec._gate_errors import silu_error, silu_slope_error
from ssm_spec._mamba._perturbed import Perturbation, moved_scan
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._adjoint import Cotangents
from ssm_spec._selective_scan._adjoint_bounds import Sums
from ssm_spec._selective_scan._adjoint_terms import Analysis, Terms
from ssm_spec._selective_scan._blocks import blocks
from ssm_spec._selective_scan._bounds import ANALYSED, output_error, output_reach
from ssm_spec._selective_scan._inputs import Scan
from ssm_spec._selective_scan._trajectory import AdjointTrajectory, Trajectory, follow, follow_back
from ssm_spec._validate import Float


class PerturbedAnalysis(Analysis):
    """The analysis of one block of channels, with the errors that its arguments bring.

    Attributes
    ----------
    given, e_r
        The arguments' errors, and that of y's cotangent (l, b, d); time first.
    exact
        The forward trajectory of the exact arguments; `f` has the moduli they may reach.
    """

    def __init__(
        self,
        exact: Trajectory,
        backward: AdjointTrajectory,
        given: Perturbation,
        e_r: Float,
        arithmetic: Arithmetic,
    ) -> None:
        self.given, self.e_r, self.exact = given, e_r, exact
        moved, local = moved_scan(exact, given, arithmetic)
        slope = exact.slope
        e_slope = slope * (1.0 - slope) * given.delta + given.delta * given.delta / 16.0
        super().__init__(moved, backward, arithmetic, replace(local, slope=local.slope + e_slope))

    def _gated_cotangent_error(self) -> Float:
        f, g, u = self.f, self.g, self.u
        assert f.z is not None
        e_gate, size = silu_error(f.z, self.given.z, self.arithmetic), np.abs(f.gate)
        r = g.r + self.e_r
        error: Float = size * self.e_r + r * e_gate + 2.0 * u * r * (size + e_gate)
        error += self._flushed(r, np.abs(f.z), sigmoid(f.z))
        return error

    def _c_error(self) -> Float:
        error: Float = super()._c_error() + self.given.C * (self.g.q + self.e_q)[:, None]
        return error

    def u_terms(self) -> Terms:
        """du = D q + Σ_n λ φB."""
        terms = super().u_terms()
        more = (self.f.phi * self.given.B * (self.g.adjoint + self.adjoint.error)).sum(axis=1)
        return replace(terms, error=terms.error + more)

    def step_terms(self) -> Terms:
        """dΔ = Σ_n uλB + Σ_n dp A."""
        f, g, terms = self.f, self.g, super().step_terms()
        both = f.u[:, None] * f.B - self.exact.u[:, None] * self.exact.B
        more = both * (g.adjoint + self.adjoint.error) + self.given.A * f.A * (g.dp + self.e_dp)
        return replace(terms, error=terms.error + more.sum(axis=1))

    def B_terms(self) -> Terms:  # noqa: N802 — the matrix's name
        """dB = φ u λ."""
        terms = super().B_terms()
        more = self.f.phi * self.given.u[:, None] * (self.g.adjoint + self.adjoint.error)
        return replace(terms, error=terms.error + more)

    def D_terms(self) -> Terms:  # noqa: N802 — the matrix's name
        """dD = Σ q u."""
        terms = super().D_terms()
        return replace(terms, error=terms.error + (self.g.q + self.e_q) * self.given.u)

    def z_terms(self) -> Terms:
        """dz = r v silu'(z)."""
        f, g, given = self.f, self.g, self.given
        assert f.z is not None
        assert g.gate_slope is not None
        v, slope, r = np.abs(f.v), np.abs(g.gate_slope), g.r + self.e_r
        e_v = output_error(f, self.h, self.arithmetic)
        e_v += (given.C * self.exact.h).sum(axis=1) + f.D * given.u
        e_slope = silu_slope_error(f.z, given.z, self.arithmetic)
        error = r * (slope * e_v + e_slope * (v + e_v)) + self.e_r * slope * v
        v, weight = v + e_v, r * (slope + e_slope)
        error += 3.0 * self.u * weight * v + self._flushed(r, v, 1.0 + np.abs(f.z))
        peak = np.maximum(output_reach(f, self.h, self.arithmetic), np.maximum(r * v, v))
        return self._kept_before_gate(Terms(weight * v, error, peak), weight, v)


@dataclass(frozen=True, eq=False)
class ScanGradientErrors:
    """The errors of the scan's gradients, in the shapes of its arguments, and the largest number used."""

    errors: dict[str, Float]
    peak: float


def perturbed_gradients(
    scan: Scan, cotangents: Cotangents, e_r: Float, given: Perturbation, arithmetic: Arithmetic
) -> ScanGradientErrors:
    """For a real scan with a gate and softplus, one sequence a row, B and C of one group; e_r (b, d, l)."""
    b, d, l, n = scan.sizes
    names = ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"]
    names += ["initial_state"] if scan.initial_state is not None else []
    sums = {name: Sums.of(scan, name, arithmetic) for name in names}
    e_r_ = np.moveaxis(e_r, -1, 0)
    for batch, channels in blocks(b, d, n * l, ANALYSED):
        block = scan.block(batch, channels)
        forward = follow(block)
        backward = follow_back(forward, cotangents.block(batch, channels))
        here = given.block(batch, channels)
        analysis = PerturbedAnalysis(forward, backward, here, e_r_[:, batch, channels], arithmetic)
        for name, total in sums.items():
            total.add(block, batch, channels, analysis.terms(name))
    errors = {name: total.error for name, total in sums.items()}
    for name in ("u", "delta", "z"):
        errors[name] = np.moveaxis(errors[name], 0, -1)
    for name in ("B", "C"):
        errors[name] = errors[name][..., 0].transpose(2, 1, 0)
    errors["A"] = errors["A"][:, 0].T
    if "initial_state" in errors:
        errors["initial_state"] = errors["initial_state"].transpose(1, 2, 0)
    return ScanGradientErrors(errors, max(float(total.peak.max(initial=0.0)) for total in sums.values()))
