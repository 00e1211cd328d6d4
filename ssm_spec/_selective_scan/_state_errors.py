"""How far a state may drift: running error analysis of x_t = a_t x_{t−1} + s_t by order of evaluation.

Forward x is h; backward, on reversed arrays, it is λ. All classes are first order in u but
for the error's own amplification, which is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import flushed, reached
from ssm_spec._selective_scan._recurrence import cuts_of, recur

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Chunks:
    """A partition of time into chunks, as one direction of evaluation meets it.

    Attributes
    ----------
    length
        Q.
    begins
        (l,): True where a chunk begins.
    at_decay, at_source
        (l, b, d): the in-chunk cumulative sum of |Δ| from whose differences the decay at
        that index, and the weight of the source at that index, are computed.
    decayed
        Whether a chunk hands on its state decayed once more, in the weights of its sources: so
        does the way back, whose chunks end before their first step.
    dual
        Whether what reads a state may meet what enters it first, C_t B_s, before there is a state.
    sources
        How many terms a step adds, each of which may be summed by itself.
    entered_before
        Whether what a chunk's first step adds may have entered with the chunk before.
    """

    length: int
    begins: Bool
    at_decay: Float
    at_source: Float
    decayed: bool = False
    dual: bool = False
    sources: int = 1
    entered_before: bool = False


@dataclass(frozen=True, eq=False)
class Recurrence:
    """Moduli of x_t = a_t x_{t−1} + s_t in its order of evaluation; (l, n, b, d) if not said.

    Attributes
    ----------
    decay, decay_error
        |a_t| and the bound of its error.
    exponent, step_error, rate
        |p| with a = exp(p); the error of Δ there, (l, b, d); |A|.
    before, state
        |x_{t−1}| (what enters, where a sequence starts) and |x_t|.
    source, source_error
        |s_t| and the bound of its error.
    fresh
        (l, b): True where a sequence starts.
    factors
        Π(1 + |f|) over the factors that a source is made of.
    reach
        The largest number on the way to a source.
    """

    decay: Float
    decay_error: Float
    exponent: Float
    step_error: Float
    rate: Float
    before: Float
    state: Float
    source: Float
    source_error: Float
    fresh: Bool
    complex: bool
    factors: Float
    reach: Float


@dataclass(frozen=True, eq=False)
class StateErrors:
    """The drift of a state.

    Attributes
    ----------
    error
        e: the bound of the state's error, (l, n, b, d).
    mass
        m: what later sums round against: |x|, or the sum of moduli M in a chunk.
    unshared
        loc: the part of e that is not carried on inside a chunk (zero but for chunks).
    peak
        The largest intermediate that feeds the state, for the analysis of range.
    reach
        K: the largest that a node's sum may hold of the state (|x|, or M, but for brackets).
    lost
        What products of decays that underflow may lose.
    pairs
        In a chunk Σ_s (1 + w_ts)Π(1 + |f|), f the factors of the source at s, w the decay since. With those
        of what reads at t, η times it is lost at most, in any order, say (C_t B_s) w (Δu)_s. Else zero.
    meets
        In a chunk of the dual form, likewise, the largest number that what reads at t may meet:
        Σ_s max(1, w_ts) reach_s, and every reach_s of the chunk, for what a mask takes away may be formed
        before. Else zero.
    products
        The largest product of decays that ends at t, where products of decays are formed. Else zero.
    """

    error: Float
    mass: Float
    unshared: Float
    peak: Float
    reach: Float
    lost: Float
    pairs: Float
    meets: Float
    products: Float

    def map(self, change: Callable[[Float], Float]) -> StateErrors:
        """The same in another layout."""
        return StateErrors(*(change(getattr(self, part.name)) for part in fields(self)))


def sequential(r: Recurrence, arithmetic: Arithmetic) -> StateErrors:
    """e ← π + u(|x| + π), π = (1 + u_m)(|a| + E_a)e + (E_a + u_m(|a| + E_a))|x⁻| + E_s + η.

    Higham, section 3.3: the error so far is amplified, and one product and one sum are rounded.
    """
    u, u_m = arithmetic.u, arithmetic.product(r.complex)
    amplified = r.decay + r.decay_error
    fresh_error = (r.decay_error + u_m * amplified) * r.before + r.source_error + _flush(r, arithmetic)
    error = recur(
        (1.0 + u) * (1.0 + u_m) * amplified, (1.0 + u) * fresh_error + u * r.state, cuts_of(r.fresh)
    )
    none = np.zeros_like(error)
    return StateErrors(error, r.state, none, _peak(r, r.decay), r.state, none, none, none, none)


def bracketed(r: Recurrence, arithmetic: Arithmetic, depth: int) -> StateErrors:
    """Any tree of the associative operator in which at most `depth` nodes share a right end.

    f ← (|a| + E_a)f + E_a|x⁻| + E_s; K ← max(|a|K, |x|); J ← |a|J + K;
    e = f + (3u_m + 2u)J + u_m·depth·K. The rounding of a product P of decays is charged to
    the leaf that multiplies the state before it; |X_{s..r}| <= |x_r| + P|x_{s−1}|; node
    counts telescope.
    """
    u, u_m, cuts = arithmetic.u, arithmetic.product(r.complex), cuts_of(r.fresh)
    carried = recur(
        r.decay + r.decay_error,
        r.decay_error * r.before + r.source_error + _flush(r, arithmetic),
        cuts,
    )
    reach = recur(r.decay, np.maximum(r.state, r.decay * r.before), cuts, join=np.maximum)
    rounded = recur(r.decay, reach, cuts)
    products = recur(r.decay, r.decay, cuts, join=np.maximum)
    error = carried + (3.0 * u_m + 2.0 * u) * rounded + u_m * depth * reach
    lost = _lost_products(r, products, arithmetic)
    # A node holds |X_{s..r}| <= |x_r| + P|x_{s−1}| <= 2K: what a step cancels may go another way first.
    peak = np.maximum(_peak(r, products), so_far(2.0 * (reach + error + lost), r.fresh))
    none, products = np.zeros_like(error), np.broadcast_to(products, error.shape)
    return StateErrors(error + lost, r.state, none, peak, reach, lost, none, none, products)


def chunked(r: Recurrence, arithmetic: Arithmetic, chunks: Chunks) -> StateErrors:
    """Decays inside a chunk are exponentials of differences of a cumulative sum, as in SSD.

    Shared by all that comes later: f ← (|a| + E)f + E|x⁻| + E_s + |s|τ, where
    E = |a| expm1(|A|(E_s + uS)) is the error of Δ and of the cumulative sum (with |p| more where A is
    so small that it may be read as zero), and
    τ = |A| u ⌈log₂ Q⌉ S that of a sum in another order. Not shared: one exponential, its
    product and a sum of Q terms (of each source; 2√2 times that if complex),
    u[(k_e + Q + 4)M + (k_p + 1)X] + τ|x|, with
    M ← |a|M + |s|, X ← |a|(X + |p|M⁻), and κM where operands of matrix products are rounded to
    a narrower type. At a chunk's end both are carried on; if decayed once more in the weights of
    the sources, with lost + |a|[τ(|x⁻| + e) + (k_p + 1)u|p|M⁻] besides, and as a source of the next
    chunk, like what is given last, with the τ of its first step.
    """
    u, u_m = arithmetic.u, arithmetic.product(r.complex)
    steps = min(chunks.length, len(r.decay))
    # Of complex products either part is a sum of twice as many real ones.
    q, k_exp = u_m / u * chunks.sources * steps, arithmetic.exponential(r.complex)
    opening = r.fresh | chunks.begins[:, None]
    weight = r.decay * (opening[:, None, :, None] * r.before)
    inside = cuts_of(opening)
    mass = recur(r.decay, r.source + weight, inside)
    stretched = np.empty_like(mass)
    stretched[0] = 0.0
    stretched[1:] = r.decay[1:] * r.exponent[1:] * mass[:-1]
    stretched = np.where(opening[:, None, :, None], r.exponent * weight, stretched)
    exponents = recur(r.decay, stretched, inside)
    tau = r.rate * (u * np.ceil(np.log2(max(steps, 2))) * chunks.at_source[:, None])
    unshared = u * ((k_exp + q) * mass + (arithmetic.k_scale + 1.0) * exponents) + 4.0 * u_m * mass
    products = recur(r.decay, r.decay, cuts_of(r.fresh), join=np.maximum)
    unshared += arithmetic.operand_rounding * mass
    pairs = _pairs(r, opening)
    lost = _lost_products(r, products, arithmetic) + arithmetic.eta * pairs
    unshared += tau * r.state + lost

    # A subnormal A may be read as zero, in every exponent alike: then all of p is lost.
    read_as_zero = np.where(r.rate < arithmetic.eta, r.exponent, 0.0)
    drift = np.expm1(r.rate * (r.step_error + u * chunks.at_decay)[:, None] + read_as_zero)
    decay_error = np.where(r.decay == 0.0, 0.0, r.decay * drift) + arithmetic.eta
    handed_on = (chunks.begins[1:, None] & ~r.fresh[1:])[:, None, :, None]
    added = np.zeros_like(unshared[1:])
    if chunks.decayed:
        # What the chunk is handed, or what is given last, is one of its sources.
        decay_error += np.where(opening[:, None, :, None], r.decay * tau, 0.0)
        decay_error[1:] += np.where(handed_on, r.decay[1:] * tau[:-1], 0.0)
        added = lost[:-1] + (arithmetic.k_scale + 1.0) * u * r.decay[1:] * r.exponent[1:] * mass[:-1]
    amplified = r.decay + decay_error
    fresh_error = decay_error * r.before + r.source_error + r.source * tau + _flush(r, arithmetic)
    fresh_error[1:] += np.where(handed_on, amplified[1:] * unshared[:-1] + added, 0.0)
    shared = recur(amplified, fresh_error, cuts_of(r.fresh))
    error = shared + unshared
    exponents_reach = so_far(reached(arithmetic, r.rate, chunks.at_source[:, None]), r.fresh)
    peak = np.maximum(np.maximum(_peak(r, products), mass + error), exponents_reach)
    meets = np.zeros_like(mass)
    if chunks.dual:
        sources = r.reach + _carried_in(r, opening, chunks.begins, arithmetic)
        if chunks.entered_before:
            sources[:-1] += np.where(chunks.begins[1:, None, None, None], r.reach[1:], 0.0)
        every_row = np.broadcast_to(chunks.begins[:, None], r.fresh.shape)
        summed = recur(np.maximum(r.decay, 1.0), sources, cuts_of(every_row))
        meets = np.maximum(summed, _largest_of_chunk(sources, chunks.begins))
        peak = np.maximum(peak, summed)
        if chunks.decayed:
            grown = np.maximum(r.decay[1:], 1.0) * summed[:-1]
            peak[1:] = np.maximum(peak[1:], np.where(chunks.begins[1:, None, None, None], grown, 0.0))
    products = np.broadcast_to(products, mass.shape)
    return StateErrors(error, mass, unshared, peak, mass, lost, pairs, meets, products)


def once_more(
    x: StateErrors,
    state: Float,
    decay: Float,
    exponent: Float,
    sums: Float,
    arithmetic: Arithmetic,
    complex_: bool,
) -> Float:
    """What a x loses besides a e + E_a(|x| + e) + u_m|a x|, if it is decayed with all that made x.

    `sums` is |A| S, from whose differences a chunk takes the decay. Besides what underflows, brackets lose
    a(4u_m + 2u)K, the next step's part of J and one node more, and a chunk
    a[(expm1(u|A|S) + |A|u⌈log₂Q⌉S)(|x| + e) + (k_p + 1)u|p|M].
    """
    if arithmetic.evaluation == "sequential":
        return np.zeros_like(x.error)
    u, u_m, lost = arithmetic.u, arithmetic.product(complex_), (1.0 + decay) * x.lost
    if not arithmetic.in_chunks:
        return lost + decay * (4.0 * u_m + 2.0 * u) * x.reach
    depth = np.ceil(np.log2(max(min(arithmetic.chunk, len(x.error)), 2)))
    moved = np.where(decay == 0.0, 0.0, decay * (np.expm1(u * sums) + u * depth * sums))
    stretched = decay * (arithmetic.k_scale + 1.0) * u * exponent * x.mass
    error: Float = lost + moved * (state + x.error) + stretched
    return error


def _pairs(r: Recurrence, opening: Bool) -> Float:
    """`StateErrors.pairs`; what a chunk or a sequence starts with is a source too."""
    carried = opening[:, None, :, None] * (1.0 + r.decay) * (1.0 + r.before)
    sources, cuts = r.factors + carried, cuts_of(opening)
    return recur(np.ones(len(sources)), sources, cuts) + recur(r.decay, sources, cuts)


def _carried_in(r: Recurrence, opening: Bool, begins: Bool, arithmetic: Arithmetic) -> Float:
    """What a chunk or a sequence starts with, as a source; a chunk's may be masked, of another sequence."""
    handed_on = np.concatenate([np.zeros_like(r.state[:1]), r.state[:-1]])
    met = np.where(begins[:, None, None, None], np.maximum(r.before, handed_on), r.before)
    carried: Float = opening[:, None, :, None] * reached(arithmetic, r.decay, met)
    return carried


