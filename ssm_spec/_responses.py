"""The responses of the continuous system at rest to an impulse and to a unit step.

    impulse(t) = C exp(tA) B,   step(t) = C ∫₀^t exp(sA) ds B + D,   t >= 0

(Åström and Wittenmark, Computer-Controlled Systems, 3rd ed., section 2.3.) Both read the zero-order hold
over t; the impulse that D passes on at t = 0 is not a number, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import DomainError, ShapeError
from ssm_spec._layer import System, discretised, discretised_bounds, discretised_vjp_bounds
from ssm_spec._layer_adjoint import majorant
from ssm_spec._layer_bounds import finish
from ssm_spec._products import Inexact, beyond, exactly, met, product_error, roundings, summed
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._systems import Parts, Systems, as_matrix_like, gradients
from ssm_spec._validate import (
    Array,
    Float,
    as_array,
    as_cotangent,
    as_real_array,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("g",)
IMPULSE_DIFFERENTIABLE = ("A", "B", "C")
STEP_DIFFERENTIABLE = ("A", "B", "C", "D")


class _Response(NamedTuple):
    """The held system, one a time and system (q, s, ...); D (s, p, m), and the shape of *s."""

    system: System
    D: Float
    lead: tuple[int, ...]
    step: bool


@operator
def impulse_response(A: Array, B: Array, C: Array, times: Float, *, diagonal: bool = False) -> Array:
    """Return C exp(tA) B at some times.

    (C1) Complex modes are one of each conjugate pair: 2 Re(...). (C2) t >= 0; D's impulse is left out.

    Parameters
    ----------
    A
        (*s, n, n), or the modes (*s, n); float or complex.
    B, C
        (*s, n, m) and (*s, p, n).
    times
        (q,), real, >= 0.
    diagonal
        Whether A is a vector of modes.

    Returns
    -------
    g
        (*s, p, m, q), float64, or complex128 where A is complex and full.
    """
    return _value(_read(A, B, C, None, times, diagonal, step=False))


@operator
def step_response(
    A: Array, B: Array, C: Array, times: Float, D: Float | None = None, *, diagonal: bool = False
) -> Array:
    """Return C ∫₀^t exp(sA) ds B + D at some times.

    Parameters
    ----------
    A, B, C, times, diagonal
        As for `impulse_response`.
    D
        (*s, p, m), real or complex; none means zero.

    Returns
    -------
    g
        In the shape and dtype of `impulse_response`.
    """
    return _value(_read(A, B, C, D, times, diagonal, step=True))


@arguments_of(impulse_response)
def impulse_response_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of A, B and C named in `wrt` (default: all)."""
    found = _vjp_bounds(cotangents, wrt, ORACLE, inputs, step=False)
    return {name: bounded.value for name, bounded in found.items()}


@arguments_of(step_response)
def step_response_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of A, B, C and D named in `wrt` (default: all given)."""
    found = _vjp_bounds(cotangents, wrt, ORACLE, inputs, step=True)
    return {name: bounded.value for name, bounded in found.items()}


@arguments_of(impulse_response)
def impulse_response_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return g with what honest arithmetic may do to each element: the hold's bound, and two products."""
    return _bounds(_read_keywords(inputs, step=False), arithmetic)


@arguments_of(step_response)
def step_response_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return g with what honest arithmetic may do to each element: the hold's bound, a product and a sum."""
    return _bounds(_read_keywords(inputs, step=True), arithmetic)


@arguments_of(impulse_response)
def impulse_response_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients with what honest arithmetic may do to each element."""
    return _vjp_bounds(cotangents, wrt, arithmetic, inputs, step=False)


@arguments_of(step_response)
def step_response_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients with what honest arithmetic may do to each element."""
    return _vjp_bounds(cotangents, wrt, arithmetic, inputs, step=True)


