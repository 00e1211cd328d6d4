"""The long causal convolution: y_t = Σ_j K_j u_{t−j}, one kernel a channel, summed directly.

    y = K * u, the convolution form of a state space model   (S4, arXiv:2111.00396, (4))

The fast Fourier transform is a way to compute it, not what it means: its errors spread over
the whole row, and are bounded by norm only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from math import ceil, cos, log2, pi, sqrt
from typing import Any

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._norm import euclidean
from ssm_spec._products import Inexact, exactly
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded, ComplexArithmetic
from ssm_spec._systems import Parts
from ssm_spec._validate import (
    Dimensions,
    Float,
    as_cotangent,
    as_real_array,
    at_least_one,
    check_cotangent_names,
    differentiated,
)

_OUTPUTS = ("y",)
_DIFFERENTIABLE = ("u", "K")


@operator
def causal_convolution(u: Float, K: Float) -> Float:
    """Return y_t = Σ_{j <= t} K_j u_{t−j}, summed directly.

    Parameters
    ----------
    u
        (b, d, l), real.
    K
        (d, k), real, k >= 1; k may be below or above l.

    Returns
    -------
    y
        (b, d, l), float64.
    """
    return convolve(*_read(u, K))


@arguments_of(causal_convolution)
def causal_convolution_vjp(
    cotangents: Mapping[str, Float | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Return du_t = Σ_j K_j r_{t+j} and dK_j = Σ_{b,t} r_t u_{t−j}, for the cotangent r of y."""
    u, K, r, names = _read_vjp(cotangents, wrt, inputs)
    gradients = {"u": lambda: _convolve_back(r, K), "K": lambda: correlate(r, u, K.shape[-1])}
    return {name: gradients[name]() for name in names}


@arguments_of(causal_convolution)
def causal_convolution_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return y with what honest arithmetic may do to each element.

    Direct, in any order (Higham 2002, (3.5)): count_t u Σ_j |K_j||u_{t−j}|, count_t the terms of the sum.
    Declared "fft": ε (2 max|F K| ‖u‖₂ + ‖K‖₂ max|F u|) for each row, by the transform's error in the 2-norm.
    """
    u, K = _read(inputs["u"], inputs["K"])
    y = convolve(u, K)
    with np.errstate(all="ignore"):
        own = _direct_error(u, K, ORACLE)
        bound = _direct_error(u, K, arithmetic)
        if arithmetic.evaluation == "fft":
            bound = np.maximum(bound, fft_error(exactly(u), exactly(K), arithmetic)[..., None])
        sizes = convolve(np.abs(u), np.abs(K))
        judged = sizes < arithmetic.largest
        if arithmetic.evaluation == "fft":
            judged = np.broadcast_to((fft_reach(u, K) < arithmetic.largest)[..., None], y.shape)
    return {"y": Parts(y, bound, own, judged).bounded()}


@arguments_of(causal_convolution)
def causal_convolution_vjp_bounds(
    cotangents: Mapping[str, Float | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `causal_convolution` with what honest arithmetic may do to each element.

    Both are correlations, bounded as the convolution is; dK sums over the batch too.
    """
    u, K, r, names = _read_vjp(cotangents, wrt, inputs)
    with np.errstate(all="ignore"):
        parts = {
            name: (_input_parts(r, K, arithmetic) if name == "u" else _kernel_parts(r, u, K, arithmetic))
            for name in names
        }
    return {name: part.bounded() for name, part in parts.items()}


def _read(u: object, K: object) -> tuple[Float, Float]:
    u_, K_ = as_real_array("u", u), as_real_array("K", K)
    dimensions = Dimensions()
    dimensions.match("u", u_, "b d l")
    dimensions.match("K", K_, "d k")
    at_least_one("K", "k", dimensions["k"])
    return u_, K_


