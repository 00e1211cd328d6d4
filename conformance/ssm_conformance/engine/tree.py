"""A worker and all that it started, as the system sees them: what they hold, and how they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import psutil

MARK: Final = "SSM_SPEC_WORKER"
"""In the environment of a worker and of all that it starts: a name of its own, inherited."""
ROUNDS: Final = 20
"""How often a tree that grows while it is cut is cut again."""


def held_by(pid: int, limit: int) -> tuple[int, int]:
    """Resident bytes and threads of a process and of all that it started.

    Parameters
    ----------
    pid
        The process.
    limit
        Above so many bytes, pages that forked processes share are no longer counted for each.
    """
    memory = threads = 0
    members = list(_family(pid))
    for member in members:
        with suppress(psutil.Error):  # it may end while we look
            memory += member.memory_info().rss
            threads += member.num_threads()
    if memory > limit and len(members) > 1:
        memory = sum(map(_proportional, members))
    return memory, threads


def _proportional(member: psutil.Process) -> int:
    """Resident bytes, a page shared by k processes counted as one k-th; plain ones where unknown."""
    with suppress(psutil.Error):  # it ended, or hides its pages: nothing to count
        return int(getattr(member.memory_full_info(), "pss", member.memory_info().rss))
    return 0


def end_tree(process: subprocess.Popen[bytes], mark: str) -> None:
    """End a worker with all that it started: what left its group, and what outlived its own parent, too.

    Parameters
    ----------
    process
        The worker.
    mark
        The value of :data:`MARK` in its environment.
    """
    family = list(_family(process.pid))[1:]
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # it ended, or its group has other owners
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for _ in range(ROUNDS):
        for member in family:
            with suppress(psutil.Error):  # it has ended by itself
                member.kill()
        family = list(_marked(mark))
        if not family:
            return


def _family(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):  # it may end while we look
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def _marked(mark: str) -> Iterator[psutil.Process]:
    """The running processes that carry a mark."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it ends just now, or is another user's
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
