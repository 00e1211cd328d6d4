"""How rounding errors travel through a linear recurrence, by the order in which it is evaluated.

One class of evaluation, one function. Each takes the exact states and what enters them, and returns for
every step the error of the state and the size of what an output sums:

    h_t = A h_{t−1} + v_t,   v_t known within E_t.

Arrays have time first, (l, b, s, n); A is (s, n, n), or (s, n) for independent modes. Written
with a = |A|, and u_m for the rounding of a product (complex: 2√2 u).

sequential   δ_t = (κ u) a (|h⁻| + e) + E_t + u |h_t|, κ that of a sum of n products, 1 for a mode, and what
             it meets of the terms of v, which may be in the same sum (`step_rounding`);
             e_t = Σ_s |A^{t−s}| δ_s + |A^{t+1}| e₋₁: for a full A the modulus of the power, not the
             power of the modulus, which may grow without limit where A^t decays. Every
             W = 64 steps the sum starts anew from e, so that the work stays linear in l;
             and e_t <= ε_t, ε_t = min(‖A‖₂ ε_{t−1} + ‖δ_t‖₂, ‖e_t‖₂): where ‖A‖₂ <= 1, as for S4 and
             LegS, not even |A^W| makes it grow.
scan         any bracketing of (a₁, x₁)∘(a₂, x₂), modes only: f ← a f + E, K ← max(a K, |h|),
             J ← a J + K, e = f + (3 u_m + 2 u) J + u_m r K; r = ⌈log₂ l⌉ bounds the tree nodes
             that share a right end, except for a right fold, which declares its own.
             A product of decays that underflows adds η l (1 + max a^j) max(|h|, |v|, so far).
chunk        powers of a within a chunk of Q steps, modes only: M ← a M + |v|, X ← a (X + M),
             e = f + u ((k_e + Q + 4) M + (u_m/u + (k_l + k_p) |log a|) X): every power is
             a product, or exp(j log a). The chunk's last state carries e on. By products of matrices
             Q m for Q, m being the number of terms of v; 2√2 times as many if they are complex.
brackets     any bracketing with a full A: G ← a G + |v|, X ← a X + G, e = f + (κ + 2) u X, κ that of a sum
             of n products. Each step that a term takes passes through at most one product and one sum, or
             the n of one to which it is added. What underflows in products of A is lost besides:
             `_recurrence_chunks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from ssm_spec._errors import DomainError
from ssm_spec._norm import euclidean
from ssm_spec._products import roundings, step_rounding
from ssm_spec._roundoff import UNIT_ROUNDOFF, Arithmetic
from ssm_spec._validate import Array, Float

_WINDOW: Final = 64
PASSES: Final = 64
"""How often an error is put back where it is multiplied; beyond, what still grows is infinite."""


class Trace(NamedTuple):
    """A recurrence that has run: everything that a class of evaluation may ask about.

    A (s, n, n) or (s, n); states (l + 1, b, s, n), the initial one first; entering
    (l, b, s, n), the error E of what is added; added (l, b, s, n), its modulus. For chunks: `fan` is
    the number of terms that a step adds, `pairs` (l + 1, b, s, n) that of `_recurrence_chunks`.
    """

    A: Array
    states: Array
    added: Float
    entering: Float
    initial_error: Float
    fan: int = 1
    pairs: Float | None = None

    @property
    def dense(self) -> bool:
        """Whether A is a full matrix."""
        return self.A.ndim == 3


class StateError(NamedTuple):
    """Per step: the state's error, and the modulus that its reader sums over; (l + 1, b, s, n) both.

    For chunks, whose gradient may pass through the powers of a mode: `distance` is `size` with
    each term weighted by the steps it took, `per_size` and `per_step` (s, n) what such a
    gradient loses for each. Zero otherwise. For a full A in time order: `whole` (l + 1, b, s), the
    2-norm of the error. `once_more` (b, s, n): what the last state loses besides, if A is taken to it
    once more and nothing is added, in the same order: d(initial) is that of the last adjoint. `pairs`
    (l + 1, b, s, n) is the trace's, of products formed first. `sums` (l,): how many sums over the times of a
    chunk D u may meet, where products C a^j B come first.
    """

    error: Float
    size: Float
    distance: Float | None = None
    per_size: float = 0.0
    per_step: Float | None = None
    whole: Float | None = None
    once_more: Float | float = 0.0
    pairs: Float | None = None
    sums: Float | float = 0.0


def read_error(C: Array, e: StateError) -> Float:
    """Return the error that C (s, p, n) reads from states after each step, (b, s, p, l)."""
    by_entry = np.abs(C) @ np.moveaxis(e.error[1:], 0, -1)
    if e.whole is None:
        return np.asarray(by_entry)
    return np.fmin(by_entry, euclidean(C)[..., None] * np.moveaxis(e.whole[1:], 0, -1)[:, :, None])


def apply_modulus(A: Array, x: Float) -> Float:
    """Return |A| x for states (b, s, n)."""
    a = np.abs(A)
    return np.asarray((a @ x[..., None])[..., 0] if A.ndim == 3 else a * x)


def sequential(trace: Trace, arithmetic: Arithmetic) -> StateError:
    """One step after the other; sums within a step in any order."""
    u, h = arithmetic.u, np.abs(trace.states)
    if trace.dense:
        e, whole = _by_powers(trace, u)
        return StateError(e, h, whole=whole)
    e = np.empty_like(h)
    e[0] = trace.initial_error
    for t in range(len(h) - 1):
        through = apply_modulus(trace.A, h[t] + e[t])
        rounded = _rounded(trace, through, trace.added[t] + trace.entering[t], u)
        e[t + 1] = apply_modulus(trace.A, e[t]) + rounded + trace.entering[t] + u * h[t + 1]
    return StateError(e * (1 + 2 * u), h)


def _rounded(trace: Trace, through: Float, added: Float, u: float) -> Float:
    """Return what a step rounds, its terms in any order."""
    terms = trace.A.shape[-1] if trace.dense else 1
    return step_rounding(through, added, terms, trace.fan, np.iscomplexobj(trace.A), u)


def _by_powers(trace: Trace, u: float) -> tuple[Float, Float]:
    """Carry the local errors of a full A through |A^j|; (l + 1, b, s, n), and their norms (l + 1, b, s).

    The local errors contain e itself: each pass puts the last one's e there, until it grows no more.
    """
    size, length = np.abs(trace.A), len(trace.states) - 1
    window = min(_WINDOW, max(length, 1))
    powers, power = [], np.broadcast_to(np.eye(trace.A.shape[-1], dtype=trace.A.dtype), trace.A.shape)
    for _ in range(window + 1):
        powers.append(np.abs(power))
        power = trace.A @ power
    # Time last: one product with |A^j| then serves every step of a window.
    h = np.moveaxis(np.abs(trace.states), 0, -1)
    entering = np.moveaxis(trace.entering, 0, -1)
    added = np.moveaxis(trace.added, 0, -1) + entering
    norm = _norm(trace.A)
    e = np.zeros_like(h)
    for _ in range(PASSES):
        last = e
        rounded = _rounded(trace, size @ (h + e)[..., :-1], added, u)
        local = rounded + entering + u * h[..., 1:]
        e = np.zeros_like(h)
        e[..., 0] = trace.initial_error
        whole = np.zeros((*e.shape[:2], length + 1))
        whole[..., 0] = euclidean(e[..., 0])
        for start in range(0, length, window):
            steps = min(window, length - start)
            for j in range(steps):
                e[..., start + 1 + j : start + 1 + steps] += powers[j] @ local[..., start : start + steps - j]
                e[..., start + 1 + j] += (powers[j + 1] @ e[..., start, None])[..., 0]
            here = slice(start, start + 1 + steps)
            _keep_below(e[..., here], whole[..., here], local[..., start : start + steps], norm)
        grows = growing(e, last)
        if not np.any(grows):
            break
    e = np.where(grows, np.inf, e)
    e, whole = e * (1 + 2.0**-10), whole * (1 + 2.0**-10)
    return np.moveaxis(e, -1, 0), np.moveaxis(whole, -1, 0)


def growing(error: Float, last: Float) -> Array:
    """Return where an error has grown by 2⁻¹² or more since the last pass."""
    return np.asarray(~(error <= last * (1 + 2.0**-12)))


def _norm(A: Array) -> Float:
    """Return ‖A‖₂ (s,), rounded up."""
    n = A.shape[-1]
    finite = np.all(np.isfinite(A), axis=(-2, -1))
    norm = np.linalg.norm(np.where(finite[:, None, None], A, 0.0), 2, axis=(-2, -1))
    return np.where(finite, norm * (1.0 + 8.0 * n * UNIT_ROUNDOFF["float64"]), np.inf)


def _keep_below(e: Float, whole: Float, local: Float, norm: Float) -> None:
    """Follow ε from its first entry, and lower the errors e to it where that is less.

    e (b, s, n, 1 + steps), ε (b, s, 1 + steps); local (b, s, n, steps) is what each step adds.
    """
    by_entry, added = euclidean(e, axis=-2), euclidean(local, axis=-2)
    for j in range(local.shape[-1]):
        whole[..., j + 1] = np.fmin(norm * whole[..., j] + added[..., j], by_entry[..., j + 1])
    np.fmin(e, whole[..., None, :], out=e)


def scan(trace: Trace, arithmetic: Arithmetic) -> StateError:
    """Any bracketing of the associative operator on independent modes."""
    u, u_m = arithmetic.u, arithmetic.product(np.iscomplexobj(trace.A))
    length = len(trace.states) - 1
    depth = _depth(trace, arithmetic)
    h, a = np.abs(trace.states), np.abs(trace.A)
    e = np.empty_like(h)
    e[0] = trace.initial_error
    f, K, J = e[0], h[0], np.zeros_like(h[0])
    for t in range(length):
        f = a * f + trace.entering[t]
        K = np.maximum(a * K, h[t + 1])
        J = a * J + K
        e[t + 1] = f + (3 * u_m + 2 * u) * J + u_m * depth * K
    lost = _lost_products(trace, arithmetic)
    if trace.fan > 1 and arithmetic.evaluation != "right_fold":
        # One step after the other is a bracketing too, where the terms of v need not be summed first.
        e = np.maximum(e, sequential(trace, arithmetic).error)
    return StateError(e + lost, h, once_more=a * (4 * u_m + 2 * u) * K + (1 + a) * lost[-1])


def chunk(trace: Trace, arithmetic: Arithmetic) -> StateError:
    """Chunks of Q steps, decays within one as powers of a mode."""
    u, length = arithmetic.u, len(trace.states) - 1
    Q = min(arithmetic.chunk, max(length, 1))
    complex_ = np.iscomplexobj(trace.A)
    u_m, k_e = arithmetic.product(complex_), arithmetic.exponential(complex_)
    h, a = np.abs(trace.states), np.abs(trace.A)
    # Of complex products either part is a sum of twice as many real ones.
    per_size = k_e + u_m / u * Q * _at_once(trace, arithmetic) + 4
    per_step = u_m / u + (arithmetic.k_log + arithmetic.k_scale) * log_modulus(trace.A)
    e, size, distance = np.empty_like(h), h.copy(), np.zeros_like(h)
    lost = _lost_products(trace, arithmetic)
    if trace.pairs is not None:
        lost = lost + 2 * arithmetic.eta * trace.pairs
    e[0] = f = trace.initial_error
    M, X = h[0], np.zeros_like(h[0])
    for t in range(length):
        if t % Q == 0:
            f, M, X = e[t], h[t], np.zeros_like(h[t])
        f = a * f + trace.entering[t]
        X = a * (X + M)
        M = a * M + trace.added[t]
        e[t + 1] = f + u * (per_size * M + per_step * X) + lost[t + 1]
        size[t + 1], distance[t + 1] = M, X
    once_more = a * u * per_step * M + (1 + a) * lost[-1]
    sums = _sums_over_times(trace, arithmetic)
    return StateError(e, size, distance, u * per_size, u * per_step, None, once_more, trace.pairs, sums)


def brackets(trace: Trace, arithmetic: Arithmetic) -> StateError:
    """Any bracketing of products of a full A, as a majorant: useful where |A| does not grow.

    However it is bracketed, what entered d steps ago meets d products. It meets a sum with each of them, and
    with each turn to the right on its way through the tree, or with every term of a chunk.
    """
    u = arithmetic.u
    per_step = (roundings(trace.A.shape[-1], np.iscomplexobj(trace.A)) + 2) * u
    more = _sums_beside_products(trace, arithmetic)
    h = np.abs(trace.states)
    e, size = np.empty_like(h), np.empty_like(h)
    e[0] = f = trace.initial_error
    size[0] = G = h[0]
    X = np.zeros_like(G)
    lost = np.zeros_like(h) if trace.pairs is None else 2 * arithmetic.eta * trace.pairs
    for t in range(len(h) - 1):
        f = apply_modulus(trace.A, f) + trace.entering[t]
        G = apply_modulus(trace.A, G) + trace.added[t]
        X = apply_modulus(trace.A, X) + G
        e[t + 1], size[t + 1] = f + per_step * X + more * u * G + lost[t + 1], G
    once_more = per_step * apply_modulus(trace.A, G) + lost[-1]
    sums = _sums_over_times(trace, arithmetic) if arithmetic.in_chunks else 0.0
    return StateError(e, size, once_more=once_more, pairs=trace.pairs, sums=sums)


def _depth(trace: Trace, arithmetic: Arithmetic) -> float:
    """Return R, how often a path through the declared tree turns right."""
    return float(arithmetic.tree_depth(len(trace.states) - 1))


def _sums_beside_products(trace: Trace, arithmetic: Arithmetic) -> float:
    """Return how many sums a term meets at most without a product: R of n terms, or those of a chunk."""
    if not arithmetic.in_chunks:
        parts = 2 if np.iscomplexobj(trace.A) else 1
        return _depth(trace, arithmetic) * parts * float(trace.A.shape[-1])
    return float(min(arithmetic.chunk, len(trace.states) - 1) * _at_once(trace, arithmetic))


def _at_once(trace: Trace, arithmetic: Arithmetic) -> int:
    """Return m: a product of matrices may sum over a chunk's times and over what each adds at once."""
    return trace.fan if arithmetic.evaluation == "matmul_chunk" else 1


