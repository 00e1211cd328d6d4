"""The inclusive scan of the associative operator: its value in any of four orders, gradient, and bounds.

    h_t = a_t h_{t−1} + x_t,   h_{−1} = 0;   λ_t = r_t + a_{t+1}ᴴ λ_{t+1},   dx_t = λ_t,  da_t = λ_t h_{t−1}ᴴ

Bounds, E being what is flushed (`_state_error` has the proofs, with a constant in time):

    sequential   e ← |a| e + κ u |a| (|h⁻| + e) + u |h| + E,   κ that of a sum of n products, for matrices,
                 and what x meets if it is a term of it (`step_rounding`)
    scan         f ← |a| f + E,  K ← max(|a| K, |h|),  J ← |a| J + K,  e = f + (3 u_m + 2 u) J + u_m r K
    brackets     G ← |a| G + |x|,  X ← |a| X + G,  e = f + (κ + 2) u X + n r u G       (matrices)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ssm_spec._associative import EVALUATIONS, Counter, Elements
from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import ShapeError
from ssm_spec._layer_bounds import finish
from ssm_spec._layer_views import given_back, named
from ssm_spec._products import roundings, step_rounding
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._validate import (
    Array,
    Float,
    as_array,
    as_choice,
    as_cotangent,
    as_size,
    at_least_one,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("h",)
DIFFERENTIABLE = ("a", "x")


@dataclass(frozen=True)
class ScanCost:
    """What one order of evaluation costs.

    Attributes
    ----------
    work
        Applications of the operator.
    depth
        The longest chain of them, each of which waits for the one before.
    """

    work: int
    depth: int


class _Scan(NamedTuple):
    """The arguments, checked, time first: a (l, *s, n) or (l, *s, n, n), x (l, *s, n)."""

    a: Array
    x: Array
    evaluation: str
    chunk: int

    @property
    def dense(self) -> bool:
        """Whether each a is a matrix."""
        return self.a.ndim > self.x.ndim


@operator
def ssm_associative_scan(a: Array, x: Array, evaluation: str = "sequential", *, chunk: int = 64) -> Array:
    """Return every prefix of (a₀, x₀) ∘ (a₁, x₁) ∘ ..., its x part.

    (C1) h_t = a_t h_{t−1} + x_t from h_{−1} = 0; a_0 reaches no output.
    (C2) The four orders of evaluation are one function; they differ by rounding alone.
    (C3) Matrices multiply in time order: the later one stands on the left.

    Parameters
    ----------
    a
        (*s, n, l), element by element, or (*s, n, n, l), matrices; float or complex.
    x
        (*s, n, l); float or complex.
    evaluation
        "sequential", "hillis-steele", "blelloch" or "chunked".
    chunk
        Q >= 1, the length of a chunk, for "chunked".

    Returns
    -------
    h
        (*s, n, l), float64, or complex128 if a or x is complex.
    """
    return _outwards(_run(_read(a, x, evaluation, chunk)))


def ssm_associative_scan_cost(length: int, evaluation: str = "sequential", *, chunk: int = 64) -> ScanCost:
    """Return the work and the depth of one order, counted while it runs.

    Parameters
    ----------
    length
        The number of operands, >= 0.
    evaluation, chunk
        The order, as for `ssm_associative_scan`.

    Returns
    -------
    ScanCost
        Applications of the operator, and the longest chain of them.

    Raises
    ------
    DTypeError, DomainError
        Naming an argument that is no such number, or no order.
    """
    nothing = np.zeros((1, as_size("length", length)))
    call, counter = _read(nothing, nothing, evaluation, chunk), Counter()
    out = EVALUATIONS[call.evaluation](counter, _elements(call), call.chunk)
    return ScanCost(counter.work, int(np.max(out.depth, initial=0)))


@arguments_of(ssm_associative_scan)
def ssm_associative_scan_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `ssm_associative_scan` named in `wrt` (default: both)."""
    call, names, r = _read_vjp(cotangents, wrt, inputs)
    found = _pull_back(call, _run(call), _run_back(call, r))
    return {name: given_back(found[name], inputs[name]) for name in names}


