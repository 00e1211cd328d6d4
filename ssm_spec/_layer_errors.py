"""How errors travel through a recurrence whose coefficients and inputs are wrong already.

Ā is wrong by E_A, B̄ by E_B, u by E_u. To the rounding of each step this adds what the perturbed step does,

    E_t = E_A (|h⁻| + e) + E_B (|u_t| + E_u) + |B̄| E_u,

carried on by the classes of evaluation of `_state_error`: for modes with |ā| + E_A in place of |ā|, which
covers all orders; for a full A with e put back, pass by pass. The adjoint recurrence likewise, reversed.
What products formed first may lose, `_recurrence_lost`, is that of |Ā| + E_A, |B̄| + E_B and |u| + E_u.

Where u and r are products themselves, and outputs are weighted and summed, an author may take weights first
and sum all terms at once (`Weighted`): Σ_i q_i (C h_i + D u_i) is Σ_in (q_i C_n) h_in + Σ_i (q_i D) u_i.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ssm_spec import _recurrence as rec
from ssm_spec._products import Inexact, beyond, exactly, met, nonzero, product_error
from ssm_spec._recurrence_bounds import last_rounding, state_errors, through_powers
from ssm_spec._recurrence_lost import backward_pairs, forward_pairs, lost_by_gradients, lost_by_output
from ssm_spec._roundoff import Arithmetic
from ssm_spec._state_error import PASSES, StateError, growing, read_error
from ssm_spec._validate import Array, Float


class Wrong(NamedTuple):
    """How wrong the arguments of the recurrence are, in the flat shapes of `Recurrence`, and those of r."""

    A: Float
    B: Float
    u: Float
    r: Float
    weighted: Weighted | None = None


class Ways(NamedTuple):
    """Of numbers that are products: Π (1 + |f|) and Π max(1, |f|) over their factors, each with its error."""

    factors: Float
    reach: Float


class Weighted(NamedTuple):
    """Inputs, and cotangents of y, that are products; and how many outputs are weighted and summed."""

    joined: int
    u: Ways
    r: Ways | None = None


def forward_errors(
    call: rec.Recurrence, states: Array, wrong: Wrong, arithmetic: Arithmetic, own: bool
) -> list[StateError]:
    """Return the states' errors, one entry a class of evaluation."""
    B, u = Inexact(call.B, wrong.B), Inexact(call.u, wrong.u)
    entering = product_error("snm,bsml->bsnl", B, u, arithmetic)
    if wrong.weighted is not None:
        entering = entering + arithmetic.eta * ((1 + np.abs(call.B) + wrong.B) @ wrong.weighted.u.factors)
    added = np.abs(call.B) @ np.abs(call.u)
    initial = arithmetic.eta * np.ones(call.initial.shape)
    formed = forward_pairs(_wider(call, wrong), states, in_time_order(arithmetic))
    fan = call.u.shape[-2]
    return _carried(call.A, wrong.A, states, added, entering, initial, arithmetic, own, fan, formed)


