"""The functions of the definitions on the tape: each with its derivative, and nothing rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ssm_spec.certify._balls import Balls, conjugate, elementwise, filled, real_part
from ssm_spec.certify._flint import acb_mat, arb, arb_mat, arb_poly
from ssm_spec.certify._tape import Link, Variable, summed_to


def exp(x: Variable) -> Variable:
    """exp x, element by element."""
    return _unary(x, lambda v: v.exp(), lambda v, w: w)


def reciprocal(x: Variable) -> Variable:
    """1/x, element by element."""
    return _unary(x, lambda v: 1 / v, lambda v, w: -w * w)


def sigmoid(x: Variable) -> Variable:
    """σ(x) = 1/(1 + e⁻ˣ); real x."""
    return _unary(x, lambda v: _sigmoid(v), lambda v, w: _sigmoid(v) * _sigmoid(-v))


def cos(x: Variable) -> Variable:
    """cos x; real x."""
    return _unary(x, lambda v: v.cos(), lambda v, w: -v.sin())


def sin(x: Variable) -> Variable:
    """sin x; real x."""
    return _unary(x, lambda v: v.sin(), lambda v, w: v.cos())


def pi_tanh(x: Variable) -> Variable:
    """π tanh x, whose slope is π/cosh²x; real x."""
    return _unary(x, lambda v: arb.pi() * v.tanh(), lambda v, w: arb.pi() * v.sech() ** 2)


def held(x: Variable) -> Variable:
    """φ(x) = expm1(x)/x, 1 at 0: the mean of exp over the step of a held input."""
    return _unary(x, _held, lambda v, w: _held_slope(v))


def softplus(x: Variable) -> Variable:
    """log(1 + eˣ), whose slope is σ(x); real x."""
    return _unary(x, lambda v: v.max(arb(0)) + (-abs(v)).exp().log1p(), lambda v, w: _sigmoid(v))


def silu(x: Variable) -> Variable:
    """x σ(x); real x."""
    return _unary(x, lambda v: v * _sigmoid(v), lambda v, w: _sigmoid(v) * (1 + v * _sigmoid(-v)))


def clamp(x: Variable, low: float, high: float) -> Variable:
    """min(max(x, low), high), real; the slope is 1 at a limit, and [0, 1] where that is not decided."""
    undecided = arb(0.5, 0.5)

    def slope(v: Any, w: Any) -> Any:
        if v < low or v > high:
            return arb(0)
        return arb(1) if low <= v <= high else undecided

    return _unary(x, lambda v: v.max(arb(low)).min(arb(high)), slope)


def twice_the_real_part(x: Variable) -> Variable:
    """2 Re x: a mode and its conjugate."""
    return Variable(2 * real_part(x.value), False, Link(x, lambda g: 2 * g))


def the_real_part(x: Variable) -> Variable:
    """Re x."""
    return Variable(real_part(x.value), False, Link(x, lambda g: g))


def conjugated(x: Variable) -> Variable:
    """The complex conjugate, whose gradient is conjugated on its way back."""
    return Variable(x.conjugated(), x.complex, Link(x, lambda g: conjugate(g) if x.complex else g))


def matrix_exp(X: Variable) -> Variable:
    """exp of each matrix of (*s, n, n).

    The derivative along E is the upper right block of exp [[X, E], [0, X]] (Higham, Functions of
    Matrices, (3.16)), and its adjoint the same with X* for X.
    """
    n = X.shape[-1]

    def pull(gradient: Balls) -> Balls:
        blocks = filled((*X.shape[:-2], 2 * n, 2 * n))
        blocks[..., :n, :n] = blocks[..., n:, n:] = np.swapaxes(X.conjugated(), -1, -2)
        blocks[..., :n, n:] = gradient
        return _of_matrices(lambda M: M.exp(), X.complex, blocks)[..., :n, n:]

    return Variable(_of_matrices(lambda M: M.exp(), X.complex, X.value), X.complex, Link(X, pull))


def solve(W: Variable, R: Variable) -> Variable:
    """Z = W⁻¹R for each matrix of (*s, n, n) and right side (*s, n, m); W* dR = dZ, dW = −dR Z*.

    Where the precision does not show W to be regular, Z is no number: more bits decide.
    """
    complex_ = W.complex or R.complex
    shape = np.broadcast_shapes(W.shape[:-2], R.shape[:-2])

    def solved(M: Balls, right: Balls) -> Balls:
        wide = [np.broadcast_to(x, (*shape, *x.shape[-2:])) for x in (M, right)]
        return _of_matrices(_solved, complex_, *wide)

    Z = solved(W.value, R.value)
    Z_star = np.swapaxes(conjugate(Z) if complex_ else Z, -1, -2)
    W_star = np.swapaxes(W.conjugated(), -1, -2)
    return Variable(
        Z,
        complex_,
        Link(R, lambda g: summed_to(solved(W_star, g), R.shape)),
        Link(W, lambda g: summed_to(-np.matmul(solved(W_star, g), Z_star), W.shape)),
    )


def convolve(u: Variable, K: Variable) -> Variable:
    """y_t = Σ_j K_j u_{t−j} as a product of polynomials; u (b, d, l), K (d, k), both real."""
    l, k = u.shape[-1], K.shape[-1]
    return Variable(
        _products(u.value, K.value)[..., :l],
        False,
        # Σ_j K_j g_{t+j} and Σ_t g_t u_{t−j} are products with one factor reversed.
        Link(u, lambda g: _products(g[..., ::-1], K.value)[..., :l][..., ::-1]),
        Link(K, lambda g: summed_to(_lags(_products(g, u.value[..., ::-1]), l, k), K.shape)),
    )


def _unary(x: Variable, function: Callable[[Any], Any], slope: Callable[[Any, Any], Any]) -> Variable:
    value = elementwise(function, x.value)

    def pull(gradient: Balls) -> Balls:
        slopes = elementwise(slope, x.value, value)
        return gradient * (conjugate(slopes) if x.complex else slopes)

    return Variable(value, x.complex, Link(x, pull))


def _held(x: Any) -> Any:
    """φ(x) = M(1, 2, x), Kummer's function (DLMF 13.6.2), near 0; the quotient elsewhere."""
    return (x.exp() - 1) / x if x.abs_lower() > 1 else x.hypgeom_1f1(1, 2)


