"""PyTorch's own threads, which wait for its next operation, and so begin at once.

PyTorch shares its work out by OpenMP. After an operation OpenMP's threads stay on their processors for some
milliseconds, where a thread of ours would have to wait for them to leave. So it is they who are asked, by
the entry that every compiled parallel region has.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

from ssm_backends.imported import imported_torch

_forked = False


def team_of(threads: int) -> Any:
    """``team(kernel, table, threads, 0)`` calls ``kernel(table)`` in so many threads at once; or None.

    None for one thread, where PyTorch has not been imported or has fewer, where it does not run on OpenMP,
    and in a forked child, which has the parent's record of such threads but not the threads.
    """
    torch = imported_torch()
    if torch is None or _forked or not 1 < threads <= torch.get_num_threads():
        return None
    return _entry()


@cache
def _entry() -> Any:
    """GOMP_parallel of the OpenMP that PyTorch has loaded: GNU's, or another's that has the same entry."""
    if os.name != "posix":
        return None
    entry = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if entry is not None:
        entry.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        entry.restype = None
    return entry


def _leave() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)