def _sums_over_times(trace: Trace, arithmetic: Arithmetic) -> Float:
    """Return how many terms of a chunk there are up to each time, (l,)."""
    times = np.arange(1.0, len(trace.states))
    return np.asarray(np.minimum(times, arithmetic.chunk) * _at_once(trace, arithmetic))


def _lost_products(trace: Trace, arithmetic: Arithmetic) -> Float:
    """Bound what powers of modes lose by underflow, per step: η l (1 + max a^j) max(|h|, |v|, so far).

    Such a power meets a state or a source that may have been large before, and at most one further
    power; at most l of them meet.
    """
    length = len(trace.states) - 1
    h, a = np.abs(trace.states), np.abs(trace.A)
    h[1:] = np.maximum(h[1:], trace.added)
    power = np.maximum(a, a ** np.arange(length + 1).reshape(-1, *(1,) * (h.ndim - 1)))
    return np.asarray(arithmetic.eta * length * (1 + power) * np.maximum.accumulate(h))


def log_modulus(A: Array) -> Float:
    """Return |log a| by modulus, zero at a = 0 (whose powers are exact)."""
    safe = np.where(A == 0, 1.0, A).astype(np.complex128)
    return np.asarray(np.abs(np.log(safe)))


def classes(arithmetic: Arithmetic, dense: bool) -> tuple[Callable[[Trace, Arithmetic], StateError], ...]:
    """Return the classes whose element-wise maximum bounds the declared evaluation.

    A full A that declares nothing is evaluated in time order: products of a full A with
    itself cost more than they save, and their errors are of another size.
    """
    if arithmetic.evaluation == "fft":
        raise DomainError("`arithmetic.evaluation` must be an order of the recurrence; got 'fft'")
    if dense:
        in_time = arithmetic.evaluation in ("any", "sequential")
        return (sequential,) if in_time else (sequential, brackets)
    if arithmetic.evaluation == "any":
        return scan, chunk
    return (chunk,) if "chunk" in arithmetic.evaluation else (scan,)
