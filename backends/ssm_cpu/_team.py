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


def by_pytorch(kernel: Any, table: int, threads: int) -> bool:
    """Call ``kernel(table)`` in all of PyTorch's threads at once, of which `threads` are to work.

    All, since OpenMP ends those that it is not asked for, and PyTorch's next operation would make them anew.

    Returns
    -------
    False, and nothing is done, for one thread, where PyTorch has not been imported or has fewer, where it
    does not run on OpenMP, and in a child that was forked since this was imported: it has the parent's record
    of such threads but not the threads.
    """
    torch = imported_torch()
    most = 0 if torch is None or _forked else torch.get_num_threads()
    team = _entry() if 1 < threads <= most else None
    if team is None:
        return False
    team(kernel, table, most, 0)
    return True


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
