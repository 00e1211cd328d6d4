"""What scaling and squaring in a given arithmetic may do to each entry of a matrix exponential.

An implementation chooses k, evaluates a polynomial or rational approximation at X / 2^k
and squares k times. With T_i = exp(X / 2^i), exact, its error E_i runs through

    E_k     <= (N + 10) u max(e^{|Y|}, |e^{Y/2}| e^{|Y|/2} (I + |e^Y|) − I) + what is left out,   Y = X / 2^k
    E_{i-1} <= |T_i| E_i + E_i |T_i| + E_i^2 + (N + 2) u (|T_i| + E_i)^2,

where products of matrices are meant. The start: every term of the series is a product of at
most as many matrices as its degree, whose moduli add up to e^{|Y|}; a term of degree j
costs j (N + 1) roundings and weighs |Y|^j / j!, so that the common count is that of
the leading terms; the other is that of a rational approximant (`_solved`). What is left out (`_left_out`) is
small by norm: it may be all of an entry that only high powers of X reach, as in a chain of states.
Which k an author takes is free: the bound is the element-wise maximum over every k with
2^-3 < |Y|_1 <= 4, and k = 0 for smaller X. (The largest argument at which a float32 Taylor polynomial in use
is evaluated has norm 3.01, a Padé approximant 3.93; the lower end leaves two squarings more than anybody
needs.)
"""

from __future__ import annotations

from math import factorial
from typing import Final

import numpy as np

from ssm_spec._expm import geometric, reachable
from ssm_spec._roundoff import Arithmetic
from ssm_spec._validate import Array, Float

LARGEST_ARGUMENT: Final = 4.0
SMALLEST_ARGUMENT: Final = 2.0**-3
START: Final = 10
_HIGHEST_ORDER: Final = 64
"""4^p/p! is far below any unit roundoff there."""


def exponential_bound(
    X: Float, levels: list[Float], arithmetic: Arithmetic, lost: Float
) -> tuple[Float, Array]:
    """Return the bound (s, N, N) on exp(X) in this arithmetic, and whether all of it stays in range (s).

    `X` is (s, N, N), `levels[i]` is exp(X / 2^i), as in `Exponential`; `lost` is how far X may be moved where
    it is formed, by flushing. That moves exp(Z) by at most e^|Z| |δZ| e^|Z|.
    """
    u, n = arithmetic.u, X.shape[-1]
    reach = reachable(X)
    floor = n * arithmetic.eta * reach
    sizes = _one_norm(X)
    deepest = len(levels) - 1
    error, peak = np.zeros_like(X), np.broadcast_to(sizes, X.shape)
    for i in range(deepest, -1, -1):
        here = sizes * 2.0**-i
        # Zero until the deepest start: from there on, the larger of what comes from below and a start here.
        below = error
        if i < deepest:
            size = np.abs(levels[i + 1])
            square = (size + error) @ (size + error)
            started = sizes * 2.0 ** -(i + 1) > SMALLEST_ARGUMENT
            below = np.where(
                started, (size + error) @ error + error @ size + (n + 2) * u * square + floor, 0.0
            )
            peak = np.where(started, np.maximum(peak, square), peak)
        may_start = (here <= LARGEST_ARGUMENT) & ((here > SMALLEST_ARGUMENT) | (i == 0))
        error = below
        if np.any(may_start):
            Y = np.where(may_start, X * 2.0**-i, 0.0)
            majorant = _majorant(np.abs(Y))
            moved = majorant @ (lost * 2.0**-i) @ majorant
            start = (n + START) * (u * np.maximum(majorant, _solved(Y, levels, i)) * reach + floor) + moved
            start = start + _left_out(Y, majorant, u)
            error = np.maximum(below, np.where(may_start, start, 0.0))
    bound = error + u * np.abs(levels[0])
    in_range = np.all(np.nan_to_num(peak, nan=np.inf) + bound < arithmetic.largest, axis=(-2, -1))
    return bound, in_range


