"""What honest arithmetic may do on the way of Mamba-3's recurrence: to its weights, sources and states.

    λ, 1 − λ       λρ_σ; and of λρ_σ + u(1 − λ), as 1 − λ, and (1 − λ)ρ_σ, as σ(−x), the larger
    S              the recurrence of `_selective_scan._state_errors` with a = exp(adt), whose source
                   is the two outer products
    y              Σ_n |q̃|e_S + e_q̃(|S| + e_S) + nu|q̃|(m + e_S) + (n + 2Q)u|D v| + u|y|, before the gate

The angles and what they turn are in `_turns`; all is seen from one of its frames. Arrays of states have heads
last: (l, p, n, b, h).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ssm_spec._functions import sigmoid
from ssm_spec._mamba3._inputs import Siso
from ssm_spec._mamba3._siso import Path
from ssm_spec._mamba3._turns import Turns, moved, rotation_error, seen, state_moved, state_seen
from ssm_spec._roundoff import Arithmetic, RoundedInputs
from ssm_spec._selective_scan._bounds import sums_over_times
from ssm_spec._selective_scan._classes import all_of, chunk_begins, chunk_sums, drift_in_order
from ssm_spec._selective_scan._local_errors import flushed, reached, sigmoid_error
from ssm_spec._selective_scan._recurrence import cuts_of, recur
from ssm_spec._selective_scan._state_errors import Chunks, Recurrence, StateErrors
from ssm_spec._ssd._bounds import analyses
from ssm_spec._validate import Float


@dataclass(frozen=True, eq=False)
class States:
    """S_t and S_{t−1}, zero where a sequence starts anew, (l, p, n, b, h)."""

    after: Float
    before: Float


@dataclass(frozen=True, eq=False)
class Weights:
    """The errors of α, λ and 1 − λ, and of the weights of a step's two sources, (l, b, h).

    `crossing` is that of α as a factor of the early weight.
    """

    alpha: Float
    crossing: Float
    share: Float
    rest: Float
    late: Float
    early: Float


@dataclass(frozen=True, eq=False)
class Forward:
    """One order of evaluation, followed: errors of k̃, q̃ (l, b, h, n), and what S loses, in a frame.

    Attributes
    ----------
    turns
        The errors of θ, and the frame.
    S
        The drift of S, (l, p, n, b, h).
    source, source_error
        |what a step adds to S|, and its error, (l, p, n, b, h).
    y, y_error, y_reach
        (l, b, h, p): S q̃ + D v, its error, and the largest number on the way to it.
    """

    weights: Weights
    turns: Turns
    k: Float
    q: Float
    S: StateErrors
    source: Float
    source_error: Float
    y: Float
    y_error: Float
    y_reach: Float


def follow_states(siso: Siso, path: Path) -> States:
    """S_t and S_{t−1} for every t."""
    source = outer_products(path.early[..., None] * path.v_before, path.k_before)
    source += outer_products(path.late[..., None] * siso.v, path.k)
    l = len(source)
    initial = siso.ssm_state.transpose(2, 3, 0, 1)
    decay = np.exp(siso.adt)[:, None, None]
    S = recur(decay, source, cuts_of(siso.fresh), decay[0] * initial if l else None)
    before = np.concatenate([initial[None], S[:-1]])[:l]
    return States(S, np.where(siso.fresh[:, None, None, :, None], 0.0, before))


def turned_analyses(arithmetic: Arithmetic) -> list[tuple[Arithmetic, bool]]:
    """As SSD's; k̃ and q̃ are made in the compute type, and rounded wherever operands are."""
    return analyses(RoundedInputs(**vars(arithmetic)))


def outer_products(v: Float, k: Float) -> Float:
    """v kᵀ from (l, b, h, p) and (l, b, h, n), as (l, p, n, b, h)."""
    product: Float = v.transpose(0, 3, 1, 2)[:, :, None] * k.transpose(0, 3, 1, 2)[:, None]
    return product


