"""What honest arithmetic may do to Mamba-3's recurrence.

    increment      |i|(k_t + 3)u, i = Δ π tanh: tanh, the constant, two products
    θ              e_θ ← e_θ + that + u(T + |i| + 6π), T the sum of |i|: in any order, not reduced, or
                   reduced at each step: the sum, 2π itself, and what is left round by 2π + |i| or less
    cos, sin       e_r = min(e_θ, 2) + k_s u
    k̃, q̃           (|x₂ᵢ| + |x₂ᵢ₊₁|)(e_r + 3u), x with its bias; u|x| where nothing turns
    λ, 1 − λ       λρ_σ, and λρ_σ + u as 1 − λ
    S              the recurrence of `_selective_scan._state_errors` with a = exp(adt), whose source
                   is the two outer products
    y              Σ_n |q̃|e_S + e_q̃(|S| + e_S) + nu|q̃|(m + e_S) + |D v|u + u|y|, then the gate

k_t = 10 and k_s = 8 (5 and 4 ulp), after the limits of the OpenCL specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ssm_spec._calls import arguments_of
from ssm_spec._functions import sigmoid
from ssm_spec._gate_errors import silu_error
from ssm_spec._mamba3._inputs import Siso, read
from ssm_spec._mamba3._siso import Path, follow, last_v, mamba3_siso, run
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._selective_scan._classes import chunk_begins, chunk_sums
from ssm_spec._selective_scan._local_errors import flushed, sigmoid_error
from ssm_spec._selective_scan._recurrence import cuts_of, recur
from ssm_spec._selective_scan._state_errors import (
    Chunks,
    Recurrence,
    StateErrors,
    bracketed,
    chunked,
    sequential,
)
from ssm_spec._selective_scan._value import gate
from ssm_spec._ssd._bounds import analyses
from ssm_spec._validate import Float

_TANH: Final = 10.0
_SINE: Final = 8.0


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of y (l, b, h, p), θ, S, k̃; and the largest number that feeds y, and S."""

    y: Float
    theta: Float
    S: Float
    k: Float
    y_peak: Float
    S_peak: Float


