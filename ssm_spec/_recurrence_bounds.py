"""What honest arithmetic may do to the discrete recurrence and to its gradients.

The state's error comes from `_state_error`, by class of evaluation; this file adds what enters and what
reads the state. With m(x) = |x| and sums of k terms in any order (Higham 2002, (4.4)):

    E_t = (m u + u_m) |B̄||u_t| + floor              rounding of B̄ u_t
    e_y = γ |C| (e_h + met u (size + e_h)) + (met′ + Q) u |D||u_t| + u |y|
    e_dA = Σ e_λ (|h⁻| + e_h⁻) + |λ| e_h⁻ + (κ + 2) u Σ |λ||h⁻|, and so for the other sums of products.

D u may be the first term of y: `met` (`_products`) counts the roundings of either, and Q the sums over times
that D u meets in chunks, where products C a^j B come before a state.

The floor lets subnormal results be flushed and subnormal inputs be read as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ssm_spec import _recurrence as rec
from ssm_spec._calls import arguments_of
from ssm_spec._products import met, nonzero, roundings
from ssm_spec._recurrence import ssm_recurrence
from ssm_spec._recurrence_lost import backward_pairs, forward_pairs, lost_by_gradients, lost_by_output
from ssm_spec._recurrence_range import Sizes, forward_reach, output_reach, reach_of_gradients
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._state_error import StateError, Trace, apply_modulus, classes, read_error, sequential
from ssm_spec._systems import Parts, gradients
from ssm_spec._validate import Array, Float


@arguments_of(ssm_recurrence)
def ssm_recurrence_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return both outputs of `ssm_recurrence` with what honest arithmetic may do to each element.

    Modes: the classes of the selective scan, with decays as given. A full Ā: time order unless declared.
    """
    call = rec.read_keywords(inputs)
    states = rec.run(call)
    y = rec.output(call, states)
    with np.errstate(all="ignore"):
        errors = _forward(call, states, arithmetic)
        honest = [_outputs(call, states, e, arithmetic) for e in errors]
        own = [_outputs(call, states, e, ORACLE) for e in _forward(call, states, ORACLE, own=True)]
        sizes = Sizes.of(call)
        reach = forward_reach(call, sizes, states, errors, arithmetic)
        y_reach = rec.shaped(call, output_reach(call, sizes, reach, arithmetic))
        last_reach = rec.shaped(call, reach.states[-1])
    last = rec.shaped(call, states[-1])
    y_bound, last_bound = (rec.shaped(call, _largest(column)) for column in zip(*honest, strict=True))
    y_own, last_own = (rec.shaped(call, _largest(column)) for column in zip(*own, strict=True))
    return {
        "y": Parts(y, y_bound, y_own, y_reach < arithmetic.largest).bounded(),
        "last_state": Parts(last, last_bound, last_own, last_reach < arithmetic.largest).bounded(),
    }