def backward_errors(
    call: rec.Recurrence, adjoints: Array, r: Array, wrong: Wrong, arithmetic: Arithmetic, own: bool
) -> list[StateError]:
    """Return the adjoint states' errors, laid out as the adjoints are: the recurrence in reversed time."""
    entering = call.gamma * product_error("spn,bspl->bsnl", exactly(call.C), Inexact(r, wrong.r), arithmetic)
    C = np.swapaxes(np.abs(call.C), -1, -2)
    added = call.gamma * (C @ np.abs(r))
    if wrong.weighted is not None:
        entering = entering + arithmetic.eta * call.gamma * ((1 + C) @ (1 + _cotangent_size(r, wrong)))
    dense = call.A.ndim == 3
    A = rec.adjoint(call.A) if dense else np.conj(call.A)
    E_A = np.swapaxes(wrong.A, -1, -2) if dense else wrong.A
    if added.shape[-1]:
        # The last state's cotangent enters the first reversed step.
        met = added[..., -1], call.C.shape[-2], np.iscomplexobj(r)
        entering[..., -1] += last_rounding(adjoints[-1], *met, arithmetic.u)
        added[..., -1] += np.abs(adjoints[-1])
    reversed_states = np.concatenate((np.zeros_like(adjoints[:1]), adjoints[:-1][::-1]))
    zero = np.zeros(call.initial.shape)
    r_size = _cotangent_size(r, wrong)
    formed = backward_pairs(_wider(call, wrong), adjoints, r_size, in_time_order(arithmetic))
    added, entering, fan = added[..., ::-1], entering[..., ::-1], call.C.shape[-2]
    errors = _carried(A, E_A, reversed_states, added, entering, zero, arithmetic, own, fan, formed)
    return [
        e._replace(
            error=np.concatenate((e.error[1:][::-1], zero[None])),
            size=np.concatenate((e.size[1:][::-1], np.abs(adjoints[-1:]))),
            distance=None if e.distance is None else np.concatenate((e.distance[1:][::-1], zero[None])),
            whole=None,
            pairs=None if e.pairs is None else np.concatenate((e.pairs[1:][::-1], zero[None])),
            sums=np.flip(e.sums),
        )
        for e in errors
    ]


def _carried(
    A: Array,
    E_A: Float,
    states: Array,
    added: Float,
    entering: Float,
    initial: Float,
    arithmetic: Arithmetic,
    own: bool,
    fan: int,
    formed: Float | None,
) -> list[StateError]:
    """Carry what enters, (b, s, n, l), and what E_A does to each step, through the classes."""
    a = in_time_order(arithmetic)
    before = np.moveaxis(np.abs(states[:-1]), 0, -1)
    if A.ndim == 2:
        grown = np.where(A == 0, E_A, A * (1.0 + E_A / np.where(A == 0, 1.0, np.abs(A))))
        wider = entering + E_A[..., None] * before
        return state_errors(grown, states, added, wider, initial, a, own, fan, formed)
    found = state_errors(A, states, added, entering + E_A @ before, initial, a, own, fan, formed)
    worst = _worst(found)
    for _ in range(PASSES):
        # E_A meets the error itself: what one pass found is put there, until it grows no more.
        last, reached = worst, before + np.moveaxis(worst[:-1], 0, -1)
        found = state_errors(A, states, added, entering + E_A @ reached, initial, a, own, fan, formed)
        worst = _worst(found)
        if not np.any(growing(worst, last)):
            return found
    grows = growing(worst, last)
    return [e._replace(error=np.where(grows, np.inf, e.error), whole=None) for e in found]


def _worst(found: list[StateError]) -> Float:
    return largest([e.error for e in found])


def in_time_order(arithmetic: Arithmetic) -> Arithmetic:
    """Return what is said of the states: beside transforms they are taken in any order."""
    return replace(arithmetic, evaluation="any") if arithmetic.evaluation == "fft" else arithmetic


def _wider(call: rec.Recurrence, wrong: Wrong) -> rec.Recurrence:
    """Return the recurrence of moduli with their errors; 1 + u is Π (1 + |f|) of what u is a product of."""
    sizes = np.abs(call.A) + wrong.A, np.abs(call.B) + wrong.B, np.abs(call.u) + wrong.u
    u = sizes[2] if wrong.weighted is None else wrong.weighted.u.factors - 1
    return call._replace(A=sizes[0].astype(call.A.dtype), B=sizes[1], u=u)


def _cotangent_size(r: Array, wrong: Wrong) -> Float:
    """Return |r| with its error, or likewise Π (1 + |f|) − 1."""
    if wrong.weighted is None or wrong.weighted.r is None:
        return np.abs(r) + wrong.r
    return wrong.weighted.r.factors - 1


