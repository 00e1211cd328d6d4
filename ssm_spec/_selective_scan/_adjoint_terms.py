"""What honest arithmetic may do to the terms of the scan's gradients.

Each gradient is a sum of terms over times, rows, or the channels of a group; the sums over
the state, which stay within one time and channel, are bounded here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._functions import sigmoid
from ssm_spec._products import met
from ssm_spec._roundoff import LARGEST_FINITE, SMALLEST_NORMAL, UNIT_ROUNDOFF, Arithmetic
from ssm_spec._selective_scan._bounds import output_error, output_reach, sums_over_times
from ssm_spec._selective_scan._classes import (
    all_of,
    backward_errors,
    chunk_begins,
    chunks_back,
    forward_errors,
    next_step,
    sum_to_chunk_end,
)
from ssm_spec._selective_scan._local_errors import (
    LocalErrors,
    flushed,
    gate_slope_error,
    local_errors,
    reached,
    sigmoid_error,
    softplus_slope_reach,
)
from ssm_spec._selective_scan._state_errors import StateErrors, entering, once_more
from ssm_spec._selective_scan._trajectory import AdjointTrajectory, Trajectory

Array = NDArray[Any]
Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Terms:
    """The summands of one gradient: their moduli, the bounds of their errors, the range used."""

    size: Float
    error: Float
    peak: Float


class Analysis:
    """One order of evaluation, followed through one block: e_h, e_λ, e_ah, e_dp and the terms.

    The dual form, and a chunk by products of matrices, sum over n, or over what shares Δ, before they sum
    over time: partial sums are as large as the mass M of a chunk, not as the state, which is a sum with
    cancellation. There every product with a state or an adjoint is rounded against M.
    """

    dual = False
    """Whether C B may be formed before there is a state, in whatever chunks."""
    width = 1
    """How many channels share Δ, and are summed with the states."""

    def __init__(
        self,
        forward: Trajectory,
        backward: AdjointTrajectory,
        arithmetic: Arithmetic,
        local: LocalErrors | None = None,
    ) -> None:
        self.f, self.g, self.arithmetic = forward, backward, arithmetic
        self.dual = self.dual or arithmetic.evaluation == "matmul_chunk"
        self.u, self.u_m = arithmetic.u, arithmetic.product(forward.scan.complex)
        self.local = local_errors(forward, arithmetic) if local is None else local
        self.h: StateErrors = forward_errors(forward, self.local, arithmetic, self.dual)
        self.e_q = self._gated_cotangent_error()
        self.e_c = self._c_error()
        self.q_reach = self._gated_cotangent_reach()
        self.adjoint: StateErrors = backward_errors(
            forward, backward, self.local, self.e_c, self._c_reach(), arithmetic, self.dual
        )
        self.e_before = entering(self.h.error, forward.scan.sequences.fresh, arithmetic)
        self.e_dp = self._dp_error()
        self.peak_both = np.maximum(self.h.peak, self.adjoint.peak)
        chunked = arithmetic.in_chunks
        self.dp_reach = self._cumulative_sum_reach() if chunked else np.zeros_like(self.e_dp)
        if self.dual and chunked:
            self.f = replace(self.f, h=self.h.mass)
            self.g = replace(self.g, adjoint=self.adjoint.mass)

    def _flushed(self, *factors: Any) -> Any:
        return flushed(self.arithmetic, *factors)

    def _reached(self, *factors: Any) -> Any:
        return reached(self.arithmetic, *factors)

    @property
    def _decayed_product(self) -> tuple[Float, Float, Float]:
        """The factors of dp = λ a h⁻ with their errors: autograd forms λh⁻, an adjoint aλ, a state ah⁻."""
        f = self.f
        return self._adjoint_factor, f.a + self.local.decay, f.before + self.e_before

    @property
    def _adjoint_factor(self) -> Float:
        """|λ| with its error."""
        factor: Float = self.g.adjoint + self.adjoint.error
        return factor

    @property
    def _adjoint_reach(self) -> Float:
        """What λ may stand for in a product in any order; in a chunk of the dual form, a sum of products."""
        reach: Float = np.maximum(self._reached(self._adjoint_factor), self.adjoint.meets)
        return reach

    @property
    def _phi_factor(self) -> Float:
        """|φ| with its error."""
        factor: Float = self.f.phi + self.local.phi
        return factor

    @property
    def _hold_way(self) -> Float:
        """The largest number on the way to φ: if zoh, expm1(p), about |a|, 1/A and a complex p."""
        if not self.f.scan.zoh:
            return self.f.phi
        grown = self._reached(self.f.a + self.local.decay)
        way: Float = np.maximum(np.maximum(grown, self.f.inverse), self._turn)
        return way

    @property
    def _turn(self) -> Float:
        """|p| with its error if it is complex: exp of what is not finite has no angle. Else zero."""
        f = self.f
        exponent = f.p + f.A * self.local.step[:, None]
        turn: Float = self._reached(exponent) if f.scan.complex else np.zeros_like(f.p)
        return turn

    def _gated_cotangent_error(self) -> Float:
        """e_q = |r|(ρ_σ + u)|G| + u|q| + η; without a gate q is the cotangent itself."""
        f, g = self.f, self.g
        if f.z is None:
            return np.full_like(g.r, self.arithmetic.eta)
        error: Float = g.q * (sigmoid_error(f.z, self.arithmetic) + 2.0 * self.u)
        error += self._flushed(g.r, np.abs(f.z), sigmoid(f.z))
        return error

    def _gated_cotangent_reach(self) -> Float:
        """The largest number on the way to q = r z σ(z), in any order."""
        f, g = self.f, self.g
        reach: Float = self._reached(g.r) if f.z is None else self._reached(g.r, np.abs(f.z))
        return reach

    def _c_reach(self) -> Float:
        """The largest number on the way to c = γ q conj(C)."""
        reach = self._reached(self.f.scan.gamma, (self.g.q + self.e_q)[:, None], self.f.C)
        larger: Float = np.maximum(self.q_reach[:, None], np.broadcast_to(reach, self.f.a.shape))
        return larger

    def _c_error(self) -> Float:
        """c = γ q conj(C): one product."""
        f, g = self.f, self.g
        C = f.scan.gamma * f.C
        error: Float = C * self.e_q[:, None] + self.u_m * g.c + self._flushed(C, g.q[:, None])
        return error

    def _decayed_state_error(self) -> Float:
        """e_ah of a h_{t−1}: |a|e⁻ + E_a(|h⁻| + e⁻) + u_m|ah| directly; as h − b̄u, e_h + E_b + u|ah|.

        The larger of the two unless it is declared direct: a kernel may recover it either way.
        """
        f, u_m = self.f, self.u_m
        before = self.e_before
        decayed = f.a * f.before
        direct: Float = f.a * before + self.local.decay * (f.before + before) + u_m * decayed
        direct += self.arithmetic.eta
        if self.arithmetic.decayed_state == "direct":
            return direct
        subtracted = self.h.error + self.local.source + self.u * decayed + self.arithmetic.eta
        larger: Float = np.maximum(direct, subtracted)
        return larger

    def _dp_error(self) -> Float:
        """e_dp = e_λ(|ah| + e_ah) + |λ|e_ah + 2u_m|λ·ah|, and the chunk's cumulative sum."""
        f, g = self.f, self.g
        decayed, e_decayed = f.a * f.before, self._decayed_state_error()
        error: Float = self.adjoint.error * (decayed + e_decayed) + g.adjoint * e_decayed
        error += 2.0 * self.u_m * g.dp + self._flushed(g.adjoint, f.a, f.before)
        if self.arithmetic.in_chunks:
            error += self._through_cumulative_sum()
        return error

    @cached_property
    def handed_on(self) -> Float:
        """At a chunk's end |conj(a)λ| of the next step, at a sequence's its last cotangent; else 0."""
        f, g, over = self.f, self.g, self.f.scan.sequences.over
        last = np.roll(chunk_begins(len(g.c), self.arithmetic.chunk), -1)[:, None] | over
        decayed = np.where(over[:, None, :, None], 1.0, next_step(f.a)) * g.after
        return np.where(last[:, None, :, None], decayed, 0.0)

    @property
    def reads(self) -> Float:
        """c̄, what reads h_t in its chunk: |c|, and what is handed on."""
        read: Float = self.g.c + self.handed_on
        return read

    def _through_cumulative_sum(self) -> Float:
        """Z_r = Σ over t >= r in the chunk of c̄ loc_h + |b|loc_λ + (Q + 1)u(c̄M + M^λ|b|).

        Where sums over n and over channels come first, (n + p)u(c̄M + M^λ|b|) more.
        """
        f, c, q = self.f, self.reads, self.arithmetic.chunk
        rounding = (min(q, len(c)) + 1) * self.u_m + 2.0 * (self.u_m - self.u)
        rounding += (f.scan.sizes[3] + self.width) * self.u if self.dual else 0.0
        terms = c * (self.h.unshared + rounding * self.h.mass)
        terms += f.source * (self.adjoint.unshared + rounding * self.adjoint.mass)
        terms += self._flushed(c, self.h.mass) + self._flushed(f.source, self.adjoint.mass)
        terms += self.arithmetic.eta * f.scan.gamma * all_of(self.g.q[:, None], f.C) * self.h.pairs
        return sum_to_chunk_end(terms, q)

    def _cumulative_sum_reach(self) -> Float:
        """Σ over t >= r in the chunk of |c̄ h| and |b λ|, which cancel."""
        terms = self.reads * (self.h.mass + self.h.error)
        terms += self.f.source * (self.adjoint.mass + self.adjoint.error)
        reading = self._reached(self.f.scan.gamma, (self.g.q + self.e_q)[:, None], self.f.C)
        reading = reading + self._reached(self.handed_on)
        terms = np.maximum(terms, reading * self.h.meets)
        return sum_to_chunk_end(terms, self.arithmetic.chunk)

    def terms(self, name: str) -> Terms:
        """The terms of the gradient of the input named."""
        makers: dict[str, Callable[[], Terms]] = {
            "u": self.u_terms,
            "delta": self.delta_terms,
            "A": self.A_terms,
            "B": self.B_terms,
            "C": self.C_terms,
            "D": self.D_terms,
            "z": self.z_terms,
            "delta_bias": self.delta_terms,
            "initial_state": self.initial_terms,
        }
        return makers[name]()

    def u_terms(self) -> Terms:
        """du = D q + Re Σ_n λ conj(φB), in any order; in a chunk D q may be before the sum over times."""
        f, g = self.f, self.g
        roundings = met(f.scan.sizes[3], 1, f.scan.complex)
        through = (f.phi * f.B * g.adjoint).sum(axis=1)
        size = f.D * g.q + through
        error = f.phi * f.B * self.adjoint.error + f.B * self.local.phi * (g.adjoint + self.adjoint.error)
        pairs = all_of(f.phi, f.B) * self.adjoint.pairs
        error = (error + self._flushed(f.phi, f.B, g.adjoint) + self.arithmetic.eta * pairs).sum(axis=1)
        error += f.D * self.e_q + (roundings.read * self.u + self.u_m) * through + self._flushed(f.D, g.q)
        sums = sums_over_times(self.arithmetic, len(size), self.dual)[::-1, None, None]
        error += (roundings.passing + sums) * self.u * f.D * g.q + self.u * size
        reach = (self._reached(self._phi_factor, f.B) * self._adjoint_reach).sum(axis=1)
        reach += self._reached(f.D, g.q + self.e_q)
        peak = np.maximum(self.adjoint.peak, self._hold_way).max(axis=1)
        return Terms(size, error, np.maximum(peak, reach))

    def step_terms(self) -> Terms:
        """dΔ = Re Σ_n u λ conj(B a^(zoh)) + Re Σ_n dp conj(A): Σ|terms|, and the error of their sum."""
        f, g = self.f, self.g
        u_t = f.u[:, None]
        # Real parts of complex products are two terms each.
        count = 2 * f.scan.sizes[3] * (2 if f.scan.complex else 1)
        weight, e_weight = (f.a, self.local.decay) if f.scan.zoh else (1.0, 0.0)
        terms = u_t * f.B * weight * g.adjoint + f.A * g.dp
        error = u_t * f.B * (weight * self.adjoint.error + e_weight * (g.adjoint + self.adjoint.error))
        error += f.A * self.e_dp
        error += self._flushed(u_t, f.B, weight, g.adjoint) + self._flushed(f.A, g.dp)
        error += self.arithmetic.eta * all_of(u_t, f.B, weight) * self.adjoint.pairs
        size = terms.sum(axis=1)
        e_step = error.sum(axis=1) + ((count - 1) * self.u + 3.0 * self.u_m) * size
        reach = self._reached(u_t, f.B, weight + e_weight) * self._adjoint_reach
        through = np.maximum(self._reached(f.A, *self._decayed_product), self._reached(f.A) * self.dp_reach)
        reach = (reach + through).sum(axis=1)
        return Terms(size, e_step, np.maximum(self.peak_both.max(axis=1), reach))

    def delta_terms(self) -> Terms:
        """dx = σ(x) dΔ; without a softplus dΔ itself, of size Σ|terms|."""
        f, g, step = self.f, self.g, self.step_terms()
        e_step = step.error
        e_x = f.slope * e_step + self.local.slope * (g.d_step + e_step)
        peak = step.peak
        if f.scan.softplus:
            e_x += self.u * f.slope * g.d_step + self._flushed(f.slope, g.d_step)
            peak = np.maximum(peak, softplus_slope_reach(f.step, g.d_step + e_step, self.arithmetic))
        return Terms(f.slope * g.d_step if f.scan.softplus else step.size, e_x, peak)

    def A_terms(self) -> Terms:  # noqa: N802 — the matrix's name
        """dA = Σ Δ dp, and conj(∂φ/∂A) u λ conj(B) under the zero-order hold."""
        f, g = self.f, self.g
        step = f.step[:, None]
        size = step * g.dp
        error = step * self.e_dp + self.local.step[:, None] * (g.dp + self.e_dp) + self.u * size
        error += self._flushed(step, g.dp)
        factor = step + self.local.step[:, None]
        reach = np.maximum(
            self._reached(factor, *self._decayed_product), self._reached(factor) * self.dp_reach
        )
        if g.hold is not None:
            drive, e_hold = f.u[:, None] * f.B, self._hold_error(g.hold)
            size = size + drive * g.hold * g.adjoint
            error += drive * (g.hold * self.adjoint.error + e_hold * (g.adjoint + self.adjoint.error))
            error += (3.0 * self.u_m + self.u) * drive * g.hold * g.adjoint
            pairs = all_of(f.u[:, None], f.B, g.hold) * self.adjoint.pairs
            error += self._flushed(f.u[:, None], f.B, g.hold, g.adjoint) + self.arithmetic.eta * pairs
            held = self._hold_reach(g.hold) + e_hold
            held = self._reached(f.u[:, None], f.B, held) * self._adjoint_reach
            reach = np.maximum(reach, held)
        return Terms(size, error, np.maximum(self.peak_both, reach))

    def _hold_reach(self, hold: Float) -> Float:
        """The largest of φ, Δa, Δ²ψ and, above |p| = 1, the two parts of (Δa − φ)/A; never Δ² alone."""
        f = self.f
        decayed = f.step[:, None] * f.a
        parts = (decayed + f.phi) / np.where(f.A == 0.0, 1.0, f.A)
        slope = np.where(f.p < 1.0, hold, parts)
        return np.maximum(np.maximum(f.phi, decayed), slope)

    def _hold_error(self, hold: Float) -> Float:
        """Error of Δ²ψ(p): its slope in Δ is Δa; a series below |p| = 1, the closed form above.

        Δ|a|E_s + k_p u(Δ²|a| + 2|Δ²ψ|) + (k_e + 2k_d + 4)u Δ²(|a| + |φ|/Δ)/max(|p|, 1).
        """
        f, k = self.f, self.arithmetic
        step = f.step[:, None]
        k_exp = k.exponential(f.scan.complex)
        moved = step * f.a * self.local.step[:, None]
        moved = moved + k.k_scale * k.u * (step * step * f.a + 2.0 * hold)
        closed = step * (step * f.a + f.phi) / np.maximum(f.p, 1.0)
        error: Float = moved + (k_exp + 2.0 * k.k_div + 4.0) * k.u * closed + self._flushed(step, step)
        return error

    def B_terms(self) -> Terms:  # noqa: N802 — the matrix's name
        """dB = conj(φ) u λ."""
        f, g, u_t = self.f, self.g, self.f.u[:, None]
        size = f.phi * u_t * g.adjoint
        error = f.phi * u_t * self.adjoint.error + 2.0 * self.u_m * size
        error += u_t * self.local.phi * (g.adjoint + self.adjoint.error)
        pairs = all_of(f.phi, u_t) * self.adjoint.pairs
        error += self._flushed(f.phi, u_t, g.adjoint) + self.arithmetic.eta * pairs
        reach = self._reached(self._phi_factor, u_t) * self._adjoint_reach
        return Terms(size, error, np.maximum(np.maximum(self.adjoint.peak, self._hold_way), reach))

    def C_terms(self) -> Terms:  # noqa: N802 — the matrix's name
        """dC = γ q conj(h)."""
        f, g, gamma = self.f, self.g, self.f.scan.gamma
        q, e_q = g.q[:, None], self.e_q[:, None]
        size = gamma * q * f.h
        error = gamma * (q * self.h.error + e_q * (f.h + self.h.error)) + self.u * size
        pairs = gamma * all_of(q) * self.h.pairs
        error += gamma * self._flushed(q, f.h) + self.arithmetic.eta * pairs
        reach = self._reached(gamma, q + e_q) * np.maximum(self._reached(f.h + self.h.error), self.h.meets)
        reach = np.maximum(self.q_reach[:, None], reach)
        return Terms(size, error, np.maximum(self.h.peak, reach))

    def D_terms(self) -> Terms:  # noqa: N802 — the matrix's name
        """dD = Σ q u."""
        f, g = self.f, self.g
        size = g.q * f.u
        error = self.e_q * f.u + self.u * size + self._flushed(g.q, f.u)
        return Terms(size, error, np.maximum(self.q_reach, self._reached(g.q + self.e_q, f.u)))

    def z_terms(self) -> Terms:
        """dz = r v silu'(z); with the output before the gate kept in the I/O type, its rounding too."""
        f, g = self.f, self.g
        assert f.z is not None
        assert g.gate_slope is not None
        slope, v = np.abs(g.gate_slope), np.abs(f.v)
        e_v = output_error(f, self.h, self.arithmetic, self.dual)
        size = g.r * v * slope
        error = g.r * (slope * e_v + gate_slope_error(f.z, self.arithmetic) * (v + e_v))
        error += 3.0 * self.u * size + self._flushed(g.r, v, sigmoid(f.z), 1.0 + np.abs(f.z))
        reach = self._reached(g.r, v + e_v, 1.0 + np.abs(f.z))
        peak = np.maximum(output_reach(f, self.h, self.arithmetic), reach)
        return self._kept_before_gate(Terms(size, error, peak), g.r * slope, v + e_v)

    def _kept_before_gate(self, terms: Terms, weight: Float, v: Float) -> Terms:
        """The terms weight·v of dz where v is kept in the I/O type: rounded there, subnormal or too large."""
        if self.arithmetic.saved_gate != "io":
            return terms
        io = self.arithmetic.storage
        rounding = UNIT_ROUNDOFF[io] * (terms.size + SMALLEST_NORMAL[io] * weight)
        peak = np.where(v < LARGEST_FINITE[io], terms.peak, np.inf)
        return Terms(terms.size, terms.error + rounding, peak)

    def initial_terms(self) -> Terms:
        """d(initial) = conj(a)λ where a sequence starts: one decay more of the adjoint, in its own order."""
        f, g = self.f, self.g
        size = f.a * g.adjoint
        error = f.a * self.adjoint.error + self.local.decay * (g.adjoint + self.adjoint.error)
        error += self.u_m * size + self._flushed(f.a, g.adjoint)
        sums = f.A * chunks_back(f.step, self.arithmetic.chunk).at_source[::-1, None]
        error += once_more(self.adjoint, g.adjoint, f.a, f.p, sums, self.arithmetic, f.scan.complex)
        met = np.maximum(self._adjoint_reach, self._reached(self.adjoint.products))
        reach = np.maximum(self._reached(f.a + self.local.decay) * met, self._turn)
        return Terms(size, error, np.maximum(self.adjoint.peak, reach))