@arguments_of(ssm_recurrence)
def ssm_recurrence_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `ssm_recurrence` with what honest arithmetic may do to each element."""
    call, names, r, r_last = rec.read_vjp(cotangents, wrt, inputs)
    states = rec.run(call)
    adjoints = rec.run_back(call, r, r_last)
    values = rec.pull_back(call, states, adjoints, r)
    with np.errstate(all="ignore"):
        honest, own = (
            [
                _gradient_errors(call, states, adjoints, r, e, e_back, a)
                for e, e_back in zip(
                    _forward(call, states, a, own=a is ORACLE),
                    _backward(call, adjoints, r, a, own=a is ORACLE),
                    strict=True,
                )
            ]
            for a in (arithmetic, ORACLE)
        )
        errors, back = _forward(call, states, arithmetic), _backward(call, adjoints, r, arithmetic)
        reach = reach_of_gradients(call, Sizes.of(call, r), states, adjoints, errors, back, arithmetic)
        rounded = rounded_by_sums(
            call, adjoints, states, r, list(zip(errors, back, strict=True)), arithmetic.u
        )
    parts = {
        name: Parts(
            values[name],
            _shaped_like(_largest([one[name] for one in honest]), values[name]),
            _shaped_like(_largest([one[name] for one in own]), values[name]),
            _shaped_like(reach[name] < arithmetic.largest, values[name])
            & (np.abs(values[name]) < arithmetic.largest),
            _shaped_like(rounded[name], values[name]) if name in rounded else 0.0,
        )
        for name in names
    }
    return gradients(parts, inputs, names, arithmetic.u, arithmetic.largest)


def _forward(
    call: rec.Recurrence, states: Array, arithmetic: Arithmetic, own: bool = False
) -> list[StateError]:
    """Return the states' errors, one entry a class."""
    u, eta, m = arithmetic.u, arithmetic.eta, call.u.shape[-2]
    B, x = np.abs(call.B), np.abs(call.u)
    added = B @ x
    floor = eta * (2 * m + 2 + np.sum(B, axis=-1)[..., None] + np.sum(x, axis=-2)[..., None, :])
    entering = (m * u + arithmetic.product(np.iscomplexobj(call.B))) * added + floor
    initial = eta * np.ones(call.initial.shape)
    formed = forward_pairs(call, states, arithmetic)
    return state_errors(call.A, states, added, entering, initial, arithmetic, own, m, formed)


def _backward(
    call: rec.Recurrence, adjoints: Array, r: Array, arithmetic: Arithmetic, own: bool = False
) -> list[StateError]:
    """Return the adjoint states' errors (l + 1, b, s, n), laid out as the adjoints are.

    The recurrence runs backwards, and the cotangent of the last state enters its first step.
    """
    u, eta, p = arithmetic.u, arithmetic.eta, call.C.shape[-2]
    C, x = np.abs(np.swapaxes(call.C, -1, -2)), np.abs(r)
    added = call.gamma * (C @ x)
    floor = eta * (2 * p + 2 + np.sum(C, axis=-1)[..., None] + np.sum(x, axis=-2)[..., None, :])
    entering = (p * u + arithmetic.product(np.iscomplexobj(call.C))) * added + floor
    A = rec.adjoint(call.A) if call.A.ndim == 3 else np.conj(call.A)
    # Time reversed; r_last is part of what enters first, so the reversed recurrence starts from nothing.
    reversed_states = np.concatenate((np.zeros_like(adjoints[:1]), adjoints[:-1][::-1]))
    if added.shape[-1]:
        entering[..., -1] += last_rounding(adjoints[-1], added[..., -1], p, np.iscomplexobj(r), u)
        added[..., -1] += np.abs(adjoints[-1])
    zero = np.zeros(call.initial.shape)
    formed = backward_pairs(call, adjoints, r, arithmetic)
    errors = state_errors(
        A, reversed_states, added[..., ::-1], entering[..., ::-1], zero, arithmetic, own, p, formed
    )
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


def last_rounding(last: Array, added: Float, p: int, complex_: bool, u: float) -> Float:
    """Return what the last state's cotangent rounds where it is the first term of C r, of modulus `added`.

    It meets p terms, twice as many in either part if both are complex; a sum loses no more than it adds.
    """
    parts = 2 if complex_ else 1
    size = np.abs(last)
    return np.asarray(u * size + np.minimum((parts * p - 1) * u * size, parts**0.5 * added))


def state_errors(
    A: Array,
    states: Array,
    added: Float,
    entering: Float,
    initial: Float,
    arithmetic: Arithmetic,
    own: bool,
    fan: int = 1,
    formed: Float | None = None,
) -> list[StateError]:
    # A subnormal decay or state may be read as zero.
    before = np.abs(states[:-1])
    if A.ndim == 3:
        read_as_zero = np.sum(np.abs(A), axis=-1) + np.sum(before, axis=-1, keepdims=True)
    else:
        read_as_zero = np.abs(A) + before
    floor = arithmetic.eta * (2 * A.shape[-1] + 2 + read_as_zero)
    added, entering = np.moveaxis(added, -1, 0), np.moveaxis(entering, -1, 0) + floor
    trace = Trace(A, states, added, entering, initial, fan, formed)
    run = (sequential,) if own else classes(arithmetic, trace.dense)
    return [one(trace, arithmetic) for one in run]


