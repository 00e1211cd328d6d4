"""What honest arithmetic may do to the gradients of Mamba-3's recurrence, before heads and rows are summed.

The gradients of `_adjoint`, their products and sums as in `_near`, every sum in any order, from

    Λ         the recurrence of `_selective_scan._state_errors` on reversed arrays, with α_{t+1} for a
              decay, whose source is g q̃ᵀ
    α S⁻      αe_S⁻ + E_α(|S⁻| + e_S⁻) + u|αS⁻|; or, as S less its source, e_S + E_source + u|αS⁻|
    d(adt)    in a chunk, where it passes through a cumulative sum, κΣ M^Λ αM⁻ more, and what `Rows` has
    dθ        dk̃₂ᵢ₊₁ k̃₂ᵢ − dk̃₂ᵢ k̃₂ᵢ₊₁, rounded against |x₂ᵢ| + |x₂ᵢ₊₁|, of which the gradients of cos
              and sin are made
    λ(1 − λ)  as σ(1 − σ) of trap or of −trap: (1 − σ)σρ_σ + σ(σρ_σ + u) + uσ(1 − σ), the larger
    Σ dθ      four parts a step, of a cosine and a sine for k̃ and for q̃, meet what comes later in any order
    1 − tanh² u((2k_t + 1) tanh² + 1)

Λ and dk̃ are seen from a frame of `_turns`, as S is: what is handed to the step before turns by ε, and what
is given at the end by all that the frame has turned. In a chunk what reads S or Λ is rounded against the sums
of moduli M and M^Λ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssm_spec._functions import sigmoid
from ssm_spec._gate_errors import silu_error, silu_slope_error
from ssm_spec._mamba3._adjoint import Adjoint, Cotangents, sum_to_end
from ssm_spec._mamba3._errors import States, before_error, flat, forward_errors, in_order, weight_factors
from ssm_spec._mamba3._inputs import Siso
from ssm_spec._mamba3._near import ARRAYS, Near, largest, near
from ssm_spec._mamba3._rows import Rows
from ssm_spec._mamba3._siso import Path
from ssm_spec._mamba3._turns import TANH, Turns, moved, pairs, seen, state_moved, state_seen, turn_error
from ssm_spec._roundoff import LARGEST_FINITE, SMALLEST_NORMAL, UNIT_ROUNDOFF, Arithmetic
from ssm_spec._selective_scan._adjoint import gate_slope
from ssm_spec._selective_scan._bounds import sums_over_times
from ssm_spec._selective_scan._classes import all_of, chunks_back, next_step
from ssm_spec._selective_scan._local_errors import reached, sigmoid_error
from ssm_spec._selective_scan._state_errors import Recurrence, StateErrors, once_more
from ssm_spec._selective_scan._value import gate
from ssm_spec._validate import Float


class Analysis:
    """One order of evaluation, forward and back, in one frame. Every array has rows and heads last."""

    def __init__(
        self,
        siso: Siso,
        path: Path,
        states: States,
        back: Adjoint,
        given: Cotangents,
        turns: Turns,
        arithmetic: Arithmetic,
    ) -> None:
        self.siso, self.path, self.states, self.given, self.turns = siso, path, states, given, turns
        self.arithmetic, self.a = arithmetic, siso.angles.shape[-1]
        self.forward = found = forward_errors(siso, path, states, turns, arithmetic)
        self.S = self._state(states.after, found.S)
        k_before = before_error(siso, path, turns, found.k, arithmetic)
        self.k, self.q, self.k_before = (
            self._seen(self._stream(x, error))
            for x, error in ((path.k, found.k), (path.q, found.q), (path.k_before, k_before))
        )
        self.v, self.v_before = self._stream(siso.v), self._stream(path.v_before)
        weights = found.weights
        self.alpha, self.crossing = (
            near(np.exp(siso.adt), arithmetic, error) for error in (weights.alpha, weights.crossing)
        )
        early, late = weight_factors(siso)
        self.late = self._product(path.late, weights.late, *late)
        self.early = self._product(path.early, weights.early, *early)
        self.g = self._gated_cotangent()
        self.c = self.g[:, :, None] * self.q[:, None]
        self.over = next_step(siso.fresh)
        self.over[-1:] = True
        adjoint = back.adjoint.transpose(0, 3, 4, 1, 2)
        self.drift = drift = self._adjoint_drift(adjoint)
        self.adjoint = self._state(adjoint, drift)

    def _state(self, value: Float, drift: StateErrors) -> Near:
        """S or Λ, (l, p, n, b, h): in a chunk a sum of products, which may be taken in any order."""
        size = np.maximum(np.abs(value), drift.mass) + drift.error
        reach = np.maximum(reached(self.arithmetic, size), drift.meets)
        peak, factors = largest(drift.peak), 1.0 + size + drift.pairs
        return near(value, self.arithmetic, drift.error, drift.mass, peak, factors, reach)

    def _product(self, value: Float, error: Float | float, *factors: Float | float) -> Near:
        """What is a product of these factors, not negative, in any order."""
        reach = np.broadcast_to(reached(self.arithmetic, *factors), value.shape)
        return near(value, self.arithmetic, error, factors=all_of(*factors), reach=reach)

    def _stream(self, x: Float, error: Float | None = None) -> Near:
        """(l, b, h, x) as (l, x, b, h)."""
        e = np.zeros_like(x) if error is None else error
        return near(heads_last(x), self.arithmetic, heads_last(e))

    def _seen(self, x: Near) -> Near:
        """Rounded outside of the turned frame. (l, n, b, h)."""
        return x.rounded_against(heads_last(seen(time_first(x.mass), self.turns.drift)))

    def _turned(self, x: Near) -> Near:
        """Carried to the frame of the step before, or from it. (l, n, b, h)."""
        return x.wider(heads_last(moved(time_first(np.abs(x.value) + x.error), self.turns.step)))

    def _gated_cotangent(self) -> Near:
        """g = r silu(z)."""
        r, z = self._stream(self.given.y), self.siso.z
        if z is None:
            return r.wider(self.arithmetic.eta)
        error, size = silu_error(z, np.zeros_like(z), self.arithmetic), np.abs(z)
        return r * self._product(*(heads_last(x) for x in (gate(z), error, size, sigmoid(z))))

    def _adjoint_drift(self, adjoint: Float) -> StateErrors:
        """The drift of Λ: the recurrence on reversed arrays; a last cotangent enters undecayed."""
        siso, ends = self.siso, self.over[..., None]
        last = self.given.S.transpose(2, 3, 0, 1)[None]
        after = np.concatenate([adjoint, last])[1:]
        after[:-1] = np.where(ends[:-1, None, None], 0.0, after[:-1])
        turns, size = self.turns, np.abs(after)
        drift = np.concatenate([turns.drift[1:], turns.drift[-1:]])
        step = np.concatenate([turns.step[1:], turns.drift[-1:]])
        kept = np.where(ends, 1.0, next_step(self.alpha.value + self.alpha.error))[:, None, None]
        source_error = self.c.error + kept * state_moved(size, step)
        recurrence = Recurrence(
            decay=np.where(ends, 1.0, next_step(np.exp(siso.adt)))[::-1, None],
            decay_error=np.where(ends, 0.0, next_step(self.alpha.error))[::-1, None],
            exponent=np.where(ends, 0.0, next_step(np.abs(siso.adt)))[::-1, None],
            step_error=np.zeros_like(siso.adt),
            rate=np.ones(1),
            before=flat(state_seen(size, drift)[::-1]),
            state=flat(state_seen(adjoint, turns.drift)[::-1]),
            source=flat(self.c.mass[::-1]),
            source_error=flat(source_error[::-1]),
            fresh=self.over[::-1],
            complex=False,
            factors=flat(self.c.factors[::-1]),
            reach=flat(self.c.reach[::-1]),
        )
        chunks = chunks_back(np.abs(siso.adt), self.arithmetic.chunk, dual=True)
        found = in_order(recurrence, self.arithmetic, chunks, adjoint.shape)
        return found.map(lambda part: part[::-1])

    def gradients(self) -> dict[str, Near]:
        """Each gradient, of every head; of a state, without time."""
        siso, L, k, v = self.siso, self.adjoint, self.k[:, None], self.v[:, :, None]
        k_before, v_before = self.k_before[:, None], self.v_before[:, :, None]
        late, early = self.late[:, None], self.early[:, None]
        p, n = L.value.shape[1:3]
        own, following = (self._seen((L * x).summed(1, beside=p)) for x in (v, v_before))
        dk, k_state = self._with_next(late * own, self._turned(early * following), self._last_key(), p)
        v_last = near(self.given.v.transpose(2, 0, 1)[None], self.arithmetic, self.arithmetic.eta)
        own, following = ((L * x).summed(2, beside=n) for x in (k, k_before))
        dv, v_state = self._with_next(late * own, early * following, v_last, n)
        dk, dq = self._seen(dk), self._seen((self.S * self.g[:, :, None]).summed(1))
        turned = self._of_angles(dk, self.k, siso.k) + self._of_angles(dq, self.q, siso.q)
        dtheta, angle_state = self._sum_to_end(turned)
        d_late, d_early = (x.summed(1, 2, beside=p * n) for x in (L * k * v, L * k_before * v_before))
        share, rest, step = self._share(), self._rest(), near(siso.dt, self.arithmetic)
        turn, slope = self._turn()
        found = {
            "v": dv + self._passed_by(),
            "adt": self._decay_gradient() + self.early * d_early,
            "dt": share * d_late + rest * self.crossing * d_early + (turn * dtheta).summed(1),
            "trap": self._through_share(step * d_late, step * self.crossing * d_early),
            "angles": step[:, None] * slope * dtheta,
            "k": self._turned_back(dk),
            "q": self._turned_back(dq),
            "D": self.g * self.v,
            "angle_state": angle_state,
            "ssm_state": self._initial_state(),
            "k_state": k_state,
            "v_state": v_state,
        }
        return found if siso.z is None else found | {"z": self._gate_gradient(siso.z)}

    def _with_next(self, own: Near, before: Near, last: Near, terms: int) -> tuple[Near, Near]:
        """As `_adjoint` does: what t + 1 reads as the step before's is added, but not across a reset.

        Both, sums of so many terms, may be one; what is given last may be its first term.
        """
        last = last.wider(terms * self.arithmetic.u * (last.mass + last.error))
        fresh = self.siso.fresh[:, None, :, None]

        def following(array: Float, at_end: Float) -> Float:
            return np.concatenate([np.where(fresh, 0.0, array), at_end])

        parts = {name: following(getattr(before, name), getattr(last, name)) for name in ARRAYS}
        given = Near(**parts, peak=np.maximum(before.peak, last.peak), arithmetic=self.arithmetic)
        return own + given[1:], given[0]

    def _last_key(self) -> Near:
        """The cotangent of the last k̃, which is given outside of the turned frame. (1, n, b, h)."""
        k, drift = self.given.k[None], self.turns.drift[-1:]
        if not len(drift):
            return near(heads_last(k), self.arithmetic, self.arithmetic.eta)
        error = moved(k, drift) + self.arithmetic.eta
        return near(heads_last(k), self.arithmetic, heads_last(error), heads_last(seen(k, drift)))

    def _sum_to_end(self, terms: Near) -> tuple[Near, Near]:
        """The sums of the angles' cotangents to their sequences' ends, in any order.

        Each step adds four: of a cosine and a sine of θ, for k̃ and for q̃.
        """
        zero, last = np.zeros_like(self.given.angle), self.given.angle
        value, error, mass = (time_first(x) for x in (terms.value, terms.error, terms.mass))
        count, first_count = sum_to_end(self.siso, np.full_like(value, 4.0), zero)
        total, first = sum_to_end(self.siso, value, last)
        moved, first_moved = sum_to_end(self.siso, error, zero)
        size, first_size = sum_to_end(self.siso, mass + error, np.abs(last))

        def known(value: Float, error: Float, count: Float, size: Float) -> Near:
            e = error + count * (self.arithmetic.u * size + self.arithmetic.eta) + self.arithmetic.eta
            heads = [np.moveaxis(x, -1, -3) for x in (value, e, size)]
            found = near(heads[0], self.arithmetic, heads[1], peak=largest(heads[2] + heads[1]))
            return replace(found, peak=np.maximum(found.peak, terms.peak))

        return known(total, moved, count, size), known(first, first_moved, first_count, first_size)

    def _of_angles(self, cotangent: Near, turned: Near, x: Float) -> Near:
        """dk̃₂ᵢ₊₁ k̃₂ᵢ − dk̃₂ᵢ k̃₂ᵢ₊₁, (l, a, b, h)."""
        even, odd = (slice(None), slice(0, 2 * self.a, 2)), (slice(None), slice(1, 2 * self.a, 2))
        mass = heads_last(pairs(x, self.a))
        # cos x₂ᵢ and sin x₂ᵢ₊₁ are two products, and cos and sin factors of 1 at most.
        pair = replace(turned.rounded_against(mass), factors=2.0 * (2.0 + mass + turned.error))
        return cotangent[odd] * pair[even] + -(cotangent[even] * pair[odd])

    def _turned_back(self, cotangent: Near) -> Near:
        """R(−θ) of the cotangent; what does not turn stays."""
        even, odd = (slice(None), slice(0, 2 * self.a, 2)), (slice(None), slice(1, 2 * self.a, 2))
        error = turn_error(self.turns.apart, self.arithmetic)
        cos, sin = (self._stream(f(self.path.theta), error) for f in (np.cos, np.sin))
        drift = heads_last(self.turns.drift)
        cos, sin = (replace(x, mass=np.minimum(x.mass + drift, 1.0)) for x in (cos, sin))
        first = cotangent[even] * cos + cotangent[odd] * sin
        second = cotangent[odd] * cos + -(cotangent[even] * sin)
        parts = {name: getattr(cotangent, name).copy() for name in ARRAYS}
        for place, part in ((even, first), (odd, second)):
            for name, array in parts.items():
                array[place] = getattr(part, name)
        parts["mass"] = np.abs(parts["value"])
        return Near(**parts, peak=np.maximum(first.peak, second.peak), arithmetic=self.arithmetic)

    def _decay_gradient(self) -> Near:
        """⟨Λ, α S⁻⟩, one sum with the early source's, and in a chunk what its cumulative sum adds."""
        decayed, chunk = self._decayed_state(), self.arithmetic.evaluation == "chunk"
        count = self.adjoint.value.shape[1] * self.adjoint.value.shape[2]
        found = (self.adjoint * decayed).summed(1, 2, beside=count)
        if not chunk:
            return found
        rows = Rows(
            *(self.forward.S, self.drift, self.forward.source, self.c),
            handed_on=state_seen(self.adjoint.value - self.c.value, self.turns.drift),
            crossing=self.early[:, None, None] * self.v_before[:, :, None] * self.k_before[:, None],
        )
        rounded = rows.kappa * (self.adjoint.mass * decayed.mass).sum((1, 2))
        peak = np.maximum(found.peak, largest(rows.reach()))
        return replace(found.wider(rounded + rows.error()), peak=peak)

    def _decayed_state(self) -> Near:
        """α S⁻, directly or, unless declared direct, as what is left of S."""
        drift, source = self.forward.S, self.forward.source
        before, size = np.abs(self.states.before), np.abs(self.alpha.value)[:, None, None]
        e_before = np.concatenate([np.zeros_like(drift.error[:1]), drift.error[:-1]])[: len(before)]
        e_before = e_before + state_moved(before + e_before, self.turns.step)
        e_before = np.where(self.siso.fresh[:, None, None, :, None], 0.0, e_before) + self.arithmetic.eta
        decayed = size * state_seen(before, self.turns.drift)
        rounding = self.arithmetic.u * decayed + self.arithmetic.eta
        error = size * e_before + self.alpha.error[:, None, None] * (before + e_before) + rounding
        if self.arithmetic.decayed_state != "direct":
            error = np.maximum(error, drift.error + self.forward.source_error + rounding)
        mass = np.maximum(drift.mass - source, decayed) if self.arithmetic.evaluation == "chunk" else decayed
        value = self.alpha.value[:, None, None] * self.states.before
        factors = size + self.alpha.error[:, None, None], before + e_before
        reach = np.maximum(reached(self.arithmetic, *factors), mass + error)
        return near(value, self.arithmetic, error, mass, factors=all_of(*factors), reach=reach)

    def _share(self) -> Near:
        return near(sigmoid(self.siso.trap), self.arithmetic, self.forward.weights.share)

    def _rest(self) -> Near:
        return near(sigmoid(-self.siso.trap), self.arithmetic, self.forward.weights.rest)

    def _through_share(self, late: Near, early: Near) -> Near:
        """λ(1 − λ)(late − early), where each may meet a slope of its own: from trap or from −trap."""
        u, forms = self.arithmetic.u, []
        for trap in (self.siso.trap, -self.siso.trap):
            own, other = sigmoid(trap), sigmoid(-trap)
            e = own * sigmoid_error(trap, self.arithmetic)
            forms.append(other * e + own * (e + u) + u * own * other)
        share, rest = sigmoid(self.siso.trap), sigmoid(-self.siso.trap)
        slope = self._product(share * rest, np.maximum(*forms) + self.arithmetic.eta, share, rest)
        return slope * late + -(slope * early)

    def _turn(self) -> tuple[Near, Near]:
        """π tanh(angle) and its slope π(1 − tanh²)."""
        u, tanh = self.arithmetic.u, np.tanh(heads_last(self.siso.angles))
        size, square = np.abs(tanh), tanh * tanh
        turn = self._product(np.pi * tanh, (TANH + 2.0) * u * np.pi * size, np.pi, size)
        slope = np.pi * (1.0 - square)
        error = np.pi * u * ((2.0 * TANH + 1.0) * square + 1.0) + 2.0 * u * slope
        return turn, self._product(slope, error, np.pi, 1.0 - square)

    def _passed_by(self) -> Near:
        """D g, before or after the sums of both sources over states and over the times of a chunk."""
        skip = near(self.siso.D[None, :], self.arithmetic) * self.g
        over_times = sums_over_times(self.arithmetic, len(self.g.value), dual=True)[::-1, None, None, None]
        sums = 2.0 * (self.k.value.shape[1] + over_times)
        return skip.wider(sums * self.arithmetic.u * (np.abs(skip.value) + skip.error))

    def _gate_gradient(self, z: Float) -> Near:
        """dz = r (S q̃ + D v) silu'(z), what is gated being kept in the I/O type where that is declared."""
        arithmetic = self.arithmetic
        y = self._stream(self.forward.y, self.forward.y_error)
        stored = largest(np.abs(y.value) + y.error)
        y = replace(y, peak=np.maximum(y.peak, largest(heads_last(self.forward.y_reach))))
        if arithmetic.saved_gate == "io":
            io = arithmetic.storage
            y = y.wider(UNIT_ROUNDOFF[io] * np.abs(y.value) + SMALLEST_NORMAL[io])
            y = replace(y, peak=np.where(stored < LARGEST_FINITE[io], y.peak, np.inf))
        slope = gate_slope(z), silu_slope_error(z, np.zeros_like(z), arithmetic), 1.0 + np.abs(z), sigmoid(z)
        return self._stream(self.given.y) * y * self._product(*(heads_last(x) for x in slope))

    def _initial_state(self) -> Near:
        """α_0 Λ_0; with no step the last cotangent itself."""
        if len(self.alpha.value):
            first = (self.alpha[:1, None, None] * self.adjoint[:1]).wider(self._once_more()[:1])
            return first.wider(state_moved(np.abs(first.value) + first.error, self.turns.step[:1]))[0]
        return near(self.given.S.transpose(2, 3, 0, 1), self.arithmetic, self.arithmetic.eta)

    def _once_more(self) -> Float:
        """What α Λ loses besides, in the order of Λ. (l, p, n, b, h)."""
        exponent = np.abs(self.siso.adt)
        sums = chunks_back(exponent, self.arithmetic.chunk).at_source[::-1]
        decay, p, sums = (x[:, None, None] for x in (np.abs(self.alpha.value), exponent, sums))
        size = state_seen(self.adjoint.value, self.turns.drift)
        return once_more(self.drift, size, decay, p, sums, self.arithmetic, complex_=False)


def heads_last(x: Float) -> Float:
    """(l, b, h, x) to (l, x, b, h)."""
    return x.transpose(0, 3, 1, 2)


def time_first(x: Float) -> Float:
    """(l, x, b, h) to (l, b, h, x)."""
    return x.transpose(0, 2, 3, 1)
