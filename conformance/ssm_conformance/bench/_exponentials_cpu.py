"""Exponentials in registers on every core of a CPU, in numba: range reduction and a polynomial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit, prange

ROWS: Final = 256
LANES: Final = 1 << 14
ROUNDS: Final = 16


@njit(parallel=True, fastmath=True, cache=True)
def _kernel(x: Any, out: Any, rounds: int) -> None:
    for row in prange(x.shape[0]):
        for _ in range(rounds):
            for i in range(x.shape[1]):
                p = x[row, i] * np.float32(1.4426950408889634)
                k = np.floor(p + np.float32(0.5))
                f = p - k
                r = np.float32(0.00133335581)
                r = r * f + np.float32(0.00961812911)
                r = r * f + np.float32(0.0555041087)
                r = r * f + np.float32(0.240226507)
                r = r * f + np.float32(0.693147181)
                r = r * f + np.float32(1.0)
                scale = np.int32(np.int32(k) + np.int32(127)) << np.int32(23)
                out[row, i] += r * np.int32(scale).view(np.float32)


def exponentials(seconds_of: Callable[[Callable[[], Any]], float]) -> float:
    """How many a second."""
    x = np.linspace(-8, 0, ROWS * LANES, dtype=np.float32).reshape(ROWS, LANES)
    out = np.zeros_like(x)
    return ROWS * LANES * ROUNDS / seconds_of(lambda: _kernel(x, out, ROUNDS))
