"""The adapter to NumPy."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ssm_backends.arrays.protocol import Layout, MemoryUse
from ssm_backends.arrays.storage import zeros
from ssm_backends.errors import DTypeError, NotSupportedError, UnavailableError


class NumpyArrays:
    """NumPy arrays in main memory. Memory is observed by ``tracemalloc``; there is no autograd."""

    name = "numpy"
    device = "cpu"
    strides = True
    memory = True
    autograd = False
    reverses = True
    lacks: tuple[str, ...] = ("bfloat16",)

    def __init__(self, device: str | None = None) -> None:
        if device not in (None, "cpu"):
            raise UnavailableError(f"NumPy arrays live on 'cpu'; got device {device!r}")

    def from_numpy(self, x: NDArray[Any], dtype: str, layout: Layout | None = None) -> NDArray[Any]:
        """See :class:`Arrays`. NumPy has no bfloat16."""
        if dtype == "bfloat16":
            raise NotSupportedError("NumPy has no dtype 'bfloat16'")
        values = np.asarray(x, dtype=dtype)
        if layout is None:
            return np.array(values, order="C")
        strides, extent = layout.strides(values.shape)
        storage = zeros(max(extent, 1), dtype)
        view = as_strided(
            storage[layout.first(values.shape) :], values.shape, tuple(s * storage.itemsize for s in strides)
        )
        view[...] = values
        return view

    def to_numpy(self, x: Any) -> NDArray[Any]:
        """See :class:`Arrays`."""
        if not isinstance(x, np.ndarray | np.generic):
            raise DTypeError(f"`x` must be a NumPy array; got {type(x).__module__}.{type(x).__name__}")
        return np.array(x)

    def synchronize(self) -> None:
        """Nothing is asynchronous in NumPy."""

    def vjp(
        self, fn: Callable[..., Mapping[str, Any]], primals: Mapping[str, Any], cotangents: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """NumPy has no differentiation: an Op needs its own ``vjp``."""
        raise NotSupportedError("NumPy has no autograd; give the Op a `vjp`")

    def peak_memory(self, call: Callable[[], Any]) -> tuple[Any, MemoryUse]:
        """See :class:`Arrays`; counts what NumPy reports to ``tracemalloc``."""
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            result = call()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return result, MemoryUse(peak=peak - before, held=after - before)
