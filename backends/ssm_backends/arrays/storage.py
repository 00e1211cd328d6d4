"""Main memory that is taken page by page, as it is touched."""

from __future__ import annotations

import mmap
import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAP_NORESERVE: Final = 0x4000
"""Linux's, on x86 and ARM; Python has a name for it from 3.13 on."""


def zeros(count: int, dtype: str) -> NDArray[Any]:
    """Zeros in a row.

    Linux refuses a mapping that is larger than all its memory, however little of it will be touched, unless
    it is asked not to set any aside.

    Parameters
    ----------
    count
        How many.
    dtype
        NumPy's name of their dtype.

    Raises
    ------
    MemoryError
        If there is no room for them.
    """
    try:
        return np.zeros(count, dtype)
    except MemoryError:
        if sys.platform != "linux":
            raise
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    try:
        pages = mmap.mmap(-1, count * np.dtype(dtype).itemsize, flags=flags)
    except OSError as error:
        raise MemoryError(f"{count} numbers of {dtype}: {error}") from error
    return np.frombuffer(pages, dtype)
