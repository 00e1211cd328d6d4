"""The adapter to PyTorch, which it imports only when one is made."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_backends.arrays.protocol import Layout, MemoryUse
from ssm_backends.arrays.storage import zeros
from ssm_backends.errors import DeviceError, DTypeError, UnavailableError


class TorchArrays:
    """PyTorch tensors on one device.

    Memory is observed by the profiler's allocation events on a CPU (a dispatch mode
    would miss temporaries) and by the allocator's peak on a GPU.

    Parameters
    ----------
    device
        As PyTorch names it; "cpu" if None.

    Raises
    ------
    UnavailableError
        If PyTorch is not installed, or has no such device here.
    """

    name = "torch"
    strides = True
    memory = True
    autograd = True

    def __init__(self, device: str | None = None) -> None:
        try:
            import torch
        except ModuleNotFoundError as error:
            raise UnavailableError("PyTorch is not installed; run: pip install torch") from error
        try:
            self._device = torch.device("cpu" if device is None else device)
            torch.empty(0, device=self._device)
        except (RuntimeError, AssertionError) as error:  # torch raises AssertionError without CUDA
            raise UnavailableError(f"PyTorch has no device {device!r} here: {error}") from error
        if self._device.type == "cuda" and self._device.index is None:
            self._device = torch.device("cuda", torch.cuda.current_device())
        self.device = str(self._device)

    def from_numpy(self, x: NDArray[Any], dtype: str, layout: Layout | None = None) -> Any:
        """See :class:`Arrays`."""
        import torch

        source = np.ascontiguousarray(x).reshape(np.shape(x))
        if dtype == "bfloat16":
            values = torch.from_numpy(source.view(np.int16).copy()).view(torch.bfloat16)
        else:
            values = torch.from_numpy(source.astype(dtype, copy=True))
        values = values.to(self._device)
        if layout is None:
            return values
        strides, extent = layout.strides(tuple(values.shape))
        storage = self._zeros(max(extent, 1), values.dtype)
        view = storage.as_strided(values.shape, strides, layout.offset)
        if layout.broadcast:
            seed = values[tuple(slice(0, 1) if d in layout.broadcast else slice(None) for d in range(x.ndim))]
            storage.as_strided(seed.shape, strides, layout.offset).copy_(seed)
        else:
            view.copy_(values)
        return view

    def _zeros(self, count: int, dtype: Any) -> Any:
        """Zeros; on a CPU NumPy's, which take no memory before they are touched."""
        import torch

        if self._device.type != "cpu":
            return _allocated(lambda: torch.zeros(count, dtype=dtype, device=self._device))
        size = torch.empty(0, dtype=dtype).element_size()
        return torch.from_numpy(zeros(count * size, "uint8")).view(dtype)

    @contextmanager
    def poisoned(self) -> Iterator[None]:
        """Fill what PyTorch hands out uninitialised with NaN; kernels may take other, deterministic ways."""
        import torch

        fill: Any = torch.utils.deterministic
        before = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            fill.fill_uninitialized_memory,
        )
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            fill.fill_uninitialized_memory = True
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of kernels that have no deterministic form
                yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            fill.fill_uninitialized_memory = before[2]

    def to_numpy(self, x: Any) -> NDArray[Any]:
        """See :class:`Arrays`."""
        import torch

        if not isinstance(x, torch.Tensor):
            raise DTypeError(f"`x` must be a PyTorch tensor; got {type(x).__module__}.{type(x).__name__}")
        if x.layout is not torch.strided or x.is_nested:
            kind = "a nested tensor" if x.is_nested else f"layout {x.layout}"
            raise DTypeError(f"`x` must be a plain dense tensor; got {kind}")
        if x.device.type != self._device.type:
            raise DeviceError(f"`x` must live on '{self._device.type}'; got device '{x.device}'")
        host = x.detach().resolve_conj().resolve_neg().cpu()
        if host.dtype == torch.bfloat16:
            return np.array(host.contiguous().view(torch.int16).numpy()).view(np.uint16)
        return np.array(host.numpy())

    def release(self) -> None:
        """Give memory of the device back that PyTorch keeps for later calls of this process."""
        import torch

        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def synchronize(self) -> None:
        """See :class:`Arrays`."""
        import torch

        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def vjp(
        self, fn: Callable[..., Mapping[str, Any]], primals: Mapping[str, Any], cotangents: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """See :class:`Arrays`; an input that the outputs do not depend on has the gradient zero."""
        import torch

        leaves = {name: x.detach().requires_grad_() for name, x in primals.items()}
        outputs = fn(**leaves)
        paired = [
            (output, cotangents[name])
            for name, output in outputs.items()
            if cotangents.get(name) is not None and output.requires_grad
        ]
        if not paired:
            return {name: torch.zeros_like(x) for name, x in leaves.items()}
        gradients = torch.autograd.grad(
            [output for output, _ in paired],
            list(leaves.values()),
            [cotangent for _, cotangent in paired],
            allow_unused=True,
            materialize_grads=True,
        )
        # The zero that PyTorch 2.8 makes for an input of no consequence asks for a gradient itself.
        return {name: gradient.detach() for name, gradient in zip(leaves, gradients, strict=True)}

    def peak_memory(self, call: Callable[[], Any]) -> tuple[Any, MemoryUse]:
        """See :class:`Arrays`."""
        return self._peak_on_gpu(call) if self._device.type == "cuda" else _peak_on_cpu(call)

    def _peak_on_gpu(self, call: Callable[[], Any]) -> tuple[Any, MemoryUse]:
        import torch

        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        result = call()
        torch.cuda.synchronize(self._device)
        peak = torch.cuda.max_memory_allocated(self._device) - before
        return result, MemoryUse(peak=peak, held=torch.cuda.memory_allocated(self._device) - before)


def _allocated(make: Callable[[], Any]) -> Any:
    """What ``make`` allocates; MemoryError, as NumPy has it, where the device has no room."""
    import torch

    try:
        return make()
    except torch.OutOfMemoryError as error:
        said, _, _ = str(error).partition(" Process ")  # a line for every process on the GPU follows
        raise MemoryError(said) from error


def _peak_on_cpu(call: Callable[[], Any]) -> tuple[Any, MemoryUse]:
    """Replay the profiler's allocation events in time order and keep the highest sum."""
    from torch.autograd.profiler import profile

    profiler: Any = profile(profile_memory=True)
    with _chatter_dropped():
        profiler.__enter__()
    try:
        result = call()
    finally:
        with _chatter_dropped():
            profiler.__exit__(None, None, None)
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return result, MemoryUse(peak=peak, held=held)


@contextmanager
def _chatter_dropped() -> Iterator[None]:
    """Without standard error: PyTorch's profiler writes a line there at its start and its end."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
