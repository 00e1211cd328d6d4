"""What a recurrence and its gradients lose by underflow where products are formed before there is a state.

`_recurrence_chunks` has the sums over the factors; here they are taken of a call, ahead and back. A call
whose arguments are wrong already comes with their moduli and errors added.
"""

from __future__ import annotations

import numpy as np

from ssm_spec import _recurrence as rec
from ssm_spec._recurrence_chunks import chunk_begins, dense_pairs, pairs, products_first, source_factors
from ssm_spec._roundoff import Arithmetic
from ssm_spec._state_error import StateError
from ssm_spec._validate import Array, Float


def forward_pairs(call: rec.Recurrence, states: Array, arithmetic: Arithmetic) -> Float | None:
    """Return the pairs of the states, (l + 1, b, s, n), if products may be formed first."""
    if not products_first(call.A, arithmetic):
        return None
    begins = chunk_begins(len(states) - 1, arithmetic.chunk)
    factors = source_factors(call.B, call.u)
    return _pairs(call.A, factors, np.abs(states[:-1]), begins, call.u.shape[-2])


def backward_pairs(call: rec.Recurrence, adjoints: Array, r: Array, arithmetic: Arithmetic) -> Float | None:
    """Return the pairs of the adjoints in the order of the way back, the last cotangent among what enters."""
    if not products_first(call.A, arithmetic):
        return None
    begins = chunk_begins(len(adjoints) - 1, arithmetic.chunk, back=True)
    factors = call.gamma * source_factors(np.swapaxes(call.C, -1, -2), r)[::-1]
    factors[:1] += 1.0 + np.abs(adjoints[-1])
    after = np.abs(np.concatenate((np.zeros_like(adjoints[:1]), adjoints[:-1][::-1])))[:-1]
    A = rec.adjoint(call.A) if call.A.ndim == 3 else call.A
    return _pairs(A, factors, after, begins, call.C.shape[-2])


def _pairs(A: Array, factors: Float, before: Float, begins: Array, fan: int) -> Float:
    """Return what products formed first lose, (l + 1, b, s, n); none have been before the first step."""
    if A.ndim == 2:
        return pairs(A, factors, before, begins)
    first = before[0] if len(before) else np.zeros(factors.shape[1:])
    return dense_pairs(A, factors, first, fan)


def lost_by_output(call: rec.Recurrence, e: StateError, arithmetic: Arithmetic) -> Float | float:
    """Return what y loses, (b, s, p, l)."""
    if e.pairs is None:
        return 0.0
    lost = (1 + np.abs(call.C)) @ np.moveaxis(e.pairs[1:], 0, -1)
    return np.asarray(2 * arithmetic.eta * call.gamma * lost)


def lost_by_gradients(
    call: rec.Recurrence, states: Array, r: Array, e: StateError, e_back: StateError, arithmetic: Arithmetic
) -> dict[str, Float]:
    """Return what the gradients lose, in the flat shapes of `pull_back`.

    dā = Σ j a^{j−1} c v: a power that joins s and t passes the j steps between, and at each meets what comes
    before and what comes after. By way of exp(j log a) it is a^j/a, which loses no more than all.
    """
    if e.pairs is None or e_back.pairs is None:
        return {}
    eta, flat, T = 2 * arithmetic.eta, "lbsn->bsnl", np.swapaxes
    ahead, back = np.einsum(flat, e.pairs[1:]), np.einsum(flat, e_back.pairs[:-1])
    x, reads, before = 1 + np.abs(call.u), 1 + np.abs(r), np.abs(states[:-1])
    joined = e.pairs[:-1] + 1 + before, e_back.pairs[:-1]
    others = {
        "B_bar": eta * np.sum(back @ T(x, -1, -2), axis=0),
        "C": eta * call.gamma * np.sum(reads @ T(ahead, -1, -2), axis=0),
        "u": eta * (1 + T(np.abs(call.B), -1, -2)) @ back,
    }
    if not call.diagonal:
        return others | {"A_bar": eta * np.einsum("lbsk,lbsn->snk", *joined, optimize=True)}
    lost = joined[0] * joined[1]
    a = np.where(call.A == 0, 1.0, np.abs(call.A))
    divided = np.where(call.A == 0, 0.0, np.minimum(eta * lost / a, e.size[:-1] * e_back.size[:-1]))
    return others | {"A_bar": np.sum(eta * lost + divided, axis=(0, 1))}