def _largest_of_chunk(sizes: Float, begins: Bool) -> Float:
    """For each time the largest of its chunk."""
    starts = np.flatnonzero(begins)
    largest = np.maximum.reduceat(sizes, starts, axis=0)
    return np.repeat(largest, np.diff(starts, append=len(sizes)), axis=0)


def _flush(r: Recurrence, arithmetic: Arithmetic) -> Any:
    """One product a x⁻ and one sum, and a state that may be read as zero where it enters."""
    return flushed(arithmetic, r.decay)


def _lost_products(r: Recurrence, products: Float, arithmetic: Arithmetic) -> Float:
    """A product of decays that underflows loses η times a state that may have been large before.

    At most l such products meet; each is multiplied by further decays, at most `products`,
    and by a state or a source, at most the largest of its sequence so far.
    """
    largest = so_far(np.maximum(np.maximum(r.before, r.state), r.source), r.fresh)
    loss: Float = arithmetic.eta * len(largest) * (1.0 + products) * largest
    return loss


def _peak(r: Recurrence, products: Float) -> Float:
    """The largest of a, s, x and the products of decays over the sequence so far; NaN stays NaN."""
    here = np.maximum(np.maximum(r.decay, r.source), np.maximum(r.state, products))
    return so_far(np.maximum(here, r.before), r.fresh)


