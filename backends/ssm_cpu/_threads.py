"""Threads that help a caller through the tasks of one kernel call.

A kernel takes tasks from a shared counter until there are none, so a caller alone can finish any
call: helpers of our own only make it faster. Hence with them several callers at once, a process forked after
use, or an interpreter that shuts down cannot dead-lock. PyTorch's threads (`_team`) are waited for, as after
each of its operations. Which thread did a task never shows in its result.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ssm_backends import ArgumentError
from ssm_backends.imported import imported_torch
from ssm_cpu._jit import Kernel
from ssm_cpu._team import by_pytorch

_chosen: int | None = None
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


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
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ArgumentError(f"`count` must be an integer of at least 1, or None; got {count!r}")
    _chosen = count


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
        _share(kernel, table, threads)


def _share(kernel: Kernel, table: int, threads: int) -> None:
    helpers = [helper for _ in range(1, threads) if (helper := _submit(kernel, table, threads)) is not None]
    try:
        kernel(table)
    finally:
        for helper in helpers:
            if not helper.cancel():  # one that has not begun is not needed any more
                helper.result()


def _submit(kernel: Kernel, table: int, threads: int) -> Future[Any] | None:
    global _pool, _pool_size
    if _pool is None or _pool_size < threads - 1:
        _pool_size = max(threads - 1, 1)
        _pool = ThreadPoolExecutor(_pool_size, thread_name_prefix="ssm_cpu")
    try:
        return _pool.submit(kernel, table)
    except RuntimeError:  # no new thread can be started: the interpreter shuts down
        return None


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _pool, _pool_size
    _pool, _pool_size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
