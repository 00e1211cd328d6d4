"""How errors travel through a recurrence whose coefficients and inputs are wrong already.

Ā is wrong by E_A, B̄ by E_B, u by E_u. To the rounding of each step this adds what the perturbed step does,

    E_t = E_A (|h⁻| + e) + E_B (|u_t| + E_u) + |B̄| E_u,

carried on by the classes of evaluation of `_state_error`: for modes with |ā| + E_A in place of |ā|, which
covers all orders; for a full A with e from a first pass. The adjoint recurrence likewise, in reversed time.
What products formed first may lose, `_recurrence_lost`, is that of |Ā| + E_A, |B̄| + E_B and |u| + E_u.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ssm_spec import _recurrence as rec
from ssm_spec._products import Inexact, beyond, exactly, met, nonzero, product_error
from ssm_spec._recurrence_bounds import state_errors, through_powers
from ssm_spec._recurrence_lost import backward_pairs, forward_pairs, lost_by_gradients, lost_by_output
from ssm_spec._roundoff import Arithmetic
from ssm_spec._state_error import StateError, read_error
from ssm_spec._validate import Array, Float


class Wrong(NamedTuple):
    """How wrong the arguments of the recurrence are, in the flat shapes of `Recurrence`, and those of r."""

    A: Float
    B: Float
    u: Float
    r: Float


def forward_errors(
    call: rec.Recurrence, states: Array, wrong: Wrong, arithmetic: Arithmetic, own: bool
) -> list[StateError]:
    """Return the states' errors, one entry a class of evaluation."""
    B, u = Inexact(call.B, wrong.B), Inexact(call.u, wrong.u)
    entering = product_error("snm,bsml->bsnl", B, u, arithmetic)
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
    added = call.gamma * (np.swapaxes(np.abs(call.C), -1, -2) @ np.abs(r))
    dense = call.A.ndim == 3
    A = rec.adjoint(call.A) if dense else np.conj(call.A)
    E_A = np.swapaxes(wrong.A, -1, -2) if dense else wrong.A
    if added.shape[-1]:
        # The last state's cotangent enters the first reversed step.
        added[..., -1] += np.abs(adjoints[-1])
        entering[..., -1] += arithmetic.u * np.abs(adjoints[-1])
    reversed_states = np.concatenate((np.zeros_like(adjoints[:1]), adjoints[:-1][::-1]))
    zero = np.zeros(call.initial.shape)
    r_size = np.abs(r) + wrong.r
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
    first = state_errors(A, states, added, entering + E_A @ before, initial, a, own, fan, formed)
    reached = before + np.moveaxis(np.maximum.reduce([e.error[:-1] for e in first]), 0, -1)
    return state_errors(A, states, added, entering + E_A @ reached, initial, a, own, fan, formed)


def in_time_order(arithmetic: Arithmetic) -> Arithmetic:
    """Return what is said of the states: beside transforms they are taken in any order."""
    return replace(arithmetic, evaluation="any") if arithmetic.evaluation == "fft" else arithmetic


def _wider(call: rec.Recurrence, wrong: Wrong) -> rec.Recurrence:
    """Return the recurrence of moduli with their errors."""
    sizes = np.abs(call.A) + wrong.A, np.abs(call.B) + wrong.B, np.abs(call.u) + wrong.u
    return call._replace(A=sizes[0].astype(call.A.dtype), B=sizes[1], u=sizes[2])


def output_error(
    call: rec.Recurrence, states: Array, e: StateError, wrong: Wrong, arithmetic: Arithmetic
) -> Float:
    """Bound y = γ Re(C h) + D u, (b, s, p, l): the terms of both in any order, and those of a chunk."""
    h = _in_time(np.maximum(e.size, np.abs(states)), e.error, slice(1, None), call.A)
    u = Inexact(call.u, wrong.u)
    wider = exactly(h.value + h.error)
    rounded = product_error("spn,bsnl->bspl", exactly(call.C), wider, arithmetic)
    roundings = met(call.C.shape[-1], nonzero(call.D, -1), np.iscomplexobj(call.C))
    more = beyond(roundings.read, call.C, -1, arithmetic)
    rounded = rounded + more * (np.abs(call.C) @ np.abs(wider.value))
    through = call.gamma * (read_error(call.C, e) + rounded)
    direct = product_error("spm,bsml->bspl", exactly(call.D), u, arithmetic)
    more = beyond(roundings.passing + e.sums, call.D, -1, arithmetic)
    direct = direct + more * (np.abs(call.D) @ (np.abs(call.u) + wrong.u))
    sizes = call.gamma * (np.abs(call.C) @ np.abs(np.moveaxis(states[1:], 0, -1)))
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
    du = product_error("snm,bsnl->bsml", Inexact(call.B, wrong.B), lam, a)
    du = du + product_error("spm,bspl->bsml", exactly(call.D), R, a)
    B, D = np.swapaxes(np.abs(call.B), -1, -2), np.swapaxes(np.abs(call.D), -1, -2)
    roundings = met(call.C.shape[-1], nonzero(call.D, -2), np.iscomplexobj(call.B))
    read = a.u + beyond(roundings.read, call.B, -2, a)
    passing = a.u + beyond(roundings.passing + back.sums, call.D, -2, a)
    du = du + read * (B @ np.abs(lam.value)) + passing * (D @ np.abs(r)) + a.u * du
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
    for name, lost in lost_by_gradients(_wider(call, wrong), states, np.abs(r) + wrong.r, e, back, a).items():
        found[name] = found[name] + lost
    return found


def _in_time(size: Float, error: Float, steps: slice, A: Array) -> Inexact:
    """Return states (b, s, n, l) of given moduli, complex if A is: their products are charged as such."""
    return Inexact(np.moveaxis(size[steps], 0, -1).astype(A.dtype), np.moveaxis(error[steps], 0, -1))


def largest(arrays: list[Float]) -> Float:
    """Return the element-wise maximum."""
    return np.asarray(np.maximum.reduce(arrays))