def so_far(sizes: Float, fresh: Bool) -> Float:
    """The largest that a sequence has met up to each time; NaN stays NaN."""
    return recur(np.ones(len(sizes)), sizes, cuts_of(fresh), join=np.maximum)


def entering(error: Float, fresh: Bool, arithmetic: Arithmetic) -> Float:
    """The error of x_{t−1}; of what a sequence starts with, that it may be read as zero."""
    before = np.concatenate([np.zeros_like(error[:1]), error[:-1]])
    return np.where(fresh[:, None, :, None], arithmetic.eta, before)


def behind_masks(found: StateErrors, fresh: Bool) -> StateErrors:
    """The same where a reset is a product with zero: what overflowed before it is a NaN from there on."""
    return replace(found, peak=so_far(found.peak, np.zeros_like(fresh)))


def within_range(found: StateErrors, r: Recurrence, arithmetic: Arithmetic) -> StateErrors:
    """The same, its peak raised to what s_t reaches as it is formed, and to a_t x_{t−1} with its errors.

    An exponent that is not finite has no angle: exp of it is a NaN if it is complex.
    """
    before = r.before + entering(found.error, r.fresh, arithmetic)
    here = np.maximum(r.reach, reached(arithmetic, r.decay + r.decay_error, before))
    if r.complex:
        here = np.maximum(here, reached(arithmetic, r.exponent + r.rate * r.step_error[:, None]))
    return replace(found, peak=np.maximum(found.peak, so_far(here, r.fresh)))
