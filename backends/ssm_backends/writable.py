"""What is written in place: a place in memory for each of its elements, and none that is yet to be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssm_backends.errors import ArgumentError
from ssm_backends.imported import imported_torch


def check_writable(name: str, array: Any) -> None:
    """Refuse an array that cannot be written element by element.

    Parameters
    ----------
    name
        The argument's.
    array
        Of NumPy or PyTorch.

    Raises
    ------
    ArgumentError
        If it is read-only, or made under ``torch.inference_mode`` and to be written outside of it, or zeros
        that PyTorch keeps no memory for, or its strides make several of its elements one place in memory.
    """
    numpys = isinstance(array, np.ndarray)
    if numpys and not array.flags.writeable:
        raise ArgumentError(f"`{name}` must be writable, to be written in place; got a read-only array")
    if not numpys:
        if array.is_inference() and not imported_torch().is_inference_mode_enabled():
            raise ArgumentError(
                f"`{name}` must be writable, to be written in place; got a tensor made under "
                "torch.inference_mode, which is written only there"
            )
        if array._is_zerotensor():
            raise ArgumentError(f"`{name}` must be writable, to be written; got zeros without memory")
        if array.is_contiguous():
            return
    strides = tuple(array.strides if numpys else array.stride())
    width = array.itemsize if numpys else 1  # NumPy's strides are bytes
    if 0 not in array.shape and _overlap(tuple(array.shape), strides, width):
        raise ArgumentError(
            f"`{name}` must have a place in memory for each element, to be written in place; "
            f"got strides {strides}"
        )


def read_first(written: Any, inputs: Sequence[Any]) -> list[Any]:
    """Inputs as they are before anything is written: those that may share memory with it are copied.

    Parameters
    ----------
    written
        An array that is about to be written, of NumPy or PyTorch.
    inputs
        Arrays of the same library, or None. Each is copied if the span from its first byte to its last
        meets that of `written`, though none of its elements need lie there.
    """
    if isinstance(written, np.ndarray):
        return [x.copy() if x is not None and np.may_share_memory(written, x) else x for x in inputs]
    low = written.data_ptr()
    high = _end(written, low)
    apart = []
    for x in inputs:  # a step of one row has little time: what begins after it is not looked at twice
        meets_it = x is not None and (first := x.data_ptr()) < high and (first >= low or _end(x, first) > low)
        apart.append(x.detach().clone() if meets_it else x)
    return apart


def _end(x: Any, first: int) -> int:
    """The address past a tensor's last byte. A tensor has no negative stride."""
    if x.is_contiguous():  # `nbytes` would break a graph that leaves the shape open
        return first + int(x.element_size() * x.numel())
    reach = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return first + int(x.element_size() * (reach + 1))


def _overlap(shape: tuple[int, ...], strides: tuple[int, ...], width: int) -> bool:
    """Whether two elements, each `width` wide, share memory."""
    steps = sorted((abs(stride), size) for stride, size in zip(strides, shape, strict=True) if size > 1)
    reach = 0
    for stride, size in steps:
        if stride < reach + width:
            break
        reach += stride * (size - 1)
    else:  # each dimension steps over all that the finer ones reach
        return False
    if steps[0][0] < width:
        return True
    offsets = np.zeros((), dtype=np.int64)
    for stride, size in steps:
        offsets = offsets[..., None] + stride * np.arange(size)
    return bool((np.diff(np.sort(offsets, axis=None)) < width).any())
