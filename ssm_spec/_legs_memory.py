"""HiPPO-LegS as a memory: a signal compressed online into Legendre coefficients of its whole past, and back.

    c' = (A c + B f)/t,  f = f_k on (k − 1, k]:     c₁ = f₁ e₀,   c_k = Ā_k c_{k−1} + B̄_k f_k

(HiPPO, arXiv:2008.07669, theorem 2.) In the time log t this is h' = A h + B f: exactly, (Ā_k, B̄_k) is the
zero-order hold over Δ = log(k/(k−1)); the bilinear rule takes Δ = 1/τ, τ = k − 1. A's symmetric part is
−½I − P Pᵀ, so that ‖e^{ΔA}‖₂ <= e^{−Δ/2} = √((k−1)/k), and Tustin's Ā_k is no longer than 1: errors do not
grow, and are bounded in the 2-norm.
The signal is read back as f(x) = Σ_n c_n √(2n+1) P_n(2x − 1), x in [0, 1], 1 being now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._double_double import dot_error, exact, matmul
from ssm_spec._errors import ShapeError
from ssm_spec._hippo import read_order
from ssm_spec._layer_bounds import finish
from ssm_spec._layer_views import given_back
from ssm_spec._legs_steps import Steps, Wrong, steps_of
from ssm_spec._norm import euclidean
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._systems import OWN_UNIT
from ssm_spec._validate import (
    Array,
    Float,
    as_choice,
    as_cotangent,
    as_real_array,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("c",)
DIFFERENTIABLE = ("f",)
METHODS: Final = ("exact", "bilinear")
_SPLITTABLE: Final = 2.0**900
"""Far below where a number no longer splits into halves; c and λ may be √(l n) times as large."""


class _Call(NamedTuple):
    f: Float
    n: int
    method: str
    prefixes: bool


@operator
def hippo_legs_compress(f: Float, n: int, *, method: str = "exact", prefixes: bool = False) -> Float:
    """Compress a signal online into n Legendre coefficients of all of its past.

    (C1) c₁ = f₁ e₀, whatever came before; then one step for each sample.
    (C2) "exact" holds the sample over (k − 1, k]; "bilinear" is Tustin's rule in 1/τ, τ = k − 1.
    (C3) A signal of length 0 has c = 0.

    Parameters
    ----------
    f
        (*s, l), real.
    n
        The number of coefficients, >= 1.
    method
        "exact" or "bilinear".
    prefixes
        Return the coefficients after each sample, not after the last alone.

    Returns
    -------
    c
        (*s, n), or (*s, n, l) with `prefixes`; float64.
    """
    call = _read(f, n, method, prefixes)
    return _shaped(call, _run(call))


@arguments_of(hippo_legs_compress)
def hippo_legs_compress_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return df_k = B̄_kᵀ λ_k, with λ_{k−1} = Ā_kᵀ λ_k + r_{k−1}, and df₁ = (λ₁)₀."""
    call, names, r = _read_vjp(cotangents, wrt, inputs)
    df, _, _ = _run_back(call, r, None)
    return {name: given_back(df, inputs[name]) for name in names}


@arguments_of(hippo_legs_compress)
def hippo_legs_compress_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return c with what honest arithmetic may do to it, by norm: one bound for all n coefficients of a step.

    ε ← ε (‖Ā‖₂ + α + ρ‖Δ ∂Ā/∂Δ‖ + (n + 2) u ‖Ā‖)
            + ‖K u (|Ā||c⁻| + |B̄ f|) + ρ|Δ ∂c/∂Δ| + u|c|‖₂ + min(‖E_A |c⁻| + E_B |f|‖₂, α‖c⁻‖₂ + β|f|)

    E_A and E_B bound by entry what is wrong with Ā and B̄, α and β in the 2-norm (`Wrong`); ρ = (k_l + k_d) u.
    K = diag(2, 3, ..., n + 1): row i of a lower triangular Ā, and B̄ f, are a sum of i + 2 terms. Here the
    sums are taken in twice the precision, and K u is 8 n u².
    """
    call = _read_keywords(inputs)
    c = _run(call)
    with np.errstate(all="ignore"):
        (bound, reach), (own, _) = (
            _forward_error(call, c, a, is_own) for a, is_own in ((arithmetic, False), (ORACLE, True))
        )
    value = _shaped(call, c)
    bound, own, reach = (_shaped(call, np.broadcast_to(e[..., None], c.shape)) for e in (bound, own, reach))
    return {"c": finish(value, bound, own, reach + bound < arithmetic.largest, arithmetic)}


@arguments_of(hippo_legs_compress)
def hippo_legs_compress_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradient of f with what honest arithmetic may do to it; the adjoint contracts as well."""
    call, names, r = _read_vjp(cotangents, wrt, inputs)
    with np.errstate(all="ignore"):
        df, bound, reach = _run_back(call, r, (arithmetic, False))
        _, own, _ = _run_back(call, r, (ORACLE, True))
        inside = reach + bound < arithmetic.largest
    shape = np.shape(inputs["f"])
    df, bound, own = (part.reshape(shape) for part in (df, bound, own))
    return dict.fromkeys(names, finish(df, bound, own, inside.reshape(shape), arithmetic))


