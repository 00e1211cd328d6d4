"""What is written in place: that each of its elements has a place in memory of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssm_backends.errors import ArgumentError


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
        If it is read-only, or its strides make several of its elements one place in memory.
    """
    numpys = isinstance(array, np.ndarray)
    if numpys and not array.flags.writeable:
        raise ArgumentError(f"`{name}` must be writable, to be written in place; got a read-only array")
    if not numpys and array.is_contiguous():
        return
    strides = tuple(array.strides if numpys else array.stride())
    width = array.itemsize if numpys else 1  # NumPy's strides are bytes
    if 0 not in array.shape and _overlap(tuple(array.shape), strides, width):
        raise ArgumentError(
            f"`{name}` must have a place in memory for each element, to be written in place; "
            f"got strides {strides}"
        )


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
