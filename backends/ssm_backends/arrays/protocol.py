"""What an adapter to an array library offers, and how an array may lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an array lies in memory, where that is not contiguous in the order of its dimensions.

    Attributes
    ----------
    order
        Dimensions from slowest to fastest in memory; the natural order if None.
    step
        Elements of memory from one element to the next along the fastest dimension.
    offset
        Elements of the storage before the first one.
    broadcast
        Dimensions of stride 0. The values along them must be equal.
    pad
        Elements added to the extent of the fastest dimension, so that rows are not adjacent.
    gap
        Elements between what lies at one index of the slowest dimension and what lies at the next.
    reverse
        Dimensions of negative stride, of arrays that ``reverses``.
    """

    order: tuple[int, ...] | None = None
    step: int = 1
    offset: int = 0
    broadcast: tuple[int, ...] = ()
    pad: int = 0
    gap: int = 0
    reverse: tuple[int, ...] = ()

    def strides(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """Strides in elements for a shape, and the length of the storage that holds it."""
        order = range(len(shape)) if self.order is None else self.order
        strides = [0] * len(shape)
        stride, extent = self.step, self.offset + 1
        kept = [dim for dim in order if dim not in self.broadcast]
        for position, dim in enumerate(reversed(kept)):
            stride += self.gap if position == len(kept) - 1 else 0
            strides[dim] = stride
            extent += stride * max(shape[dim] - 1, 0)
            stride *= max(shape[dim], 1)
            if position == 0:
                stride += self.pad
        signs = [-1 if dim in self.reverse else 1 for dim in range(len(shape))]
        return tuple(sign * stride for sign, stride in zip(signs, strides, strict=True)), extent

    def first(self, shape: tuple[int, ...]) -> int:
        """Elements of the storage before the array's first one, for a shape."""
        strides, _ = self.strides(shape)
        back = zip(shape, strides, strict=True)
        return self.offset + sum((1 - size) * stride for size, stride in back if stride < 0 < size)


@dataclass(frozen=True)
class MemoryUse:
    """What one call took from the allocator, in bytes.

    Attributes
    ----------
    peak
        The most that was held at once beyond what was held before the call.
    held
        What is still held after it: its result, and what that keeps alive.
    """

    peak: int
    held: int


@runtime_checkable
class Arrays(Protocol):
    """An adapter to one array library on one device.

    Attributes
    ----------
    name
        Of the library: "numpy", "torch", …
    device
        Where its arrays live, as the library names it: "cpu", "cuda:0", …
    strides
        Whether ``from_numpy`` honours a layout.
    memory
        Whether ``peak_memory`` is an instrument: if not, memory claims stay unverified.
    autograd
        Whether ``vjp`` is offered.

    An adapter may also have ``lacks``, the names of dtypes that its library has not, and ``reverses``,
    whether its arrays may have negative strides: cases that need what it has not are put to the backend's
    other libraries alone.
    """

    name: str
    device: str
    strides: bool
    memory: bool
    autograd: bool

    def from_numpy(self, x: NDArray[Any], dtype: str, layout: Layout | None = None) -> Any:
        """An array of the library with the values of ``x``.

        Parameters
        ----------
        x
            Of NumPy's dtype of that name; uint16, the bits, for "bfloat16".
        dtype
            The dtype of the result.
        layout
            How it lies in memory; contiguous if None.
        """

    def to_numpy(self, x: Any) -> NDArray[Any]:
        """The values of an array, as a NumPy array of its dtype; bits in uint16 for bfloat16.

        Raises
        ------
        DTypeError
            If it is not an array of the library.
        """

    def synchronize(self) -> None:
        """Wait until everything that was started on the device is done; raises what failed there."""

    def vjp(
        self,
        fn: Callable[..., Mapping[str, Any]],
        primals: Mapping[str, Any],
        cotangents: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Gradients of Σ Re(conj(cotangent) · output) by the library's own differentiation.

        Parameters
        ----------
        fn
            Called with ``primals`` as keywords; returns output name → array.
        primals
            What to differentiate in.
        cotangents
            Output name → array, or None for zero. For complex ones the gradient is
            ∂L/∂Re x + i ∂L/∂Im x.
        """

    def peak_memory(self, call: Callable[[], Any]) -> tuple[Any, MemoryUse]:
        """Run a call; its result, and what it took from the allocator."""