def roundings_of_reads(
    read: int, passing: int, sums: Float | float, complex_: bool, wrong: Wrong, whole: bool = False
) -> tuple[Float | float, Float | float]:
    """Return what a term C h and one D u meet: `met`, sums over a chunk's times, and all that is joined."""
    if wrong.weighted is None:
        found = met(read, passing, complex_, whole)
        return found.read, found.passing + sums
    w = wrong.weighted.joined
    found = met(w * read, w * passing, complex_, whole)
    # One more is the product with a weight.
    return found.read + 1 + (w - 1) * sums, found.passing + 1 + w * sums


def output_error(
    call: rec.Recurrence, states: Array, e: StateError, wrong: Wrong, arithmetic: Arithmetic
) -> Float:
    """Bound y = γ Re(C h) + D u, (b, s, p, l): the terms of both in any order, and those of a chunk."""
    h = _in_time(np.maximum(e.size, np.abs(states)), e.error, slice(1, None), call.A)
    u, C = Inexact(call.u, wrong.u), np.abs(call.C)
    wider = exactly(np.abs(h.value) + h.error)
    # Of moduli, as of real numbers; what complex ones meet besides is counted next.
    rounded = product_error("spn,bsnl->bspl", exactly(C), wider, arithmetic)
    n, passed = call.C.shape[-1], nonzero(call.D, -1)
    whole = not call.diagonal
    read, passing = roundings_of_reads(n, passed, e.sums, np.iscomplexobj(call.C), wrong, whole)
    rounded = rounded + beyond(read, C, -1, arithmetic) * (C @ wider.value)
    through = call.gamma * (read_error(call.C, e) + rounded)
    direct = product_error("spm,bsml->bspl", exactly(call.D), u, arithmetic)
    more = beyond(passing, call.D, -1, arithmetic)
    direct = direct + more * (np.abs(call.D) @ (np.abs(call.u) + wrong.u))
    sizes = call.gamma * (C @ np.abs(np.moveaxis(states[1:], 0, -1)))
    sizes = sizes + np.abs(call.D) @ (np.abs(call.u) + wrong.u)
    lost = lost_by_output(call, e, arithmetic)
    return np.asarray(through + direct + arithmetic.u * (sizes + through + direct) + arithmetic.eta + lost)


