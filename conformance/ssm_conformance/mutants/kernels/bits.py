"""NumPy arrays, and bfloat16 as its bits, so that 16-bit cases reach the known-bad backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ssm_backends import Layout, NumpyArrays
from ssm_conformance.storage import store, widen

Array = NDArray[Any]


@dataclass(frozen=True)
class Bfloat16:
    """An array of bfloat16 numbers.

    Attributes
    ----------
    bits : uint16, any shape
        As they lie in memory.
    """

    bits: NDArray[np.uint16]
    dtype: ClassVar[str] = "bfloat16"

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.bits.shape

    def __getitem__(self, key: Any) -> Bfloat16:
        return Bfloat16(self.bits[key])


class BitArrays(NumpyArrays):
    """The adapter to NumPy, with bfloat16 as its bits."""

    name = "numpy-bits"
    lacks: tuple[str, ...] = ()

    def from_numpy(self, x: Array, dtype: str, layout: Layout | None = None) -> Any:
        """See ``ssm_backends.Arrays``."""
        if dtype == "bfloat16":
            return Bfloat16(super().from_numpy(x, "uint16", layout))
        return super().from_numpy(x, dtype, layout)

    def to_numpy(self, x: Any) -> Array:
        """See ``ssm_backends.Arrays``."""
        return super().to_numpy(x.bits if isinstance(x, Bfloat16) else x)


def loaded(x: Any, compute: str) -> Array:
    """An array in the compute type, complex if it is.

    Parameters
    ----------
    x : NumPy array or Bfloat16
    compute
        "float32" or "float64".
    """
    if isinstance(x, Bfloat16):
        return widen(x.bits, "bfloat16").astype(compute)
    return np.asarray(x).astype(np.result_type(x.dtype, compute) if np.iscomplexobj(x) else compute)


def stored(x: Array, dtype: str) -> Any:
    """An array rounded to the named dtype; a real dtype takes the real part.

    Parameters
    ----------
    x : float32, float64, complex64 or complex128
    dtype
        Its name.
    """
    if dtype == "bfloat16":
        return Bfloat16(store(x.real.astype(np.float64), dtype))
    with np.errstate(over="ignore"):  # what it cannot hold becomes an infinity
        return (x if dtype.startswith("complex") else x.real).astype(dtype)


def rounded(x: Array, dtype: str) -> Array:
    """An array rounded to a narrower format and brought back: both parts, if it is complex.

    Parameters
    ----------
    x : float32, float64, complex64 or complex128
    dtype
        "bfloat16", "float16", or "tf32": ten bits after the leading one.
    """
    if np.iscomplexobj(x):
        return (rounded(x.real, dtype) + 1j * rounded(x.imag, dtype)).astype(x.dtype)
    if dtype in ("bfloat16", "float16"):
        return widen(store(x.astype(np.float64), dtype), dtype).astype(x.dtype)
    significand, exponent = np.frexp(x)
    return np.asarray(np.ldexp(np.rint(np.ldexp(significand, 11)), exponent - 11))