@arguments_of(ssm_associative_scan)
def ssm_associative_scan_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return h with what honest arithmetic may do to each element: any bracketing, unless declared."""
    call = _read_keywords(inputs)
    h = _run(call)
    with np.errstate(all="ignore"):
        bound, own = (_errors(call.a, h, call.x, call, b) for b in (arithmetic, _own(call)))
    good = _good(call, h, arithmetic)
    return {"h": finish(_outwards(h), _outwards(bound), _outwards(own), _outwards(good), arithmetic)}


@arguments_of(ssm_associative_scan)
def ssm_associative_scan_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients with what honest arithmetic may do to each element."""
    call, names, r = _read_vjp(cotangents, wrt, inputs)
    h, lam = _run(call), _run_back(call, r)
    values = _pull_back(call, h, lam)
    # Reversed in time, λ obeys the same recurrence with a_{t+1}ᴴ in place of a_t.
    back = np.concatenate((np.zeros_like(call.a[:1]), _adjoint(call, call.a)[:0:-1]))
    before = np.concatenate((np.zeros_like(h[:1]), h[:-1]))
    with np.errstate(all="ignore"):
        sides = []
        for b in (arithmetic, _own(call)):
            e_h = _errors(call.a, h, call.x, call, b)
            e_lam = _errors(back, lam[::-1], r[::-1], call, b)[::-1]
            e_before = np.concatenate((np.zeros_like(e_h[:1]), e_h[:-1]))
            size = _outer(call, np.abs(lam) + e_lam, e_before) + _outer(call, e_lam, np.abs(before))
            rounded = b.product(np.iscomplexobj(values["a"])) * (
                size + _outer(call, np.abs(lam), np.abs(before))
            )
            flushed = b.eta * (1 + _outer(call, np.abs(lam), 1.0) + _outer(call, 1.0, np.abs(before)))
            error = size + rounded + flushed
            error[:1] = 0.0
            sides.append({"a": error, "x": e_lam})
    forward, backward = _good(call, h, arithmetic), _good(call, lam[::-1], arithmetic)[::-1]
    good = {"x": backward, "a": _outer(call, backward, forward) > 0}
    found = {}
    for name in names:
        bound, own, judged = (_outwards(p) for p in (sides[0][name], sides[1][name], good[name]))
        found[name] = finish(values[name], bound, own, judged, arithmetic)
    return named(found, inputs, names)


def _read(a: object, x: object, evaluation: object, chunk: object) -> _Scan:
    a_, x_ = as_array("a", a), as_array("x", x)
    if x_.ndim < 2:
        raise ShapeError(f"`x` must have shape (*s, n, l); got {x_.shape}")
    n = x_.shape[-2]
    whole = (*x_.shape[:-1], n, x_.shape[-1])
    if a_.shape not in (x_.shape, whole):
        raise ShapeError(
            f"`a` must have shape (*s, n, l) = {x_.shape} or (*s, n, n, l) = {whole}; got {a_.shape}"
        )
    at_least_one("x", "n", n)
    order = as_choice("evaluation", evaluation, EVALUATIONS)
    size = as_size("chunk", chunk, least=1)
    kind = np.result_type(a_, x_)
    a_, x_ = (np.moveaxis(array.astype(kind, copy=False), -1, 0) for array in (a_, x_))
    return _Scan(a_, x_, order, size)


def _read_keywords(inputs: Mapping[str, Any]) -> _Scan:
    return _read(**{"evaluation": "sequential", "chunk": 64, **inputs})


def _read_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[_Scan, tuple[str, ...], Array]:
    call = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    shape = np.shape(inputs["x"])
    r = as_cotangent(cotangents, "h", shape, complex_=np.iscomplexobj(call.x))
    return call, names, np.zeros_like(call.x) if r is None else np.moveaxis(r, -1, 0).astype(call.x.dtype)


def _elements(call: _Scan) -> Elements:
    return Elements(call.a, call.x, np.zeros(len(call.x), dtype=np.int64))