def _read(
    A: object, B: object, C: object, D: object, times: object, diagonal: bool, *, step: bool
) -> _Response:
    systems = Systems()
    A_ = as_array("A", A)
    complex_ = A_.dtype.kind == "c"
    B_, C_ = as_matrix_like("B", B, complex_), as_matrix_like("C", C, complex_)
    systems.bind("A", A_, "n" if diagonal else "n n")
    systems.bind("B", B_, "n m")
    systems.bind("C", C_, "p n")
    D_ = np.zeros((systems["p"], systems["m"])) if D is None else as_real_array("D", D)
    systems.bind("D", D_, "p m")
    t = as_real_array("times", times)
    if t.ndim != 1:
        raise ShapeError(f"`times` must have shape (q,); got {t.shape}")
    before = t[~(t >= 0)]
    if before.size:
        raise DomainError(f"`times` must be >= 0: before that, the system is at rest; got {before[0]}")
    flat = [systems.spread(x, k) for x, k in ((A_, 1 if diagonal else 2), (B_, 2), (C_, 2), (D_, 2))]
    held = [np.broadcast_to(x, (len(t), *x.shape)) for x in flat[:3]]
    count = flat[0].shape[0]
    delta = np.broadcast_to(t[:, None], (len(t), count))
    nothing = np.zeros((0, len(t), count, systems["m"], 0))
    system = System(
        held[0],
        held[1],
        held[2],
        None,
        delta[..., None] if diagonal else delta,
        nothing,
        None,
        "zoh",
        diagonal,
    )
    return _Response(system, flat[3], systems.shape, step)


def _read_keywords(inputs: Mapping[str, Any], *, step: bool) -> _Response:
    return _read(**{"D": None, "diagonal": False, **inputs}, step=step)


def _paired(call: _Response) -> bool:
    return call.system.diagonal and np.iscomplexobj(call.system.A)


def _value(call: _Response) -> Array:
    with np.errstate(all="ignore"):
        A_bar, B_bar = discretised(call.system)
        return _shaped(call, _joined(call, _held_input(call, A_bar, B_bar)))


def _held_input(call: _Response, A_bar: Array, B_bar: Array) -> Array:
    """Return exp(tA) B or ∫ exp(sA) ds B, (q, s, n, m)."""
    if call.step:
        return B_bar
    return A_bar[..., None] * call.system.B if call.system.diagonal else A_bar @ call.system.B


def _joined(call: _Response, held: Array) -> Array:
    """Return γ Re(C X) + D, (q, s, p, m)."""
    g = call.system.C @ held
    g = 2.0 * g.real if _paired(call) else g
    return g + call.D if call.step else g


def _shaped(call: _Response, g: Array) -> Array:
    """Return (q, s, p, m) as (*s, p, m, q)."""
    return np.moveaxis(g, 0, -1).reshape(*call.lead, *g.shape[2:], g.shape[0])


def _held_error(call: _Response, A_bar: Bounded, B_bar: Bounded, arithmetic: Arithmetic, own: bool) -> Float:
    if call.step:
        return B_bar.own if own else B_bar.bound
    E = Inexact(A_bar.value, A_bar.own if own else A_bar.bound)
    subscripts = "qsn,qsnm->qsnm" if call.system.diagonal else "qsij,qsjm->qsim"
    return product_error(subscripts, E, exactly(call.system.B), arithmetic)


def _bounds(call: _Response, arithmetic: Arithmetic) -> dict[str, Bounded]:
    A_bar, B_bar = discretised_bounds(call.system, arithmetic)
    gamma, sides = (2.0 if _paired(call) else 1.0), []
    with np.errstate(all="ignore"):
        held = _held_input(call, A_bar.value, B_bar.value)
        g = _joined(call, held)
        for a, own in ((arithmetic, False), (ORACLE, True)):
            wrong = Inexact(held, _held_error(call, A_bar, B_bar, a, own))
            error = gamma * product_error("qspn,qsnm->qspm", exactly(call.system.C), wrong, a)
            if call.step:
                # D may be the first term; it has no product.
                C = call.system.C
                roundings = met(C.shape[-1], 1, np.iscomplexobj(C), whole=not _paired(call))
                error = error + gamma * beyond(roundings.read, C, -1, a) * (np.abs(C) @ np.abs(held))
                error = error + a.u * ((roundings.passing - 1) * np.abs(call.D) + 2 * (np.abs(g) + error))
            sides.append(_shaped(call, error))
    inside = (B_bar if call.step else A_bar).judged
    judged = np.all(inside, axis=tuple(range(2, inside.ndim)))
    value = _shaped(call, g)
    everywhere = _shaped(call, np.broadcast_to(judged[..., None, None], g.shape))
    return {"g": finish(value, sides[0], sides[1], everywhere, arithmetic)}


