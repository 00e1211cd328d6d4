"""What scaling and squaring in a given arithmetic may do to each entry of a matrix exponential.

An implementation chooses k, evaluates a polynomial or rational approximation at X / 2^k
and squares k times. With T_i = exp(X / 2^i), exact, its error E_i runs through

    E_k     <= (N + 10) u e^{|X| / 2^k}
    E_{i-1} <= |T_i| E_i + E_i |T_i| + E_i^2 + (N + 2) u (|T_i| + E_i)^2,

where products of matrices are meant. The start: every term of the series is a product of at
most as many matrices as its degree, whose moduli add up to e^{|X| / 2^k}; a term of degree j
costs j (N + 1) roundings and weighs |X|^j / (2^{kj} j!), so that the common count is that of
the leading terms. Which k an author takes is free: the bound is the element-wise maximum over
every k with 2^-3 < |X|_1 / 2^k <= 4, and k = 0 for smaller X. (The largest argument at which a
float32 Taylor polynomial in use is evaluated has norm 3.01, a Padé approximant 3.93; the lower
end leaves two squarings more than anybody needs.)
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_spec._expm import reachable
from ssm_spec._roundoff import Arithmetic
from ssm_spec._validate import Array, Float

LARGEST_ARGUMENT: Final = 4.0
SMALLEST_ARGUMENT: Final = 2.0**-3
START: Final = 10


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
    sizes = np.max(np.sum(np.abs(X), axis=-2), axis=-1, initial=0.0)[:, None, None]
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
            majorant = _majorant(np.abs(X) * 2.0**-i)
            moved = majorant @ (lost * 2.0**-i) @ majorant
            start = (n + START) * (u * majorant * reach + floor) + moved
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