def forward_errors(siso: Siso, path: Path, states: States, turns: Turns, arithmetic: Arithmetic) -> Forward:
    """Follow one order of evaluation, seen from one frame."""
    weights = _weight_errors(siso, path, arithmetic)
    k, q = (rotation_error(x, turns.apart, arithmetic) for x in (siso.k, siso.q))
    source, source_error, factors, source_reach = _sources(siso, path, weights, turns, k, arithmetic)
    before, after = np.abs(states.before), np.abs(states.after)
    alpha = np.exp(siso.adt)[:, None, None] + weights.alpha[:, None, None]
    source_error += alpha * state_moved(before, turns.step)
    # One of the two may be added before the other.
    source_error += np.minimum(arithmetic.u * state_seen(after, turns.drift), source)
    recurrence = Recurrence(
        decay=np.exp(siso.adt)[:, None],
        decay_error=weights.alpha[:, None],
        exponent=np.abs(siso.adt)[:, None],
        step_error=np.zeros_like(siso.adt),
        rate=np.ones(1),
        before=flat(state_seen(before, turns.drift)),
        state=flat(state_seen(after, turns.drift)),
        source=flat(source),
        source_error=flat(source_error),
        fresh=started(siso),
        complex=False,
        factors=flat(factors),
        reach=flat(source_reach),
    )
    sums = chunk_sums(np.abs(siso.adt), arithmetic.chunk)
    begins = chunk_begins(len(sums), arithmetic.chunk)
    chunks = Chunks(arithmetic.chunk, begins, sums, sums, dual=True, sources=2, entered_before=True)
    S = in_order(recurrence, arithmetic, chunks, states.after.shape)
    y = _read(siso, path, states, turns, S, q, arithmetic)
    return Forward(weights, turns, k, q, S, source, source_error, *y)


def in_order(
    recurrence: Recurrence, arithmetic: Arithmetic, chunks: Chunks, shape: tuple[int, ...]
) -> StateErrors:
    """The drift in the declared order, in the shape of the states; of nothing where there is no step."""
    if shape[0] == 0:
        return StateErrors(*(np.zeros(shape) for _ in fields(StateErrors)))
    return drift_in_order(recurrence, arithmetic, chunks).map(lambda part: part.reshape(shape))


def flat(S: Float) -> Float:
    """(l, p, n, b, h) to (l, p·n, b, h)."""
    l, p, n, b, h = S.shape
    return S.reshape(l, p * n, b, h)


def started(siso: Siso) -> Any:
    """Where the recurrence starts: at a reset, and at t = 0 from the state given. (l, b)."""
    begun = siso.fresh.copy()
    begun[:1] = True
    return begun


def _read(
    siso: Siso,
    path: Path,
    states: States,
    turns: Turns,
    drift: StateErrors,
    e_q: Float,
    arithmetic: Arithmetic,
) -> tuple[Float, Float, Float]:
    """S q̃ + D v, its error, and the largest number on the way to it, (l, b, h, p)."""
    n = siso.k.shape[-1]
    q, e = (x.transpose(0, 3, 1, 2)[:, None] for x in (path.q, e_q))
    skip = siso.D[:, None] * siso.v
    y = (states.after * q).sum(axis=2).transpose(0, 2, 3, 1) + skip
    q = seen(path.q, turns.drift).transpose(0, 3, 1, 2)[:, None]
    S, mass = np.abs(states.after), drift.mass + drift.error
    terms = q * drift.error + e * (S + drift.error) + (n + 1) * arithmetic.u * (q + e) * mass
    terms += flushed(arithmetic, q, mass) + arithmetic.eta * (1.0 + q) * drift.pairs
    error = terms.sum(axis=2).transpose(0, 2, 3, 1)
    sums = n + 2.0 * sums_over_times(arithmetic, len(y), dual=True)[:, None, None, None]
    error += arithmetic.u * ((2.0 + sums) * np.abs(skip) + np.abs(y))
    error += flushed(arithmetic, np.abs(siso.D[:, None]), np.abs(siso.v))
    read = np.maximum(reached(arithmetic, mass), drift.meets)
    reach = (reached(arithmetic, q + e) * read).sum(axis=2).transpose(0, 2, 3, 1)
    reach = reach + reached(arithmetic, np.abs(siso.D[:, None]), np.abs(siso.v))
    return y, error, np.maximum(reach, drift.peak.max(axis=2, initial=0.0).transpose(0, 2, 3, 1))