def _read(f: object, n: object, method: object, prefixes: bool) -> _Call:
    signal, size = as_real_array("f", f), read_order(n, "float64")
    if signal.ndim < 1:
        raise ShapeError("`f` must have shape (*s, l); got ()")
    rule = as_choice("method", method, METHODS)
    return _Call(signal, size, rule, bool(prefixes))


def _read_keywords(inputs: Mapping[str, Any]) -> _Call:
    return _read(**{"method": "exact", "prefixes": False, **inputs})


def _read_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[_Call, tuple[str, ...], Float]:
    """Return the call, the names, and the cotangent of every prefix, (l, s, n)."""
    call = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    *lead, length = call.f.shape
    shape = (*lead, call.n, length) if call.prefixes else (*lead, call.n)
    given = as_cotangent(cotangents, "c", shape)
    signals = _flat(call).shape[0]
    r = np.zeros((length, signals, call.n))
    if given is not None and length:
        if call.prefixes:
            r[:] = np.moveaxis(given.reshape(signals, call.n, length), -1, 0)
        else:
            r[-1] = given.reshape(signals, call.n)
    return call, names, r


def _flat(call: _Call) -> Float:
    """Return f as (s, l)."""
    return call.f.reshape(int(np.prod(call.f.shape[:-1])), call.f.shape[-1])


def _run(call: _Call) -> Float:
    """Return the coefficients after each sample, (l, s, n)."""
    f = _flat(call)
    c = np.zeros((f.shape[-1], f.shape[0], call.n))
    if len(c):
        c[0, :, 0] = f[:, 0]
    twice = _fits_twice(f)
    with np.errstate(all="ignore"):
        for steps in _steps(call):
            for i, both in enumerate(steps.both):
                t = steps.first - 1 + i
                c[t] = _product(np.column_stack((c[t - 1], f[:, t])), both.T, twice)
    return c


def _run_back(call: _Call, r: Float, measured: tuple[Arithmetic, bool] | None) -> tuple[Float, Float, Float]:
    """Return df (s, l) and, if asked, what arithmetic may do to it, and the largest sum of moduli."""
    length, signals, n = r.shape
    df, error, reach = (np.zeros((signals, length)) for _ in range(3))
    if not length:
        return df, error, reach
    a, is_own = (ORACLE, True) if measured is None else measured
    # What is copied may be subnormal, and lost.
    lam, eps, twice = r[-1].copy(), np.full(signals, a.eta), _fits_twice(r)
    most = np.abs(lam).max(axis=-1, initial=0.0)
    # Column i of Ā has n − i terms, to which r is added; B̄ has n.
    terms = np.append(n + 1.0 - np.arange(n), n + 1.0)
    for steps in _steps(call, a, backwards=True):
        wrong = None if measured is None else _wrong(steps, a, is_own)
        for i, both in reversed(list(enumerate(steps.both))):
            t = steps.first - 1 + i
            found = _product(lam, both, twice)
            df[:, t] = found[:, n]
            if wrong is not None:
                size = np.abs(lam) @ np.abs(both)
                reach[:, t] = most = np.maximum(most, size.max(axis=-1) + np.abs(r[t - 1]).max(axis=-1))
                local = _rounding(size, found, terms, a, is_own and twice)
                local += _step_error(a, is_own) * np.abs(lam @ steps.by_step[i]) + 4.0 * a.eta * (n + 1)
                missed = wrong.backward(i, lam)
                grown = _grown(steps, wrong, i, a, is_own)
                error[:, t] = local[:, n] + missed[:, 1] + grown[1] * eps
                eps = grown[0] * eps + euclidean(local[:, :n]) + missed[:, 0]
            lam = found[:, :n] + r[t - 1]
            if wrong is not None:
                eps = eps + a.u * euclidean(lam)
                if not is_own:  # r may be the first term, and loses no more than what is added to it
                    eps += euclidean(np.minimum((terms[:n] - 1.0) * a.u * np.abs(r[t - 1]), size[:, :n]))
    df[:, 0], error[:, 0], reach[:, 0] = lam[:, 0], eps, most
    return df, error, reach