def gradient_errors(
    call: rec.Recurrence,
    states: Array,
    adjoints: Array,
    r: Array,
    e: StateError,
    back: StateError,
    wrong: Wrong,
    arithmetic: Arithmetic,
) -> dict[str, Float]:
    """Bound every gradient of the recurrence, in the flat shapes of `pull_back`."""
    lam = _in_time(np.maximum(np.abs(adjoints), back.size), back.error, slice(None, -1), call.A)
    before = _in_time(np.maximum(np.abs(states), e.size), e.error, slice(None, -1), call.A)
    after = _in_time(np.maximum(np.abs(states), e.size), e.error, slice(1, None), call.A)
    u, R = Inexact(call.u, wrong.u), Inexact(r, wrong.r)
    a = arithmetic
    if call.diagonal:
        joined = np.broadcast_to(through_powers(e, back), lam.error.shape)
        dA = product_error("bsnl,bsnl->sn", lam, before, a) + np.sum(joined, axis=(0, -1))
    else:
        dA = product_error("bsnl,bskl->snk", lam, before, a)
    # Of moduli, as of real numbers; what complex ones meet besides is counted next.
    moduli = Inexact(np.abs(call.B), wrong.B), Inexact(np.abs(lam.value), lam.error)
    du = product_error("snm,bsnl->bsml", *moduli, a)
    du = du + product_error("spm,bspl->bsml", exactly(call.D), R, a)
    B, D = np.swapaxes(np.abs(call.B), -1, -2), np.swapaxes(np.abs(call.D), -1, -2)
    n, passed = call.C.shape[-1], nonzero(call.D, -2)
    read, passing = roundings_of_reads(n, passed, back.sums, np.iscomplexobj(call.B), wrong)
    met_by_read, met_by_passing = (
        a.u + beyond(read, moduli[0].value, -2, a),
        a.u + beyond(passing, call.D, -2, a),
    )
    du = du + met_by_read * (B @ np.abs(lam.value)) + met_by_passing * (D @ np.abs(r)) + a.u * du
    first = Inexact(lam.value[..., :1], lam.error[..., :1])
    if not call.u.shape[-1]:
        initial = np.zeros(call.initial.shape)
    elif call.diagonal:
        initial = product_error("sn,bsnl->bsn", Inexact(call.A, wrong.A), first, a) + back.once_more
    else:
        initial = product_error("skn,bskl->bsn", Inexact(call.A, wrong.A), first, a) + back.once_more
    found = {
        "A_bar": dA,
        "B_bar": product_error("bsnl,bsml->snm", lam, u, a),
        "C": call.gamma * product_error("bspl,bsnl->spn", R, after, a),
        "D": product_error("bspl,bsml->spm", R, u, a),
        "u": du,
        "initial_state": initial,
    }
    r_size = _cotangent_size(r, wrong)
    for name, lost in lost_by_gradients(_wider(call, wrong), states, r_size, e, back, a).items():
        found[name] = found[name] + lost
    if wrong.weighted is not None:
        x, reads = np.swapaxes(wrong.weighted.u.factors, -1, -2), 1 + r_size
        held = np.swapaxes(1 + np.abs(after.value) + after.error, -1, -2)
        found["B_bar"] = found["B_bar"] + a.eta * np.sum((1 + np.abs(lam.value) + lam.error) @ x, axis=0)
        found["C"] = found["C"] + a.eta * call.gamma * np.sum(reads @ held, axis=0)
        found["D"] = found["D"] + a.eta * np.sum(reads @ x, axis=0)
    return found


def lost_before_weights(
    call: rec.Recurrence, states: Array, e: StateError, wrong: Wrong, arithmetic: Arithmetic
) -> Float:
    """Return what y loses of products with C and D, (b, s, p, l): after a weight w, 1 + |w| of it."""
    if wrong.weighted is None:
        return np.zeros(())
    h = _in_time(np.maximum(e.size, np.abs(states)), e.error, slice(1, None), call.A)
    lost = call.gamma * ((1 + np.abs(call.C)) @ (1 + np.abs(h.value) + h.error))
    lost = lost + (1 + np.abs(call.D)) @ wrong.weighted.u.factors
    return np.asarray(arithmetic.eta * lost + lost_by_output(call, e, arithmetic))


def lost_before_weights_back(
    call: rec.Recurrence, adjoints: Array, r: Array, back: StateError, wrong: Wrong, arithmetic: Arithmetic
) -> Float:
    """Return the same of the gradient of u, (b, s, m, l)."""
    if wrong.weighted is None:
        return np.zeros(())
    lam = _in_time(np.maximum(np.abs(adjoints), back.size), back.error, slice(None, -1), call.A)
    B, D = (1 + np.swapaxes(np.abs(M), -1, -2) for M in (np.abs(call.B) + wrong.B, call.D))
    met_by_B = 1 + np.abs(lam.value) + lam.error
    if back.pairs is not None:
        met_by_B = met_by_B + 2 * np.moveaxis(back.pairs[:-1], 0, -1)
    return np.asarray(arithmetic.eta * (B @ met_by_B + D @ (1 + _cotangent_size(r, wrong))))


def _in_time(size: Float, error: Float, steps: slice, A: Array) -> Inexact:
    """Return states (b, s, n, l) of given moduli, complex if A is: their products are charged as such."""
    return Inexact(np.moveaxis(size[steps], 0, -1).astype(A.dtype), np.moveaxis(error[steps], 0, -1))


def largest(arrays: list[Float]) -> Float:
    """Return the element-wise maximum."""
    return np.asarray(np.maximum.reduce(arrays))
