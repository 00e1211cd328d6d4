"""Reading a signal back from its Legendre coefficients.

    f(x) = Σ_n c_n √(2n+1) P_n(2x − 1),   (k + 1) P_{k+1} = (2k + 1) y P_k − k P_{k−1}

(HiPPO, arXiv:2008.07669, (11), with the basis orthonormal on [0, 1]; Bonnet's recurrence.) An error δ_k made
in step k of the recurrence, u (3k + 1) a few times, reaches P_n times g(n, k), the solution that starts
at 0, 1/(k+1): an associated Legendre polynomial, largest at y = 1, where g = H_n − H_k (harmonic numbers).
So P_n is wrong by at most Σ_k δ_k (H_n − H_k), about n² u, and by n(n+1)/2 times the error of y. That is the
worst case, at the ends; here the recurrence runs in twice the precision, and P_n is right to its rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._double_double import add, divide, exact, multiply, two_sum
from ssm_spec._errors import DomainError, ShapeError
from ssm_spec._hippo import read_order
from ssm_spec._layer_bounds import finish
from ssm_spec._layer_views import given_back
from ssm_spec._products import Inexact, exactly, product_error, summed
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._validate import (
    Array,
    Float,
    as_cotangent,
    as_real_array,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("f",)
DIFFERENTIABLE = ("c",)
_ROUNDINGS: Final = 5.0
"""Two products, a difference and a quotient in one step of the recurrence, a division being 2.5 units."""
_TWICE: Final = 8.0 * ORACLE.u**2
"""The roundoff of twice the precision: three products, a sum and a quotient a step lose 28 u², not 40."""


@operator
def hippo_legs_reconstruct(c: Float, points: Float) -> Float:
    """Return the signal that n Legendre coefficients stand for, at some points of its past.

    (C1) x = 0 is the beginning of the signal, x = 1 is now; sample k of l fills ((k − 1)/l, k/l].

    Parameters
    ----------
    c
        (*s, n), real.
    points
        (q,), real, each in [0, 1].

    Returns
    -------
    f
        (*s, q), float64.
    """
    coefficients, x = _read(c, points)
    return np.asarray(coefficients @ _basis(coefficients.shape[-1], x))


@arguments_of(hippo_legs_reconstruct)
def hippo_legs_reconstruct_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return dc_n = Σ_x r(x) √(2n+1) P_n(2x − 1); the points have no gradient."""
    c, x, names, r = _read_vjp(cotangents, wrt, inputs)
    return {name: given_back(r @ _basis(c.shape[-1], x).T, inputs[name]) for name in names}


@arguments_of(hippo_legs_reconstruct)
def hippo_legs_reconstruct_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return f with what honest arithmetic may do to it; the basis by its recurrence."""
    c, x = _read(**inputs)
    return {"f": _bounded(c, x, "sn,nq->sq", arithmetic)}


@arguments_of(hippo_legs_reconstruct)
def hippo_legs_reconstruct_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradient of c with what honest arithmetic may do to it."""
    c, x, names, r = _read_vjp(cotangents, wrt, inputs)
    return dict.fromkeys(names, _bounded(r, x, "sq,nq->sn", arithmetic, c.shape[-1]))


def _read(c: object, points: object) -> tuple[Float, Float]:
    coefficients, x = as_real_array("c", c), as_real_array("points", points)
    if coefficients.ndim < 1:
        raise ShapeError("`c` must have shape (*s, n); got ()")
    if not coefficients.shape[-1]:
        raise ShapeError(f"`c` must have shape (*s, n) with n >= 1; got {coefficients.shape}")
    read_order(coefficients.shape[-1], "float64")
    if x.ndim != 1:
        raise ShapeError(f"`points` must have shape (q,); got {x.shape}")
    outside = x[~((x >= 0) & (x <= 1))]
    if outside.size:
        raise DomainError(f"`points` must lie in [0, 1]; got {outside[0]}")
    return coefficients, x


def _read_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[Float, Float, tuple[str, ...], Float]:
    c, x = _read(**inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    shape = (*c.shape[:-1], len(x))
    r = as_cotangent(cotangents, "f", shape)
    return c, x, names, np.zeros(shape) if r is None else r


def _basis(n: int, x: Float) -> Float:
    """Return √(2k+1) P_k(2x − 1) for k < n, (n, q)."""
    y, before, now = two_sum(2.0 * x, np.full_like(x, -1.0)), exact(np.zeros_like(x)), exact(np.ones_like(x))
    P = np.empty((n, len(x)))
    for k in range(n):
        P[k] = now.hi
        risen = multiply(exact(np.full_like(x, 2.0 * k + 1.0)), multiply(y, now))
        fallen = multiply(exact(np.full_like(x, -float(k))), before)
        before, now = now, divide(add(risen, fallen), k + 1.0)
    return np.asarray(np.sqrt(2.0 * np.arange(n) + 1.0)[:, None] * P)


def _basis_error(n: int, basis: Float, u: float, unit: float) -> Float:
    """Bound the error of a basis (n, q) by the recurrence in roundoff `unit`, then scaled in u."""
    k = np.arange(n, dtype=np.float64)
    harmonic = np.concatenate(([0.0], np.cumsum(1.0 / (k + 1.0))))[:n]
    made = _ROUNDINGS * unit * (3.0 * k + 1.0)
    reach = np.clip(harmonic[:, None] - harmonic, 0.0, None)
    of_P = reach @ made + 0.5 * k * (k + 1.0) * 2.0 * unit
    scaled = np.sqrt(2.0 * k + 1.0) * of_P
    return np.asarray((scaled[:, None] + 3.0 * u * np.abs(basis)) * (1 + 2.0**-10))


def _bounded(
    factor: Float, x: Float, subscripts: str, arithmetic: Arithmetic, n: int | None = None
) -> Bounded:
    """Return the product of a factor (*s, ·) with the basis, and its bounds."""
    size = factor.shape[-1] if n is None else n
    basis = _basis(size, x)
    flat = factor.reshape(int(np.prod(factor.shape[:-1])), factor.shape[-1])
    with np.errstate(all="ignore"):
        value = factor @ (basis if n is None else basis.T)
        wrong = [
            _basis_error(size, basis, a.u, unit) for a, unit in ((arithmetic, arithmetic.u), (ORACLE, _TWICE))
        ]
        bound, own = (
            product_error(subscripts, exactly(flat), Inexact(basis, e), a).reshape(value.shape)
            for e, a in zip(wrong, (arithmetic, ORACLE), strict=True)
        )
        # Terms that cancel may leave the range before they do.
        terms = summed(subscripts, np.abs(flat), np.abs(basis) + wrong[0]).reshape(value.shape)
        inside = terms + bound < arithmetic.largest
    return finish(value, bound, own, inside, arithmetic)