def _forward_error(call: _Call, c: Float, arithmetic: Arithmetic, is_own: bool) -> tuple[Float, Float]:
    """Return ε, and the largest sum of moduli so far, (l, s).

    What is copied at first may be subnormal, and lost; terms that cancel may leave the range before they do.
    """
    f, n, twice = _flat(call), call.n, _fits_twice(_flat(call))
    eps, reach = np.full(c.shape[:2], arithmetic.eta), np.abs(f).T.copy()
    for steps in _steps(call, arithmetic):
        wrong = _wrong(steps, arithmetic, is_own)
        for i, both in enumerate(steps.both):
            t = steps.first - 1 + i
            before = np.column_stack((c[t - 1], f[:, t]))
            size = np.abs(before) @ np.abs(both).T
            reach[t] = np.maximum(reach[t - 1], size.max(axis=-1))
            local = _rounding(size, c[t], np.arange(2.0, n + 2.0), arithmetic, is_own and twice)
            local += _step_error(arithmetic, is_own) * np.abs(before @ steps.by_step[i].T)
            local += 4.0 * arithmetic.eta * (n + 1)
            grown = _grown(steps, wrong, i, arithmetic, is_own)
            eps[t] = grown[0] * eps[t - 1] + euclidean(local) + wrong.forward(i, before)
    return eps, reach


def _fits_twice(x: Float) -> bool:
    """Whether products with numbers of this size may be taken in twice the precision: none overflows."""
    return bool(np.all(np.abs(x) < _SPLITTABLE))


def _product(x: Float, matrix: Float, twice: bool) -> Float:
    """Return x @ matrix: its sums in twice the precision, rounded once, where that can be."""
    return matmul(exact(x), exact(matrix)).hi if twice else x @ matrix


def _rounding(size: Float, result: Float, terms: Float, arithmetic: Arithmetic, twice: bool) -> Float:
    """Return what a sum of `terms` products in any order loses, from Σ|products| and the sum."""
    if twice:
        return np.asarray(dot_error(len(terms) + 2) * size + arithmetic.u * np.abs(result))
    return np.asarray(terms * arithmetic.u * size + arithmetic.u * np.abs(result))


def _grown(steps: Steps, wrong: Wrong, i: int, arithmetic: Arithmetic, is_own: bool) -> Float:
    """Bound what Ā and B̄ᵀ of step i make of an error of norm 1, and what is wrong with either, (2)."""
    both, n = steps.both[i], len(steps.both[i])
    sizes, slopes = (
        np.array([np.linalg.norm(x[:, :n]), np.linalg.norm(x[:, n])]) for x in (both, steps.by_step[i])
    )
    exact = np.array([steps.norm[i], sizes[1]])
    more = wrong.longest(i) + _step_error(arithmetic, is_own) * slopes
    return np.asarray(exact + more + (n + 2) * arithmetic.u * sizes)


def _steps(call: _Call, arithmetic: Arithmetic = ORACLE, *, backwards: bool = False) -> Iterator[Steps]:
    return steps_of(call.n, call.f.shape[-1], call.method, arithmetic, backwards=backwards)


def _wrong(steps: Steps, arithmetic: Arithmetic, is_own: bool) -> Wrong:
    return steps.own_wrong() if is_own else steps.wrong(arithmetic)


def _step_error(arithmetic: Arithmetic, is_own: bool) -> float:
    """Return the relative error of Δ: a quotient and a logarithm; NumPy's log1p is right to a unit or two."""
    return 4.0 * OWN_UNIT if is_own else (arithmetic.k_log + arithmetic.k_div) * arithmetic.u


def _shaped(call: _Call, c: Array) -> Array:
    """Return (l, s, n) in the caller's shape."""
    lead = call.f.shape[:-1]
    if call.prefixes:
        return np.moveaxis(c, 0, -1).reshape(*lead, call.n, len(c))
    last = c[-1] if len(c) else np.zeros(c.shape[1:])
    return np.asarray(last).reshape(*lead, call.n)