def _outputs(
    call: rec.Recurrence, states: Array, e: StateError, arithmetic: Arithmetic
) -> tuple[Float, Float]:
    """Bound y (b, s, p, l) and the last state (b, s, n)."""
    u, n, m = arithmetic.u, call.C.shape[-1], call.u.shape[-2]
    complex_ = np.iscomplexobj(call.C)
    each = met(n, nonzero(call.D, -1), complex_, whole=not call.diagonal)
    error, size = np.moveaxis(e.error[1:], 0, -1), np.moveaxis(e.size[1:], 0, -1)
    C, direct = np.abs(call.C), np.abs(call.D) @ np.abs(call.u)
    y = call.gamma * (read_error(call.C, e) + each.read * u * (C @ (size + error)))
    through = call.gamma * (C @ np.abs(np.moveaxis(states[1:], 0, -1)))
    floor = arithmetic.eta * (
        2 * (n + m + 1) + np.sum(C, axis=-1)[..., None] + np.sum(size, axis=-2)[..., None, :]
        + np.sum(np.abs(call.D), axis=-1)[..., None] + np.sum(np.abs(call.u), axis=-2)[..., None, :]
    )  # fmt: skip
    y = y + (each.passing + e.sums) * u * direct + u * (through + direct) + floor
    y = y + lost_by_output(call, e, arithmetic)
    return y, e.error[-1]


def _gradient_errors(
    call: rec.Recurrence,
    states: Array,
    adjoints: Array,
    r: Array,
    e: StateError,
    e_back: StateError,
    arithmetic: Arithmetic,
) -> dict[str, Float]:
    """Bound every gradient, in the flattened shapes of `pull_back`."""
    u, complex_ = arithmetic.u, np.iscomplexobj(call.A)
    b, length = call.u.shape[0], call.u.shape[-1]
    p, n = call.C.shape[-2:]
    lam, e_lam = (
        np.moveaxis(a[:-1], 0, -1) for a in (np.maximum(np.abs(adjoints), e_back.size), e_back.error)
    )
    before, e_before = (np.moveaxis(a[:-1], 0, -1) for a in (np.maximum(np.abs(states), e.size), e.error))
    after, e_after = (np.moveaxis(a[1:], 0, -1) for a in (np.maximum(np.abs(states), e.size), e.error))
    x, r = np.abs(call.u), np.abs(r)
    floor = arithmetic.eta * (b * length + 1)

    def units(both_complex: bool) -> float:
        return (roundings(b * length, both_complex) + 2) * u

    def summed(left: Float, e_left: Float, right: Float, e_right: Float, both_complex: bool = False) -> Float:
        """Bound Σ_{b,t} left right, both (b, s, ·, l), as (s, ·, ·)."""
        T = np.swapaxes
        error = (left + e_left) @ T(e_right, -1, -2) + e_left @ T(right, -1, -2)
        spread = np.sum(left, axis=-1)[..., :, None] + np.sum(right, axis=-1)[..., None, :]
        total = error + units(both_complex) * (left @ T(right, -1, -2)) + arithmetic.eta * spread
        return np.asarray(np.sum(total, axis=0) + floor)

    if call.diagonal:
        through = through_powers(e, e_back)
        per_step = (lam + e_lam) * e_before + e_lam * before + units(complex_) * lam * before + through
        dA = np.sum(per_step + arithmetic.eta * (lam + before), axis=(0, -1)) + floor
    else:
        dA = summed(lam, e_lam, before, e_before, complex_)
    zero_x, zero_r = np.zeros_like(x), np.zeros_like(r)
    B, D = np.abs(np.swapaxes(call.B, -1, -2)), np.abs(np.swapaxes(call.D, -1, -2))
    each = met(n, nonzero(call.D, -2), complex_)
    rounded = u * ((each.read + 1) * B @ (lam + e_lam) + (each.passing + e_back.sums + 1) * (D @ r))
    du = B @ e_lam + rounded + arithmetic.eta * (
        2 * (n + p + 1) + np.sum(B, axis=-1)[..., None] + np.sum(lam + e_lam, axis=-2)[..., None, :]
        + np.sum(D, axis=-1)[..., None] + np.sum(r, axis=-2)[..., None, :]
    )  # fmt: skip
    if length:
        first, e_first = np.abs(adjoints[0]), e_back.error[0]
        a = np.conj(np.swapaxes(call.A, -1, -2)) if call.A.ndim == 3 else call.A
        terms = n if call.A.ndim == 3 else 1
        initial = apply_modulus(a, e_first) + roundings(terms, complex_) * u * apply_modulus(
            a, first + e_first
        )
        initial = initial + arithmetic.eta * (2 * n + apply_modulus(np.ones_like(a), first + 1))
        initial = initial + e_back.once_more
    else:
        initial = np.zeros(call.initial.shape)
    found = {
        "A_bar": dA,
        "B_bar": summed(lam, e_lam, x, zero_x),
        "C": call.gamma * summed(r, zero_r, after, e_after, complex_ and not call.diagonal),
        "D": summed(r, zero_r, x, zero_x),
        "u": du,
        "initial_state": initial,
    }
    for name, lost in lost_by_gradients(call, states, r, e, e_back, arithmetic).items():
        found[name] = found[name] + lost
    return found


