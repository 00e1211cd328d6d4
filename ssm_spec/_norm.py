"""The Euclidean norm over any range of numbers: squares that underflow would make an error bound zero."""

from __future__ import annotations

import numpy as np

from ssm_spec._validate import Array, Float


def euclidean(x: Array, axis: int | tuple[int, int] = -1) -> Float:
    """Return ‖x‖₂ along one axis, or ‖x‖_F over two, by way of the largest element."""
    size = np.abs(x)
    largest = np.max(size, axis=axis, keepdims=True, initial=0.0)
    scale = np.where((largest > 0.0) & np.isfinite(largest), largest, 1.0)
    return np.asarray(np.linalg.norm(size / scale, axis=axis) * np.squeeze(scale, axis=axis))