def _held_slope(x: Any) -> Any:
    """φ'(x) = M(2, 3, x)/2 (DLMF 13.3.15), or the derivative of the quotient."""
    if x.abs_lower() > 1:
        e = x.exp()
        return (x * e - (e - 1)) / (x * x)
    return x.hypgeom_1f1(2, 3) / 2


def _sigmoid(x: Any) -> Any:
    """1/(1 + e⁻ˣ), without an exponential that could overflow."""
    if x < 0:
        e = x.exp()
        return e / (1 + e)
    return 1 / (1 + (-x).exp())


def _solved(W: Any, R: Any) -> Any:
    try:
        return W.solve(R)
    except ZeroDivisionError:
        return R * arb.nan()


def _of_matrices(function: Callable[..., Any], complex_: bool, *arrays: Balls) -> Balls:
    """Apply a function of flint's matrices to the last two dimensions."""
    kind: Any = acb_mat if complex_ else arb_mat
    results = [
        function(*(kind(*M.shape, list(M.reshape(-1))) for M in matrices)).entries()
        for matrices in zip(*(a.reshape(-1, *a.shape[-2:]) for a in arrays), strict=True)
    ]
    shape = (*arrays[0].shape[:-1], arrays[-1].shape[-1])
    balls = filled(shape)
    balls.reshape(-1)[:] = [ball for entries in results for ball in entries]
    return balls


def _products(a: Balls, b: Balls) -> Balls:
    """Products of polynomials, a (b, d, l) by b (d, k) or (b, d, k): (b, d, l + k)."""
    b = np.broadcast_to(b, (*a.shape[:-1], b.shape[-1]))
    result = filled((*a.shape[:-1], a.shape[-1] + b.shape[-1]))
    for i in np.ndindex(a.shape[:-1]):
        found = (arb_poly(list(a[i])) * arb_poly(list(b[i]))).coeffs()
        result[i][: len(found)] = found
    return result


def _lags(products: Balls, l: int, k: int) -> Balls:
    """Lags 0 … k − 1 of (b, d, 2l) products of a row and a reversed row; zero from l on."""
    result = filled((*products.shape[:-1], k))
    found = products[..., max(l - 1, 0) :][..., :k]
    result[..., : found.shape[-1]] = found
    return result