def _vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None,
    arithmetic: Arithmetic,
    inputs: Mapping[str, Any],
    *,
    step: bool,
) -> dict[str, Bounded]:
    """Return the gradients: with X the held input and r the cotangent, dX = γ Cᴴ r and dC = γ Σ_t r Xᴴ."""
    call = _read_keywords(inputs, step=step)
    names = differentiated(wrt, inputs, STEP_DIFFERENTIABLE if step else IMPULSE_DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    system, both = call.system, (arithmetic, ORACLE)
    q, s, p, _ = system.C.shape
    m = system.B.shape[-1]
    complex_ = np.iscomplexobj(system.A) and not system.diagonal
    given = as_cotangent(cotangents, "g", (*call.lead, p, m, q), complex_=complex_)
    given = np.zeros((*call.lead, p, m, q)) if given is None else given
    r = np.moveaxis(given.reshape(s, p, m, q), -1, 0)
    gamma = 2.0 if _paired(call) else 1.0
    A_bar, B_bar = discretised_bounds(system, arithmetic)
    with np.errstate(all="ignore"):
        held = _held_input(call, A_bar.value, B_bar.value)
        dX = gamma * (_adjoint(system.C) @ r)
        e_dX = [gamma * product_error("qspn,qspm->qsnm", exactly(system.C), exactly(r), a) for a in both]
        dC = gamma * (r @ _adjoint(held))
        e_held = [_held_error(call, A_bar, B_bar, a, own) for a, own in zip(both, (False, True), strict=True)]
        e_dC = [
            gamma * product_error("qspm,qsnm->qspn", exactly(r), Inexact(held, e), a)
            for e, a in zip(e_held, both, strict=True)
        ]
        dA_bar, dB_bar, direct, e_A, e_B, e_direct = _through(call, A_bar, dX, e_dX, both)
    found = discretised_vjp_bounds(system, dA_bar, dB_bar, arithmetic)
    moved = [majorant(system, e_A[i], e_B[i]) for i in range(2)]
    everywhere = np.ones(1, dtype=bool)
    parts = {
        name: Parts(x.value, x.bound + moved[0][name], x.own + moved[1][name], x.judged)
        for name, x in found.items()
        if name != "delta"
    }
    inside = parts["B"]
    parts["B"] = Parts(
        inside.value + direct, inside.bound + e_direct[0], inside.own + e_direct[1], inside.judged
    )
    rounded = gamma * arithmetic.u * roundings(m, complex_) * (np.abs(r) @ np.abs(_adjoint(held)))
    parts["C"] = Parts(dC, e_dC[0], e_dC[1], everywhere, rounded)
    parts["D"] = Parts(r.real, np.zeros(r.shape), np.zeros(r.shape), everywhere)
    spread = {name: _by_system(call, part) for name, part in parts.items()}
    return gradients(spread, inputs, names, arithmetic.u, arithmetic.largest)


def _through(
    call: _Response, A_bar: Bounded, dX: Array, e_dX: list[Float], both: tuple[Arithmetic, Arithmetic]
) -> tuple[Array, Array, Array, list[Float], list[Float], list[Float]]:
    """Return the cotangents of Ā and B̄, what reaches B directly, and the errors of all three."""
    system = call.system
    if call.step:
        nothing = np.zeros(system.A.shape, dtype=system.A.dtype)
        none = [np.zeros(system.A.shape)] * 2
        return nothing, dX, np.zeros_like(dX), none, e_dX, [np.zeros(dX.shape)] * 2
    into_A, into_B = ("qsnm,qsnm->qsn", "qsn,qsnm->qsnm") if system.diagonal else (
        "qsim,qsjm->qsij", "qsij,qsim->qsjm")  # fmt: skip
    dA_bar = summed(into_A, dX, np.conj(system.B))
    direct = summed(into_B, np.conj(A_bar.value), dX)
    e_A = [
        product_error(into_A, Inexact(dX, e), exactly(system.B), a) for e, a in zip(e_dX, both, strict=True)
    ]
    e_direct = [
        product_error(into_B, Inexact(A_bar.value, bar), Inexact(dX, e), a)
        for bar, e, a in zip((A_bar.bound, A_bar.own), e_dX, both, strict=True)
    ]
    return dA_bar, np.zeros_like(dX), direct, e_A, [np.zeros(dX.shape)] * 2, e_direct


def _adjoint(M: Array) -> Array:
    return np.conj(np.swapaxes(M, -1, -2))


def _by_system(call: _Response, part: Parts) -> Parts:
    """Return a gradient (q, s, ...) as (q, *s, ...), to be summed over q and what was broadcast."""
    shape = (part.value.shape[0], *call.lead, *part.value.shape[2:])
    return part.reshape(shape)
