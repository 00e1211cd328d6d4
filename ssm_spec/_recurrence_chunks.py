"""What the products C a^j B of a chunk, formed before there is a state, may lose on their way, and reach.

In a chunk of Q steps y_t = Σ_s C a^{t−s} B u_s + C a^{t−t₀+1} h₀. The factors of a term may be taken in
any order, as may the sums over times, inputs and states. A term is lost but once, being zero from there on;
so is the sum that it enters: each at most η Π max(1, |f|). With what reads at t among the factors f,

    lost    2η Σ_s (1 + |a|^{t−s}) Π(1 + |f|)
    met     Σ_s max(1, |a|^{t−s}) Π max(1, |f|), and by products of matrices every source of the chunk,
            which a mask of zeros takes away too late.

The state that a chunk starts from is a source.
"""

from __future__ import annotations

import numpy as np

from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import reached
from ssm_spec._validate import Array, Float


def in_chunks(A: Array, arithmetic: Arithmetic) -> bool:
    """Whether the declared evaluation may be that of chunks: of modes alone."""
    return A.ndim == 2 and arithmetic.evaluation in ("any", "chunk", "matmul_chunk")


def chunk_begins(length: int, Q: int, *, back: bool = False) -> Array:
    """Return where a chunk begins, (l,); on the way back in the order of the way back."""
    if back:
        return np.equal(np.arange(length, 0, -1) % Q, 0) | np.equal(np.arange(length), 0)
    return np.equal(np.arange(length) % Q, 0)


def source_factors(M: Array, x: Array) -> Float:
    """Return Σ_m (1 + |M|)(1 + |x|), (l, b, s, n), of what enters: M (s, n, m), x (b, s, m, l)."""
    return np.asarray(np.moveaxis((1.0 + np.abs(M)) @ (1.0 + np.abs(x)), -1, 0))


def pairs(A: Array, factors: Float, before: Float, begins: Array) -> Float:
    """Return Σ_s (1 + |a|^{t−s}) Π(1 + |f|) over a chunk so far, (l + 1, b, s, n), zero at first.

    `before` (l, b, s, n) is |h_{t−1}|.
    """
    a = np.abs(A)
    found = np.zeros((len(factors) + 1, *factors.shape[1:]))
    plain = weighted = found[0]
    for t, source in enumerate(factors):
        if begins[t]:
            plain = weighted = (1.0 + a) * (1.0 + before[t])
        plain, weighted = plain + source, a * weighted + source
        found[t + 1] = plain + weighted
    return found


def meets(A: Float, entering: Float, before: Float, begins: Array, arithmetic: Arithmetic) -> Float:
    """Return the largest number that what reads at t may meet, (l, b, s, n); `before` is |h_{t−1}|."""
    grown, found = np.maximum(A, 1.0), np.empty_like(entering)
    for t, source in enumerate(entering):
        carried = reached(arithmetic, A, before[t]) if begins[t] else grown * found[t - 1]
        found[t] = carried + source
    if arithmetic.evaluation != "matmul_chunk" or not len(found):
        return np.asarray(found)
    starts = np.flatnonzero(begins)
    masked = np.maximum.reduceat(entering, starts, axis=0)
    return np.asarray(np.maximum(found, np.repeat(masked, np.diff(starts, append=len(found)), axis=0)))
