"""The norms of bounds: the Euclidean one, with squares that would underflow, and the 2-norm of moduli."""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_spec._validate import Array, Float

_ROUNDS: Final = 12
_LEAST: Final = 2.0**-100


def euclidean(x: Array, axis: int | tuple[int, int] = -1) -> Float:
    """Return ‖x‖₂ along one axis, or ‖x‖_F over two, by way of the largest element."""
    size = np.abs(x)
    largest = np.max(size, axis=axis, keepdims=True, initial=0.0)
    scale = np.where((largest > 0.0) & np.isfinite(largest), largest, 1.0)
    return np.asarray(np.linalg.norm(size / scale, axis=axis) * np.squeeze(scale, axis=axis))


def longest(M: Float) -> Float:
    """Return a bound on the 2-norms (*s) of matrices M >= 0 (*s, n, m), close to them.

    ‖M‖₂² is the spectral radius of MᵀM, and that is at most max (MᵀM x)_i / x_i for every x > 0 (Horn and
    Johnson, Matrix Analysis, corollary 8.1.31). A few steps of the power method find a good x.
    """
    x, found = np.ones((*M.shape[:-2], M.shape[-1], 1)), np.full(M.shape[:-2], np.inf)
    for _ in range(_ROUNDS):
        y = np.swapaxes(M, -1, -2) @ (M @ x)
        found = np.fmin(found, np.max(y / x, axis=(-2, -1), initial=0.0))
        x = np.maximum(y / np.max(y, axis=-2, keepdims=True, initial=_LEAST), _LEAST)
    return np.asarray(np.sqrt(found) * (1 + 2.0**-20))
