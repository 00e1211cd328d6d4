"""Fresh memory that holds NaN: what a kernel reads without having written it shows in its results."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Final

import numpy as np

M_PERTURB: Final = -6
"""glibc's option to fill the memory that malloc hands out."""
ALL_ONES: Final = 0x100
"""glibc fills with the complement of the low byte, here 0xFF: a NaN in every floating format."""
SMALL: Final = 1024
"""Blocks up to this size are cached as they were left, by NumPy and by glibc."""


def can_poison(device: str, arrays: Any) -> bool:
    """Whether there is a way to poison fresh memory.

    Parameters
    ----------
    device
        Where the arrays live.
    arrays
        The adapter; one with a method ``poisoned`` has its own way.
    """
    return hasattr(arrays, "poisoned") or (device == "cpu" and _mallopt() is not None)


@contextmanager
def poisoned(device: str, own: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Poison what is allocated inside, by every way there is.

    Parameters
    ----------
    device
        Where the arrays live.
    own
        The library's own way.
    """
    mallopt = _mallopt() if device == "cpu" else None
    with own():
        if mallopt is None:
            yield
            return
        mallopt(M_PERTURB, ALL_ONES)
        try:
            _leave_ones_in_small_blocks()
            yield
        finally:
            mallopt(M_PERTURB, 0)


@cache
def _mallopt() -> Callable[[int, int], int] | None:
    """The C library's ``mallopt``, if it is glibc's."""
    if platform.libc_ver()[0] != "glibc":
        return None
    found: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
    return found


def _leave_ones_in_small_blocks() -> None:
    """Allocate blocks of every small size, fill them, let them go: they are handed out again as they are."""
    for size in range(8, SMALL + 1, 8):
        blocks = [np.full(size, 0xFF, dtype=np.uint8) for _ in range(8)]
        del blocks
