"""What honest arithmetic may reach on its way through the discrete recurrence and its gradients.

The rule of the factors, upwards (`reached`): a product f₁ … f_m, in any order, is nowhere on its way larger
than Π (1 + u_m) max(1, |f_i|), each |f_i| with its error. The terms of a sum count before they cancel:

    h      Σ_m (B̄, u), Σ (Ā, h⁻), what the declared orders sum, and all that came before
    y      Σ_n (γ, C, h) + Σ_m (D, u)
    dĀ     Σ (λ, h⁻); through products of a mode's decays every c meets every source: l Σ (γ, C, r) Σ (B̄, u)
    dB̄, dC, dD, du     Σ (λ, u), Σ (γ, r, h), Σ (r, u), Σ_n (B̄, λ) + Σ_p (D, r)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssm_spec import _recurrence as rec
from ssm_spec._recurrence_chunks import chunk_begins, meets, products_first
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import reached
from ssm_spec._state_error import StateError
from ssm_spec._validate import Array, Float


class Sizes(NamedTuple):
    """Moduli of what a recurrence is made of, with their errors; u (b, s, m, l), r (b, s, p, l)."""

    A: Float
    B: Float
    C: Float
    D: Float
    u: Float
    r: Float

    @classmethod
    def of(cls, call: rec.Recurrence, r: Array | None = None) -> Sizes:
        """Exact ones."""
        cotangent = np.zeros((*call.u.shape[:2], call.C.shape[-2], call.u.shape[-1])) if r is None else r
        return cls(*(np.abs(x) for x in (call.A, call.B, call.C, call.D, call.u, cotangent)))


class Reach(NamedTuple):
    """The largest numbers on the way to the states (l + 1, b, s, n), and to what enters them (l, b, s, n).

    `size` (l + 1, b, s, n) is that of a state with its error, `met` (l, b, s, n) of what reads may meet it.
    """

    states: Float
    entering: Float
    size: Float
    met: Float


def forward_reach(
    call: rec.Recurrence, sizes: Sizes, states: Array, errors: list[StateError], arithmetic: Arithmetic
) -> Reach:
    """Follow the states."""
    entering = np.moveaxis(_summed("snm,bsml->bsnl", arithmetic, sizes.B, sizes.u), -1, 0)
    begins = chunk_begins(len(entering), arithmetic.chunk)
    return _follow(sizes.A, entering, np.abs(states), errors, arithmetic, begins)


def backward_reach(
    call: rec.Recurrence, sizes: Sizes, adjoints: Array, errors: list[StateError], arithmetic: Arithmetic
) -> Reach:
    """Follow the adjoints, laid out as they are."""
    A = np.swapaxes(sizes.A, -1, -2) if sizes.A.ndim == 3 else sizes.A
    entering = call.gamma * np.moveaxis(_summed("spn,bspl->bsnl", arithmetic, sizes.C, sizes.r), -1, 0)
    back = [StateError(e.error[::-1], e.size[::-1]) for e in errors]
    begins = chunk_begins(len(entering), arithmetic.chunk, back=True)
    found = _follow(A, entering[::-1], np.abs(adjoints[::-1]), back, arithmetic, begins)
    return Reach(*(part[::-1] for part in found))


def output_reach(call: rec.Recurrence, sizes: Sizes, h: Reach, arithmetic: Arithmetic) -> Float:
    """Return the largest number on the way to y, (b, s, p, l)."""
    through = _summed("spn,lbsn->bspl", arithmetic, sizes.C, h.met)
    direct = _summed("spm,bsml->bspl", arithmetic, sizes.D, sizes.u)
    states = np.moveaxis(np.max(h.states[1:], axis=-1, initial=0.0), 0, -1)[:, :, None]
    return np.asarray(np.maximum(states, call.gamma * through + direct))


def reach_of_gradients(
    call: rec.Recurrence,
    sizes: Sizes,
    states: Array,
    adjoints: Array,
    errors: list[StateError],
    back: list[StateError],
    arithmetic: Arithmetic,
) -> dict[str, Float]:
    """Follow states and adjoints, and return the largest number on the way to each gradient."""
    h = forward_reach(call, sizes, states, errors, arithmetic)
    lam = backward_reach(call, sizes, adjoints, back, arithmetic)
    return _gradient_reach(call, sizes, h, lam, arithmetic)


def _gradient_reach(
    call: rec.Recurrence, sizes: Sizes, h: Reach, lam: Reach, arithmetic: Arithmetic
) -> dict[str, Float]:
    """Return the largest number on the way to each gradient, in the flat shapes of `pull_back`."""
    gamma, back, before, after = call.gamma, lam.met, h.size[:-1], h.met
    h_peak, lam_peak = (np.max(x.states, axis=(0, 1), initial=0.0) for x in (h, lam))
    if call.diagonal:
        dA = _summed("lbsn,lbsn->sn", arithmetic, back, before)
        c = np.sum(lam.entering, axis=0) + lam.size[-1]
        v = np.sum(h.entering, axis=0) + h.size[0]
        dA = np.maximum(dA, len(back) * np.sum(reached(arithmetic, c, v), axis=0))
        dA = np.maximum(dA, np.maximum(h_peak, lam_peak))
    else:
        joined = np.concatenate([before[:1], np.maximum(before[1:], after[:-1])])
        dA = _summed("lbsn,lbsk->snk", arithmetic, back, joined)
        dA = np.maximum(dA, np.maximum(lam_peak[..., :, None], h_peak[..., None, :]))
    du = _summed("snm,lbsn->bsml", arithmetic, sizes.B, back)
    du = du + _summed("spm,bspl->bsml", arithmetic, sizes.D, sizes.r)
    steps = np.moveaxis(np.max(lam.states[:-1], axis=-1, initial=0.0), 0, -1)[:, :, None]
    dB = _summed("lbsn,bsml->snm", arithmetic, back, sizes.u)
    dC = gamma * _summed("bspl,lbsn->spn", arithmetic, sizes.r, after)
    if not call.diagonal and products_first(call.A, arithmetic):
        # Products with a matrix, zeros of it too, bring what has overflowed to every entry that they make.
        dA, dB, dC = (_spread(x, axes) for x, axes in ((dA, (-2, -1)), (dB, -2), (dC, -1)))
    first = lam.states[0]
    if len(back):
        A = np.swapaxes(sizes.A, -1, -2) if sizes.A.ndim == 3 else sizes.A
        first = np.maximum(first, _decayed(A, back[:1], arithmetic)[0])
    return {
        "A_bar": dA,
        "B_bar": np.maximum(dB, lam_peak[..., :, None]),
        "C": np.maximum(dC, h_peak[..., None, :]),
        "D": _summed("bspl,bsml->spm", arithmetic, sizes.r, sizes.u),
        "u": np.maximum(du, steps),
        "initial_state": first,
    }


def _follow(
    A: Float,
    entering: Float,
    size: Float,
    errors: list[StateError],
    arithmetic: Arithmetic,
    begins: Array,
) -> Reach:
    size = np.maximum.reduce([size, *(e.size for e in errors)])
    size = size + np.maximum.reduce([e.error for e in errors])
    reach = size.copy()
    if len(entering):
        # The terms of A h and of B u may be one sum, in any order, and count before they cancel.
        reach[1:] = np.maximum(reach[1:], entering + _decayed(A, size[:-1], arithmetic))
    if A.ndim == 2:
        powers = A ** np.arange(len(size)).reshape(-1, 1, 1)
        reach = np.maximum(reach, powers[:, None])
    met = size[1:]
    if products_first(A, arithmetic):
        met = np.maximum(met, meets(A, entering, size[:-1], begins, arithmetic))
        reach[1:] = np.maximum(reach[1:], met)  # a chunk may sum over time before it multiplies with B̄
    if A.ndim == 3:
        reach = np.broadcast_to(np.max(reach, axis=-1, keepdims=True), reach.shape)
    return Reach(np.maximum.accumulate(reach, axis=0), entering, size, met)


def _spread(reach: Float, axes: int | tuple[int, ...]) -> Float:
    """Return the largest along some axes, everywhere along them."""
    return np.broadcast_to(np.max(reach, axis=axes, keepdims=True, initial=0.0), reach.shape)


def _decayed(A: Float, size: Float, arithmetic: Arithmetic) -> Float:
    """Return the reach of Ā h, (l, b, s, n)."""
    if A.ndim == 2:
        return np.asarray(reached(arithmetic, A, size))
    return _summed("snk,lbsk->lbsn", arithmetic, A, size)


def _summed(subscripts: str, arithmetic: Arithmetic, x: Float, y: Float) -> Float:
    """Return Σ of the reach of every product of x and y."""
    rounded = 1.0 + arithmetic.product(complex_=True)
    terms = np.einsum(subscripts, np.maximum(x, 1.0), np.maximum(y, 1.0), optimize=True)
    return np.asarray(rounded**2 * terms)