def _weight_errors(siso: Siso, path: Path, arithmetic: Arithmetic) -> Weights:
    """Of α = exp(adt), λ = σ(trap), 1 − λ, λΔ and (1 − λ)Δα."""
    u, step, alpha = arithmetic.u, np.abs(siso.dt), np.exp(siso.adt)
    rho = u * (arithmetic.k_exp + arithmetic.k_scale * np.abs(siso.adt))
    e_alpha = alpha * np.expm1(rho) + arithmetic.eta
    e_crossing = alpha * np.expm1(rho + _entered_before(siso, arithmetic)) + arithmetic.eta
    share, rest = sigmoid(siso.trap), sigmoid(-siso.trap)
    e_share = share * sigmoid_error(siso.trap, arithmetic)
    e_rest = np.maximum(e_share + u * rest, rest * sigmoid_error(-siso.trap, arithmetic))
    late = step * e_share + 2.0 * u * np.abs(path.late) + flushed(arithmetic, share, step)
    early = step * (alpha * e_rest + rest * e_crossing) + 3.0 * u * np.abs(path.early)
    return Weights(e_alpha, e_crossing, e_share, e_rest, late, early + flushed(arithmetic, rest, step, alpha))


def _entered_before(siso: Siso, arithmetic: Arithmetic) -> Float:
    """2τ of the step before where a chunk begins, else 0: what enters early may be a source of that step.

    Then (λΔ)_t + ((1 − λ)Δ)_{t+1} is one weight of v_t k̃_tᵀ, and the decays since t are one exponential. At
    the end of a chunk it is one of two sums of all its steps, either of them wrong by τ. (l, b, h).
    """
    entered = np.zeros_like(siso.adt)
    if not arithmetic.in_chunks:
        return entered
    sums = chunk_sums(np.abs(siso.adt), arithmetic.chunk)
    begins = chunk_begins(len(sums), arithmetic.chunk)
    depth = np.ceil(np.log2(max(min(arithmetic.chunk, len(sums)), 2)))
    entered[1:] = np.where(begins[1:, None, None], 2.0 * arithmetic.u * depth * sums[:-1], 0.0)
    return entered


def before_error(siso: Siso, path: Path, turns: Turns, e_k: Float, arithmetic: Arithmetic) -> Float:
    """The error of k̃ of the step before, in this one's frame: none where a sequence starts. (l, b, h, n)."""
    delayed = np.concatenate([np.full_like(siso.k_state[None], arithmetic.eta), e_k[:-1]])[: len(e_k)]
    error = delayed + moved(np.abs(path.k_before) + delayed, turns.step)
    return np.where(siso.fresh[:, :, None, None], 0.0, error)


def weight_factors(siso: Siso) -> tuple[tuple[Float, ...], tuple[Float, ...]]:
    """What the weights of a step's two sources are products of: 1 − λ, Δ, α, and λ, Δ. (l, b, h)."""
    step, alpha = np.abs(siso.dt), np.exp(siso.adt)
    return (sigmoid(-siso.trap), step, alpha), (sigmoid(siso.trap), step)


def _sources(
    siso: Siso, path: Path, weights: Weights, turns: Turns, e_k: Float, arithmetic: Arithmetic
) -> tuple[Float, Float, Float, Float]:
    """|What a step adds to S|, its error, and the F and R of its factors, (l, p, n, b, h)."""
    u = arithmetic.u
    e_k_before = before_error(siso, path, turns, e_k, arithmetic)
    early, late = weight_factors(siso)
    parts = (
        (path.early, weights.early, early, path.v_before, path.k_before, e_k_before),
        (path.late, weights.late, late, siso.v, path.k, e_k),
    )
    l, b, h, p = siso.v.shape
    shape = (l, p, siso.k.shape[-1], b, h)
    source, error, factors, reach = (np.zeros(shape) for _ in range(4))
    for weight, e_weight, made_of, v, k, e in parts:
        w, v_, k_ = np.abs(weight)[..., None], np.abs(v), seen(k, turns.drift)
        source += outer_products(w * v_, k_)
        error += outer_products((w + e_weight[..., None]) * v_, e) + outer_products(
            e_weight[..., None] * v_, k_
        )
        error += 4.0 * u * outer_products(w * v_, k_ + e)
        factors += outer_products(all_of(*made_of)[..., None] * (1.0 + v_), 1.0 + k_ + e)
        largest = reached(arithmetic, *made_of)[..., None] * reached(arithmetic, v_)
        reach += outer_products(largest, reached(arithmetic, k_ + e))
    return source, error + arithmetic.eta * factors, factors, reach