def _read_vjp(
    cotangents: Mapping[str, Float | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[Float, Float, Float, tuple[str, ...]]:
    u, K = _read(inputs["u"], inputs["K"])
    names = differentiated(wrt, inputs, _DIFFERENTIABLE)
    check_cotangent_names(cotangents, _OUTPUTS)
    r = as_cotangent(cotangents, "y", u.shape)
    return u, K, np.zeros(u.shape) if r is None else r, names


def convolve(u: Float, K: Float) -> Float:
    """Return the causal convolution; what K holds beyond l reaches no output."""
    y = np.zeros(u.shape)
    length = u.shape[-1]
    with np.errstate(all="ignore"):
        for i, j in np.ndindex(u.shape[:2] if length else (0, 0)):
            y[i, j] = np.convolve(u[i, j], K[j, :length])[:length]
    return y


def _convolve_back(r: Float, K: Float) -> Float:
    """Return du_t = Σ_j K_j r_{t+j}: the same convolution, time reversed."""
    return convolve(r[..., ::-1], K)[..., ::-1]


def correlate(r: Float, u: Float, k: int) -> Float:
    """Return dK_j = Σ_{b,t} r_t u_{t−j}, zero for j >= l."""
    b, d, length = u.shape
    dK = np.zeros((d, k))
    kept = min(k, length)
    with np.errstate(all="ignore"):
        for i, j in np.ndindex((b, d) if kept else (0, 0)):
            dK[j, :kept] += convolve(r[i : i + 1, j : j + 1, ::-1], u[i, j : j + 1])[0, 0, ::-1][:kept]
    return dK


def _input_parts(r: Float, K: Float, arithmetic: Arithmetic) -> Parts:
    flipped = r[..., ::-1]
    bound = _direct_error(flipped, K, arithmetic)
    judged = convolve(np.abs(flipped), np.abs(K)) < arithmetic.largest
    if arithmetic.evaluation == "fft":
        bound = np.maximum(bound, fft_error(exactly(flipped), exactly(K), arithmetic)[..., None])
        judged = np.broadcast_to((fft_reach(flipped, K) < arithmetic.largest)[..., None], judged.shape)
    own = _direct_error(flipped, K, ORACLE)
    return Parts(_convolve_back(r, K), bound[..., ::-1], own[..., ::-1], judged[..., ::-1])


def _kernel_parts(r: Float, u: Float, K: Float, arithmetic: Arithmetic) -> Parts:
    b, _, length = u.shape
    k = K.shape[-1]
    sizes = correlate(np.abs(r), np.abs(u), k)
    terms = b * np.clip(length - np.arange(k), 0, None)
    flushed = np.sum(np.abs(r) + np.abs(u), axis=(0, -1))[:, None]
    errors = [
        (terms + 1) * a.u * sizes + a.eta * (terms + (terms > 0) * flushed) for a in (arithmetic, ORACLE)
    ]
    bound, judged = errors[0], sizes < arithmetic.largest
    if arithmetic.evaluation == "fft":
        rows = [fft_error(exactly(r[i : i + 1]), exactly(u[i]), arithmetic, rows=b)[0] for i in range(b)]
        bound = np.maximum(bound, (np.sum(rows, axis=0) if b else np.zeros(u.shape[1]))[:, None])
        bound = bound + b * arithmetic.u * sizes
        reach = sum((fft_reach(r[i : i + 1], u[i])[0] for i in range(b)), np.zeros(u.shape[1]))
        judged = np.broadcast_to((reach < arithmetic.largest)[:, None], judged.shape)
    return Parts(correlate(r, u, k), bound, errors[1], judged)


def _direct_error(u: Float, K: Float, arithmetic: Arithmetic) -> Float:
    """Bound a sum in any order: a unit for each of its terms (one is the product's), and the flushed ones."""
    length, k = u.shape[-1], K.shape[-1]
    terms = np.minimum(np.arange(1, length + 1), k).astype(np.float64)
    sizes = convolve(np.abs(u), np.abs(K))
    ones = np.ones_like(K)
    flushed = terms + convolve(np.abs(u), ones) + convolve(np.ones_like(u), np.abs(K))
    return np.asarray((terms + 1) * arithmetic.u * sizes + arithmetic.eta * flushed)


def fft_error(u: Inexact, K: Inexact, arithmetic: Arithmetic, rows: int = 1) -> Float:
    """Bound y = F⁻¹(F u ∘ F K) by norm, (b, d): every element of a row may be wrong by this.

    An error ε √N ‖u‖₂ of F u is multiplied by at most max |F K|; one of F K by at most max |F u|, and both
    errors by each other, ε² ‖K‖₂‖u‖₂; the inverse transform adds ε ‖y‖₂, ‖y‖₂ <= max |F K| ‖u‖₂ (Higham 2002,
    section 24.2), and ε or u_m of each error before it. Flushing loses at most 2 N η of a point of F u and of
    F K, which meet ‖K‖₁ and ‖u‖₁, and as much in their product's inverse. Of a u or K that is wrong by E
    already, these are |u| + E, and max |F u| + ‖E‖₁.

    One of several `rows` whose products are summed before they are brought back loses (rows − 1) u_m ‖K‖₂‖u‖₂
    more: the mean of |F u||F K| is no larger than ‖K‖₂‖u‖₂.
    """
    length = u.value.shape[-1] + K.value.shape[-1]
    eps, product = transform_error(length, arithmetic.u), arithmetic.product(complex_=True)
    u1, u2, K1, K2 = (
        norm(np.abs(x.value) + x.error) for x in (u, K) for norm in (partial(np.sum, axis=-1), euclidean)
    )
    # Of each transform's N points every one sums N numbers, twice as many with the roots' products.
    points = 2.0 ** transform_levels(length)
    lost = 4.0 * points * ComplexArithmetic.of(arithmetic).eta * (1.0 + u1) * (1.0 + K1)
    summed = (rows - 1) * product * K2 * u2
    both = eps**2 * K2 * u2
    of_u, of_K = (2 * eps + product) * _largest_transformed(K) * u2, eps * K2 * _largest_transformed(u)
    return np.asarray((of_u + of_K + both) * (1 + eps + product) + summed + lost)


def _largest_transformed(x: Inexact) -> Float:
    """Bound |Σ_j x_j ωʲ| for |ω| = 1, and so at the points of every transform: (…) for real x (…, l).

    At the M-th roots of unity, M >= 4l, its largest is no less than cos(π(l − 1)/2M) times the largest of
    all. For with ω = e^{2iφ}, and one direction of the plane, it is a trigonometric polynomial in φ of degree
    l − 1, and one that is 1 at most is no less than cos((l − 1)δ) at a distance δ from where it is 1 (M.
    Riesz 1914).
    """
    wrong, whole, l = np.sum(x.error, axis=-1), np.sum(np.abs(x.value), axis=-1), x.value.shape[-1]
    if l > 1:
        points = 2 ** ceil(log2(4 * l))
        at_roots = np.max(np.abs(np.fft.rfft(x.value, points)), axis=-1)
        own = sqrt(points) * transform_error(points, ORACLE.u) * euclidean(x.value)
        whole = np.fmin(whole, (at_roots + own) / cos(pi / 8))
    return np.asarray(whole + wrong)


def fft_reach(u: Float, K: Float) -> Float:
    """Return the largest number on the way of F⁻¹(F u ∘ F K), (b, d): a sum of N points before 1/N is taken.

    A point of F u is at most ‖u‖₁, one of F K at most ‖K‖₁; a part of their complex product, twice that.
    """
    u1, K1 = (np.maximum(np.sum(np.abs(x), axis=-1), 1.0) for x in (u, K))
    return np.asarray(2.0 * 2.0 ** transform_levels(u.shape[-1] + K.shape[-1]) * u1 * K1)


def transform_levels(points: int) -> int:
    """Return log₂ of twice the next power of two."""
    return ceil(log2(max(points, 2))) + 1


def transform_error(points: int, u: float) -> float:
    """Return ε of a transform padded to at most twice the next power of two (Higham 2002, theorem 24.2).

    ε = η log₂ N, η = μ + 4 u (√2 + μ): roots of unity known to μ = 4 u, three units and a rounding.
    """
    levels = transform_levels(points)
    weights = 4 * u
    eta = weights + 4 * u * (sqrt(2.0) + weights)
    return levels * eta / (1 - levels * eta)