def rounded_by_sums(
    call: rec.Recurrence,
    adjoints: Array,
    states: Array,
    r: Array,
    errors: list[tuple[StateError, StateError]],
    u: float,
) -> dict[str, Float]:
    """Return what the sums over rows and times round that a gradient is which systems may share."""
    b, length, T = call.u.shape[0], call.u.shape[-1], np.swapaxes
    x, size_r, complex_ = np.abs(call.u), np.abs(r), np.iscomplexobj(call.A)
    found: list[dict[str, Float]] = []
    for e, back in errors:
        h, lam = (np.maximum(np.abs(y), z.size) for y, z in ((states, e), (adjoints, back)))
        before, after, lam = (np.moveaxis(part, 0, -1) for part in (h[:-1], h[1:], lam[:-1]))
        dA = np.sum(lam * before, axis=(0, -1)) if call.diagonal else np.sum(lam @ T(before, -1, -2), axis=0)
        whole = complex_ and not call.diagonal
        found.append(
            {
                "A_bar": roundings(b * length, complex_) * dA,
                "B_bar": roundings(b * length, False) * np.sum(lam @ T(x, -1, -2), axis=0),
                "C": roundings(b * length, whole) * call.gamma * np.sum(size_r @ T(after, -1, -2), axis=0),
                "D": roundings(b * length, False) * np.sum(size_r @ T(x, -1, -2), axis=0),
            }
        )
    return {name: u * _largest([one[name] for one in found]) for name in found[0]}


def through_powers(e: StateError, e_back: StateError) -> Float:
    """Bound what a gradient of a mode loses by passing through its powers, per step; (b, s, n, l).

    The power that joins what enters at s to what reads at t has t − s steps: those before the
    present one are in the forward distance, the others in the backward one.
    """
    if e.distance is None or e_back.distance is None or e.per_step is None:
        return np.zeros(1)
    M, L, X, Y = (a[:-1] for a in (e.size, e_back.size, e.distance, e_back.distance))
    return np.moveaxis(e.per_size * M * L + e.per_step * (X * L + M * Y), 0, -1)


def _largest(arrays: Any) -> Float:
    return np.asarray(np.maximum.reduce(list(arrays)))


def _shaped_like(array: Array, value: Array) -> Array:
    return np.asarray(array).reshape(value.shape)
