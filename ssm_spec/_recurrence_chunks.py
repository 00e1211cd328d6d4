"""What the products C a^j B of a chunk, formed before there is a state, may lose on their way, and reach.

In a chunk of Q steps y_t = Σ_s C a^{t−s} B u_s + C a^{t−t₀+1} h₀. The factors of a term may be taken in
any order, as may the sums over times, inputs and states. A term is lost but once, being zero from there on;
so is the sum that it enters: each at most η Π max(1, |f|). With what reads at t among the factors f,

    lost    2η Σ_s (1 + |a|^{t−s} + 2Σ_{i<t−s} |a|^i) Π(1 + |f|)
    met     Σ_s max(1, |a|^{t−s}) Π max(1, |f|), and by products of matrices every source of the chunk,
            which a mask of zeros takes away too late.

The state that a chunk starts from is a source. The sum over i is there if a is complex: a power made of
products may lose one component in each of them, while the other goes on (`_kernel_bounds.powers_lost`).

A full Ā has such products in every declared order but that of time, chunks or not. An entry of a product,
of the steps from σ to τ, is lost once, by η for each of its sum's n terms; it meets |Ā|^{t−τ} on one side and
what the steps before σ made on the other. Each pair of σ and τ occurs at most once in a tree. With
f_t = Σ_m (1 + |B̄|)(1 + |u|) for what enters, and 1 + |h₋₁| at first,

    G ← |Ā| G + f,     W ← W + 1ᵀG,     Λ ← |Ā| Λ + 1W,     lost    2√2(n + m + 2)ηΛ
    met     Ĝ ← |Ā| Ĝ + Σ_m max(1, |B̄|) max(1, |u|)
"""

from __future__ import annotations

import numpy as np

from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import reached
from ssm_spec._validate import Array, Float


def products_first(A: Array, arithmetic: Arithmetic) -> bool:
    """Whether products may be formed before there is a state: of modes in chunks, of a full Ā if declared."""
    if A.ndim == 3:
        return arithmetic.evaluation not in ("any", "sequential")
    return arithmetic.evaluation == "any" or arithmetic.in_chunks


def chunk_begins(length: int, Q: int, *, back: bool = False) -> Array:
    """Return where a chunk begins, (l,); on the way back in the order of the way back."""
    if back:
        return np.equal(np.arange(length, 0, -1) % Q, 0) | np.equal(np.arange(length), 0)
    return np.equal(np.arange(length) % Q, 0)


def source_factors(M: Array, x: Array) -> Float:
    """Return Σ_m (1 + |M|)(1 + |x|), (l, b, s, n), of what enters: M (s, n, m), x (b, s, m, l)."""
    return np.asarray(np.moveaxis((1.0 + np.abs(M)) @ (1.0 + np.abs(x)), -1, 0))


def pairs(A: Array, factors: Float, before: Float, begins: Array) -> Float:
    """Return Σ_s (1 + |a|^{t−s} [+ 2Σ_{i<t−s} |a|^i]) Π(1 + |f|) over a chunk so far, (l + 1, b, s, n).

    It is zero at first; the sum over i is that of a complex a. `before` (l, b, s, n) is |h_{t−1}|.
    """
    a, again = np.abs(A), 2.0 if np.iscomplexobj(A) else 0.0
    found = np.zeros((len(factors) + 1, *factors.shape[1:]))
    plain = weighted = below = found[0]
    for t, source in enumerate(factors):
        if begins[t]:
            plain = weighted = (1.0 + a) * (1.0 + before[t])
            below = np.zeros_like(plain)
        below = a * below + plain
        plain, weighted = plain + source, a * weighted + source
        found[t + 1] = plain + weighted + again * below
    return found


def dense_pairs(A: Array, factors: Float, before: Float, fan: int) -> Float:
    """Return √2(n + m + 2)Λ of a full Ā, (l + 1, b, s, n), zero at first.

    `before` (b, s, n) is |h₋₁|, `factors` (l, b, s, n) the f_t, m = `fan` the number of their terms.
    """
    a, lost = np.abs(A), np.zeros((len(factors) + 1, *factors.shape[1:]))
    grown = 1.0 + before
    paths = np.sum(grown, axis=-1, keepdims=True)
    for t, source in enumerate(factors):
        grown = _applied(a, grown) + source
        paths = paths + np.sum(grown, axis=-1, keepdims=True)
        lost[t + 1] = _applied(a, lost[t]) + paths
    return np.asarray(2.0**0.5 * (A.shape[-1] + fan + 2) * lost)


def _applied(a: Float, x: Float) -> Float:
    """Return a x for states (b, s, n); a (s, n, n), or (s, n) of modes."""
    return np.asarray((a @ x[..., None])[..., 0] if a.ndim == 3 else a * x)


def meets(A: Float, entering: Float, before: Float, begins: Array, arithmetic: Arithmetic) -> Float:
    """Return the largest number that what reads at t may meet, (l, b, s, n); `before` is |h_{t−1}|."""
    grown, found = A if A.ndim == 3 else np.maximum(A, 1.0), np.empty_like(entering)
    restarts = begins & (arithmetic.evaluation not in ("scan", "right_fold"))
    for t, source in enumerate(entering):
        start = t == 0 or restarts[t]
        found[t] = _applied(grown, reached(arithmetic, before[t]) if start else found[t - 1]) + source
    if arithmetic.evaluation != "matmul_chunk" or not len(found):
        return np.asarray(found)
    starts = np.flatnonzero(begins)
    masked = np.maximum.reduceat(entering, starts, axis=0)
    return np.asarray(np.maximum(found, np.repeat(masked, np.diff(starts, append=len(found)), axis=0)))
