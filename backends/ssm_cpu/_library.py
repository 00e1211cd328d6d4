"""NumPy and PyTorch as the kernels see them: an array is its address, the code of its dtype, its strides."""

from __future__ import annotations

import sys
from typing import Any, Final, Protocol

import numpy as np

from ssm_backends import DeviceError
from ssm_backends.dtypes import dtype_name
from ssm_backends.imported import imported_torch
from ssm_cpu._transfer import CODES


class Library(Protocol):
    """What is asked of an array library. All it allocates is visible to its own instrument of memory."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A new array, contiguous, not initialised."""

    def empty_like(self, x: Any) -> Any:
        """A new array of x's shape and dtype, in x's order of memory where that is dense."""

    def copy(self, x: Any) -> Any:
        """A copy, in x's order of memory where that is dense."""

    def plain(self, x: Any) -> Any:
        """x, or None, as an array that holds the numbers themselves."""

    def words(self, x: Any) -> tuple[int, ...]:
        """Address, code of dtype, strides in bytes."""

    def written(self, x: Any) -> None:
        """Tell the library that a kernel has written over x."""


class NumpyLibrary:
    """NumPy arrays."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """See :class:`Library`."""
        return np.empty(shape, dtype=dtype)

    def empty_like(self, x: Any) -> Any:
        """See :class:`Library`."""
        return np.empty_like(x)

    def copy(self, x: Any) -> Any:
        """See :class:`Library`."""
        return x.copy(order="K")

    def plain(self, x: Any) -> Any:
        """See :class:`Library`."""
        return x

    def words(self, x: Any) -> tuple[int, ...]:
        """See :class:`Library`."""
        return x.__array_interface__["data"][0], _code(x), *x.strides

    def written(self, x: Any) -> None:
        """See :class:`Library`; nobody asks."""


class TorchLibrary:
    """PyTorch tensors in main memory."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """See :class:`Library`."""
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, dtype), device="cpu")

    def empty_like(self, x: Any) -> Any:
        """See :class:`Library`."""
        return sys.modules["torch"].empty_like(x)

    def copy(self, x: Any) -> Any:
        """See :class:`Library`."""
        return x.detach().clone()

    def plain(self, x: Any) -> Any:
        """See :class:`Library`; PyTorch may only note that numbers are conjugated, negated, or all zero."""
        lies_as_it_is = x is None or not (x.is_conj() or x.is_neg() or x._is_zerotensor())
        return x if lies_as_it_is else x.detach().clone()

    def words(self, x: Any) -> tuple[int, ...]:
        """See :class:`Library`."""
        width = x.element_size()
        return x.data_ptr(), _code(x), *[stride * width for stride in x.stride()]

    def written(self, x: Any) -> None:
        """See :class:`Library`; autograd refuses a gradient that has saved what was there before."""
        if not x.is_inference():
            sys.modules["torch"].autograd.graph.increment_version(x)


NUMPY: Final = NumpyLibrary()
TORCH: Final = TorchLibrary()
_KNOWN: Final[dict[Any, int]] = {}
"""dtype, of either library → its code."""


def library_of(x: Any) -> Library:
    """The library of an array, or DeviceError: a kernel reads main memory alone."""
    if isinstance(x, np.ndarray):
        return NUMPY
    if is_tensor(x):
        if x.device.type != "cpu":
            raise DeviceError(f"`u` must be on the CPU; got a tensor on {x.device}")
        return TORCH
    raise DeviceError(f"`u` must be a NumPy array or a PyTorch tensor on the CPU; got {type(x).__name__}")


def is_tensor(x: Any) -> bool:
    """Whether x is a PyTorch tensor; does not import PyTorch."""
    torch = imported_torch()
    return torch is not None and isinstance(x, torch.Tensor)


def _code(x: Any) -> int:
    code = _KNOWN.get(x.dtype)
    if code is None:
        code = _KNOWN[x.dtype] = CODES.get(dtype_name(x)) or x.itemsize  # of indices, the size says all
    return code