def reached_backwards(X: Float, levels: list[Float], G: Float) -> Float:
    """Return (s) the largest entry on the way backwards through an exponential, whose adjoint is exp(X).

    Backwards through T_{i-1} = T_i T_i a cotangent H_{i-1} gives H_i = T_i H_{i-1} + H_{i-1} T_i, here
    of moduli, with T_i = exp(X / 2^i) and H_0 = G. A series passes H_k on as at most
    e^|X/2^k| H_k e^|X/2^k|, the gradient of X / 2^k: 2^k times that of X, and it may overflow alone.
    """
    sizes = np.max(np.sum(np.abs(X), axis=-2), axis=-1, initial=0.0)
    H = np.abs(G)
    reach = np.max(H, axis=(-2, -1), initial=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        for i, level in enumerate(levels):
            here = sizes * 2.0**-i
            if i > 0:
                H = np.abs(level) @ H + H @ np.abs(level)
            may_start = (here <= LARGEST_ARGUMENT) & ((here > SMALLEST_ARGUMENT) | (i == 0))
            if np.any(may_start):
                series = _majorant(np.abs(X) * 2.0**-i)
                largest = np.max(series @ H @ series, axis=(-2, -1), initial=0.0)
                # The majorant is no less than the identity, so that what comes before is no more than this.
                reach = np.where(may_start, np.maximum(reach, np.nan_to_num(largest, nan=np.inf)), reach)
    return np.asarray(reach)


def _left_out(Y: Float, majorant: Float, u: float) -> Float:
    """Bound what a Taylor polynomial and a diagonal Padé approximant leave out of exp(Y).

    `majorant` is e^|Y|. Either is of the least order p for which c ‖Y^p‖₁ <= u ‖Y‖₁, right by norm:

        Taylor       c = 1/p!                                    c |Y^p| e^|Y|
        Padé [q/q]   c = q!²/((2q)! (2q + 1)!), p = 2q + 1       c |Y^p| e^|Y| Σ_j (|Y|/(q + 1))^j

    (Higham, Functions of Matrices, section 10.3; the poles are no nearer than q + 1.) The sum over j takes
    2‖Y‖₁ for q + 1 where that is more, as it is where powers of Y are far shorter than those of ‖Y‖₁.
    """
    size, norm, power = np.abs(Y), _one_norm(Y), Y
    found = np.zeros_like(Y)
    series = rational = np.ones(norm.shape, dtype=bool)
    for p in range(2, _HIGHEST_ORDER):
        power = power @ Y
        rest, allowed = np.abs(power), u * norm
        ends = series & (_one_norm(power) <= allowed * factorial(p))
        if np.any(ends):
            found = found + np.where(ends, rest / factorial(p), 0.0)
        series = series & ~ends
        if p % 2 == 1:
            q = p // 2
            c = factorial(q) ** 2 / (factorial(2 * q) * factorial(p))
            ends = rational & (c * _one_norm(power) <= allowed)
            if np.any(ends):
                away = np.maximum(q + 1.0, 2.0 * norm)
                found = found + np.where(ends, c * rest @ geometric(size / away), 0.0)
            rational = rational & ~ends
        if not np.any(series | rational):
            break
    return found @ majorant


def _solved(Y: Float, levels: list[Float], i: int) -> Float:
    """What a rounding weighs of D⁻¹N, a Padé approximant of exp(Y): |e^{Y/2}| e^{|Y|/2} (I + |e^Y|) − I.

    D and N are near e^{−Y/2} and e^{Y/2}; the moduli of the powers of Y that make either add up to e^{|Y|/2}.
    The first of them, I, is exact.
    """
    half = _majorant(0.5 * np.abs(Y))
    weighed: Float = (half if i + 1 == len(levels) else np.abs(levels[i + 1])) @ half
    return weighed + weighed @ np.abs(levels[i]) - np.eye(Y.shape[-1])


def _one_norm(X: Float) -> Float:
    """Return ‖X‖₁ of each matrix, (s, 1, 1)."""
    norm: Float = np.max(np.sum(np.abs(X), axis=-2), axis=-1, initial=0.0)[:, None, None]
    return norm


def _majorant(size: Float) -> Float:
    """Return e^|Z| for |Z|_1 up to LARGEST_ARGUMENT."""
    result = positive_exponential(size * 2.0**-5)
    for _ in range(5):
        result = result @ result
    return result


def positive_exponential(size: Float) -> Float:
    """Return e^|Z| for |Z|_1 well below 1: a sum of positive terms, hence right by entry."""
    term: Float = np.broadcast_to(np.eye(size.shape[-1]), size.shape)
    total = term.copy()
    for k in range(1, 24):
        term = term @ size / k
        total += term
    return total
