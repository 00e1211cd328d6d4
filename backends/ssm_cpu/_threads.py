"""Threads that help a caller through the tasks of one kernel call.

A kernel takes tasks from a shared counter until there are none, so a caller alone can finish any
call: helpers of our own only make it faster. Hence with them several callers at once, a process forked after
use, or an interpreter that shuts down cannot dead-lock. PyTorch's threads (`_team`) are waited for, as after
each of its operations. Which thread did a task never shows in its result.
"""

from __future__ import annotations

import os
from numbers import Integral

from ssm_backends import ArgumentError
from ssm_backends.imported import imported_torch
from ssm_cpu._helpers import with_helpers
from ssm_cpu._jit import Kernel
from ssm_cpu._team import by_pytorch

_chosen: int | None = None


def set_num_threads(count: int | None) -> None:
    """Use at most so many threads in a call; None for the default again.

    Parameters
    ----------
    count
        At least 1.

    Raises
    ------
    ArgumentError
        If it is no such number.
    """
    global _chosen
    if count is not None and (isinstance(count, bool) or not isinstance(count, Integral) or count < 1):
        raise ArgumentError(f"`count` must be an integer of at least 1, or None; got {count!r}")
    _chosen = None if count is None else int(count)


def get_num_threads() -> int:
    """How many threads a call may use.

    What :func:`set_num_threads` said; else PyTorch's own number, where PyTorch has been imported (so
    that ``torch.set_num_threads`` holds here too, and a DataLoader's workers use one); else the
    number of processors that this process may run on.
    """
    if _chosen is not None:
        return _chosen
    torch = imported_torch()
    if torch is not None:
        return int(torch.get_num_threads())
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def share(kernel: Kernel, table: int, threads: int, *, at_once: bool) -> None:
    """Call ``kernel(table)`` in this thread and in others.

    Parameters
    ----------
    kernel, table
        What is to be called.
    threads
        How many, of which this is one.
    at_once
        Whether to take PyTorch's threads where there are so many, all of which are then waited for: they
        begin at once while they wait for PyTorch's next operation, and as late as others on a busy machine.
        Our own help where they are free.
    """
    if not (at_once and by_pytorch(kernel, table, threads)):
        with_helpers(kernel, table, threads)