@arguments_of(mamba3_siso)
def mamba3_siso_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and the four states.

    The bound of "angle_state" is on the distance modulo 2π.

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `mamba3_siso`; `return_final_states` changes nothing.

    Returns
    -------
    For each output its value, bound, the oracle's own bound, and where it is judged.
    """
    siso = read(**inputs)
    with np.errstate(all="ignore"):
        path = follow(siso)
        y, S = run(siso)
        states = _states(siso, path)
        found = [_errors(siso, path, states, order) for order, own in analyses(arithmetic) if not own]
        mine = _errors(siso, path, states, ORACLE)

        def bounded(value: Float, name: str, peak: str | None = None) -> Bounded:
            bound = np.max([getattr(one, name) for one in found], axis=0)
            judged = np.abs(value) + bound < arithmetic.largest
            if peak is not None:
                judged &= np.max([getattr(one, peak) for one in found], axis=0) < arithmetic.largest
            return Bounded(value, bound, getattr(mine, name), judged)

        v = last_v(siso)
        exact = Bounded(v, np.full_like(v, arithmetic.eta), np.zeros_like(v), np.isfinite(v))
        return {
            "y": bounded(y, "y", "y_peak").map(lambda part: part.swapaxes(0, 1)),
            "angle_state": bounded(path.last(path.theta, siso.angle_state), "theta"),
            "ssm_state": bounded(S, "S", "S_peak"),
            "k_state": bounded(path.last(path.k, siso.k_state), "k"),
            "v_state": exact,
        }


def _states(siso: Siso, path: Path) -> tuple[Float, Float]:
    """S_{t−1} and S_t for every t, (l, p·n, b, h)."""
    early, late = _sources(siso, path)
    decay = np.exp(siso.adt)[:, None]
    source = early + late
    initial = _state_layout(siso.ssm_state)
    S = recur(decay, source, cuts_of(siso.fresh), decay[0] * initial if len(decay) else None)
    before = np.concatenate([initial[None], S[:-1]])[: len(S)]
    return np.where(siso.fresh[:, None, :, None], 0.0, before), S


def _sources(siso: Siso, path: Path) -> tuple[Float, Float]:
    """The two outer products, (l, p·n, b, h)."""
    early = path.early[..., None] * path.v_before
    late = path.late[..., None] * siso.v
    return _outer(early, path.k_before), _outer(late, path.k)


def _outer(v: Float, k: Float) -> Float:
    """v kᵀ from (l, b, h, p) and (l, b, h, n), as (l, p·n, b, h)."""
    l, b, h, p = v.shape
    product = v.transpose(0, 3, 1, 2)[:, :, None] * k.transpose(0, 3, 1, 2)[:, None]
    return product.reshape(l, p * k.shape[-1], b, h)


def _state_layout(S: Float) -> Float:
    """(b, h, p, n) to (p·n, b, h)."""
    b, h, p, n = S.shape
    return S.transpose(2, 3, 0, 1).reshape(p * n, b, h)


def _errors(siso: Siso, path: Path, states: tuple[Float, Float], arithmetic: Arithmetic) -> Errors:
    """Follow one order of evaluation."""
    l, b, h, p = siso.v.shape
    n = siso.k.shape[-1]
    e_theta = _angle_error(siso, arithmetic)
    e_k, e_q = (_rotation_error(x, e_theta, arithmetic) for x in (siso.k, siso.q))
    drift = _drift(siso, path, states, e_k, arithmetic)
    wide = (l, p, n, b, h)
    e_S, mass, peak = (part.reshape(wide) for part in (drift.error, drift.mass, drift.peak))
    q, e_q_ = (np.abs(x).transpose(0, 3, 1, 2)[:, None] for x in (path.q, e_q))
    S = np.abs(states[1]).reshape(wide)
    terms = q * e_S + e_q_ * (S + e_S) + (n + 1) * arithmetic.u * (q + e_q_) * (mass + e_S)
    error = (terms + flushed(arithmetic, q, mass + e_S)).sum(axis=2).transpose(0, 2, 3, 1)
    skip, y = np.abs(siso.D[:, None] * siso.v), _ungated(siso, path, states[1])
    error += arithmetic.u * (2.0 * skip + np.abs(y)) + flushed(
        arithmetic, np.abs(siso.D[:, None]), np.abs(siso.v)
    )
    y_peak = np.maximum(peak.max(axis=(1, 2), initial=0.0)[..., None], np.abs(y))
    if siso.z is not None:
        size, e_gate = np.abs(gate(siso.z)), silu_error(siso.z, np.zeros_like(siso.z), arithmetic)
        error = size * error + (e_gate + arithmetic.u * (size + e_gate)) * (np.abs(y) + error)
        error += flushed(arithmetic, size, np.abs(y))
        y_peak = np.maximum(y_peak, size * np.abs(y))
    return Errors(
        error,
        e_theta[-1] if l else _reduction_error(np.abs(siso.angle_state), arithmetic),
        e_S[-1].transpose(2, 3, 0, 1) if l else np.full_like(siso.ssm_state, arithmetic.eta),
        e_k[-1] if l else np.full_like(siso.k_state, arithmetic.eta),
        y_peak,
        peak[-1].transpose(2, 3, 0, 1) if l else np.abs(siso.ssm_state),
    )


def _ungated(siso: Siso, path: Path, S: Float) -> Float:
    """S q̃ + D v. (l, b, h, p)."""
    l, b, h, p = siso.v.shape
    wide = S.reshape(l, p, siso.k.shape[-1], b, h)
    y: Float = np.einsum("lpnbh,lbhn->lbhp", wide, path.q) + siso.D[:, None] * siso.v
    return y


def _angle_error(siso: Siso, arithmetic: Arithmetic) -> Float:
    """e_θ, (l, b, h, a): rounded against T, the sum of moduli, since the order of a sum is free."""
    u = arithmetic.u
    turns = np.abs(siso.dt[..., None] * np.pi * np.tanh(siso.angles))
    local = (_TANH + 3.0) * u * turns + flushed(arithmetic, np.abs(siso.dt[..., None]), np.abs(siso.angles))
    depth = np.ceil(np.log2(max(len(turns), 2)))
    error, total = np.empty_like(turns), np.abs(siso.angle_state)
    carried = np.full_like(total, arithmetic.eta)
    for t, turn in enumerate(turns):
        fresh = siso.fresh[t, :, None, None]
        total = np.where(fresh, 0.0, total) + turn
        carried = np.where(fresh, 0.0, carried) + local[t] + u * turn + _reduction_error(total, arithmetic)
        error[t] = carried + depth * u * total
    return error


def _reduction_error(size: Float, arithmetic: Arithmetic) -> Float:
    """What an angle may lose that is brought between 0 and 2π, or between −π and π, as no step asks for.

    Also where no step was taken: a state is returned then that means the same.
    """
    return arithmetic.u * (size + 6.0 * np.pi) + arithmetic.eta


def _rotation_error(x: Float, e_theta: Float, arithmetic: Arithmetic) -> Float:
    """The error of R(θ)x, x = k + bias. (l, b, h, n)."""
    u, size, a = arithmetic.u, np.abs(x), e_theta.shape[-1]
    error = u * size + 3.0 * arithmetic.eta
    pairs = size[..., 0 : 2 * a : 2] + size[..., 1 : 2 * a : 2]
    turned = pairs * (np.minimum(e_theta, 2.0) + (_SINE + 3.0) * u) + 3.0 * flushed(arithmetic, pairs)
    error[..., 0 : 2 * a : 2] = turned
    error[..., 1 : 2 * a : 2] = turned
    return error


def _drift(
    siso: Siso, path: Path, states: tuple[Float, Float], e_k: Float, arithmetic: Arithmetic
) -> StateErrors:
    """The error of S in the declared order, (l, p·n, b, h)."""
    u = arithmetic.u
    exponent = np.abs(siso.adt)
    decay = np.exp(siso.adt)
    e_decay = decay * np.expm1(u * (arithmetic.k_exp + arithmetic.k_scale * exponent)) + arithmetic.eta
    step, share = np.abs(siso.dt), sigmoid(siso.trap)
    e_share = share * sigmoid_error(siso.trap, arithmetic)
    e_late = step * e_share + 2.0 * u * np.abs(path.late) + flushed(arithmetic, step)
    rest = sigmoid(-siso.trap)
    e_early = step * (decay * (e_share + u * rest) + rest * e_decay) + 3.0 * u * np.abs(path.early)
    e_early += flushed(arithmetic, step, decay)
    e_k_before = np.concatenate([np.full_like(siso.k_state[None], arithmetic.eta), e_k[:-1]])[: len(e_k)]
    e_k_before = np.where(siso.fresh[:, :, None, None], 0.0, e_k_before)
    parts = (
        (path.early, e_early, path.v_before, path.k_before, e_k_before),
        (path.late, e_late, siso.v, path.k, e_k),
    )
    source, source_error = np.zeros_like(states[1]), np.zeros_like(states[1])
    for weight, e_weight, v, k, e in parts:
        w, v_, k_ = np.abs(weight)[..., None], np.abs(v), np.abs(k)
        source += _outer(w * v_, k_)
        source_error += _outer((w + e_weight[..., None]) * v_, e) + _outer(e_weight[..., None] * v_, k_)
        source_error += 4.0 * u * _outer(w * v_, k_ + e) + flushed(arithmetic, _outer(1.0 + v_, 1.0 + k_))
    recurrence = Recurrence(
        decay=decay[:, None],
        decay_error=e_decay[:, None],
        exponent=exponent[:, None],
        step_error=np.zeros_like(exponent),
        rate=np.ones(1),
        before=np.abs(states[0]),
        state=np.abs(states[1]),
        source=source,
        source_error=source_error,
        fresh=_started(siso),
        complex=False,
    )
    return _in_order(recurrence, exponent, arithmetic)


def _in_order(recurrence: Recurrence, exponent: Float, arithmetic: Arithmetic) -> StateErrors:
    if arithmetic.evaluation == "sequential" or len(exponent) == 0:
        return sequential(recurrence, arithmetic)
    if arithmetic.evaluation == "chunk":
        sums = chunk_sums(exponent, arithmetic.chunk)
        chunks = Chunks(arithmetic.chunk, chunk_begins(len(sums), arithmetic.chunk), sums, sums)
        return chunked(recurrence, arithmetic, chunks)
    balanced = int(np.ceil(np.log2(max(len(exponent), 1))))
    depth = balanced if arithmetic.fold_depth is None else arithmetic.fold_depth
    return bracketed(recurrence, arithmetic, depth)


def _started(siso: Siso) -> Any:
    """Where the recurrence starts: at a reset, and at t = 0 from the state given. (l, b)."""
    started = siso.fresh.copy()
    started[:1] = True
    return started