def _run(call: _Scan) -> Array:
    with np.errstate(all="ignore"):
        return EVALUATIONS[call.evaluation](Counter(), _elements(call), call.chunk).x


def _run_back(call: _Scan, r: Array) -> Array:
    """Return λ, time first."""
    lam, back = r.copy(), _adjoint(call, call.a)
    with np.errstate(all="ignore"):
        for t in range(len(r) - 2, -1, -1):
            lam[t] += _applied(back[t + 1], lam[t + 1], call.dense)
    return lam


def _pull_back(call: _Scan, h: Array, lam: Array) -> dict[str, Array]:
    """Return da_t = λ_t h_{t−1}ᴴ and dx_t = λ_t in the caller's layout."""
    before = np.concatenate((np.zeros_like(h[:1]), h[:-1]))
    with np.errstate(all="ignore"):
        da = _outer(call, lam, np.conj(before))
    return {"a": _outwards(da), "x": _outwards(lam)}


def _outer(call: _Scan, left: Array | float, right: Array | float) -> Array:
    """Return the product of two states for each a: element by element, or as a matrix."""
    left, right = (np.broadcast_to(side, call.x.shape) for side in (left, right))
    return np.asarray(left[..., :, None] * right[..., None, :] if call.dense else left * right)


def _applied(a: Array, x: Array, dense: bool) -> Array:
    return np.asarray((a @ x[..., None])[..., 0] if dense else a * x)


def _adjoint(call: _Scan, a: Array) -> Array:
    return np.conj(np.swapaxes(a, -1, -2)) if call.dense else np.conj(a)


def _own(call: _Scan) -> Arithmetic:
    """Return this package's arithmetic in the order of the call; its gradients run in time order."""
    return ORACLE if call.evaluation == "sequential" else Arithmetic(compute="float64", evaluation="scan")


def _errors(a: Array, h: Array, x: Array, call: _Scan, arithmetic: Arithmetic) -> Float:
    """Bound the states h of the recurrence of a and x, all time first."""
    complex_ = np.iscomplexobj(h)
    u, u_m = arithmetic.u, arithmetic.product(complex_)
    n, length, dense = h.shape[-1], len(h), call.dense
    terms = n if dense else 1
    in_order = arithmetic.evaluation == "sequential"
    rank = float(arithmetic.tree_depth(length))
    e = np.zeros(h.shape)
    f, previous = np.zeros(h.shape[1:]), np.zeros(h.shape[1:])
    K, J, G, X = (np.zeros(h.shape[1:]) for _ in range(4))
    for t in range(length):
        size, now = np.abs(a[t]), np.abs(h[t])
        flushed = (
            np.sum(size, axis=-1) + np.sum(previous, axis=-1, keepdims=True) if dense else size + previous
        )
        E = arithmetic.eta * (2 * n + 2 + flushed) if t else np.full_like(f, arithmetic.eta)
        if in_order:
            through = _applied(size, previous + f, dense)
            rounded = step_rounding(through, np.abs(x[t]), terms, 1, complex_, u)
            f = _applied(size, f, dense) + rounded + u * now + E
            e[t] = f * (1 + 2 * u)
        elif dense:
            f = _applied(size, f, dense) + E
            G = _applied(size, G, dense) + np.abs(x[t])
            X = _applied(size, X, dense) + G
            e[t] = f + (roundings(n, complex_) + 2) * u * X + (2 if complex_ else 1) * n * rank * u * G
        else:
            f, K = size * f + E, np.maximum(size * K, now)
            J = size * J + K
            e[t] = f + (3 * u_m + 2 * u) * J + u_m * rank * K
        previous = now
    return e


def _good(call: _Scan, h: Array, arithmetic: Arithmetic) -> Array:
    """Return where the states, and all before them, stay in range."""
    good = np.abs(h) < arithmetic.largest
    if call.dense:
        good = np.broadcast_to(np.all(good, axis=-1, keepdims=True), h.shape)
    return np.asarray(np.logical_and.accumulate(good, axis=0))


def _outwards(array: Array) -> Array:
    """Return time last."""
    return np.ascontiguousarray(np.moveaxis(array, 0, -1))
