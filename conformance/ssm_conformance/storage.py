"""Numbers as a dtype stores them: rounding to it, widening from it, and the reals that round to it.

Values travel as float64 or complex128; a stored array has NumPy's dtype of its name, or
uint16, the bits, for bfloat16.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_BITS: Final = {"bfloat16": np.uint16, "float16": np.uint16, "float32": np.uint32, "float64": np.uint64}
_BEYOND: Final = {"bfloat16": 2.0**128, "float16": 2.0**16, "float32": 2.0**128}
"""The number after the largest finite one, had the exponent room for it."""


def store(x: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Round to nearest even into a dtype.

    Parameters
    ----------
    x : float64 or complex128
    dtype
        Its name; bfloat16 gives uint16 bits.
    """
    if dtype != "bfloat16":
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return np.asarray(x).astype(dtype)
    values = np.asarray(x, dtype=np.float64)
    single = _odd_float32(values).view(np.uint32)
    rounded = (single + np.uint32(0x7FFF) + ((single >> 16) & np.uint32(1))) >> 16
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)


def _odd_float32(x: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to odd, so that rounding once more gives what rounding once would have."""
    with np.errstate(over="ignore", under="ignore"):
        near = x.astype(np.float32)
    bits = near.view(np.uint32).copy()
    exact = near.astype(np.float64) == x
    too_far = np.abs(near.astype(np.float64)) > np.abs(x)
    even = bits & np.uint32(1) == 0
    fixable = ~exact & even & ~np.isnan(x)
    bits = np.where(fixable, np.where(too_far, bits - np.uint32(1), bits | np.uint32(1)), bits)
    return np.asarray(bits).view(np.float32)


def widen(stored: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The stored numbers as float64 or complex128, exactly.

    Parameters
    ----------
    stored : as :func:`store` returns it
    dtype
        Its name.
    """
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
        return _widened(stored, dtype)


def _widened(stored: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == "bfloat16":
        single = stored.astype(np.uint32) << 16
        return single.view(np.float32).astype(np.float64)
    return stored.astype(np.complex128 if np.iscomplexobj(stored) else np.float64)


def preimage(stored: NDArray[Any], dtype: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of the closed interval of reals that round to each stored number.

    An infinity stands for every real beyond the overflow threshold. A NaN has no preimage:
    both ends are NaN.

    Parameters
    ----------
    stored : real, as :func:`store` returns it
    dtype
        "bfloat16", "float16" or "float32".
    """
    value = widen(stored, dtype)
    magnitude = np.where(np.isnan(value), 0.0, np.abs(value))
    bits = store(magnitude, dtype).view(_BITS[dtype])
    above = _neighbour(bits, dtype, +1)
    below = np.where(bits == 0, -above, _neighbour(np.maximum(bits, 1), dtype, -1))
    limit = _BEYOND[dtype]
    above = np.where(np.isfinite(above), above, limit)
    finite = np.where(np.isinf(magnitude), limit, magnitude)
    low, high = (below + finite) / 2, np.where(np.isinf(magnitude), np.inf, (finite + above) / 2)
    negative = np.signbit(value)
    lower = np.where(np.isnan(value), np.nan, np.where(negative, -high, low))
    upper = np.where(np.isnan(value), np.nan, np.where(negative, -low, high))
    return lower, upper


def _neighbour(bits: NDArray[Any], dtype: str, step: int) -> NDArray[np.float64]:
    shifted = (bits.astype(np.int64) + step).astype(_BITS[dtype])
    return widen(shifted if dtype == "bfloat16" else shifted.view(dtype), dtype)
