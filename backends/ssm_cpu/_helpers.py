"""Helpers of our own: threads that a caller asks for help, and that never work on after its call has ended.

An interrupt (Ctrl-C, an alarm whose handler raises) may end the caller between any two of its operations. A
helper that worked on would then write to memory that is freed, and a lock of Python code, as those of
``concurrent.futures`` are, might stay locked for ever. So each operation here is a single one of the
interpreter's, or may be done again.
"""

from __future__ import annotations

import os
from _thread import start_new_thread  # one operation, where threading.Thread waits for an event
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock
from typing import Final

_CALLER: Final = "caller"
_HELPER: Final = "helper"


class _Part:
    """A call of a kernel that a helper may take, until the caller takes it back."""

    def __init__(self, kernel: Callable[[int], None], table: int) -> None:
        self._kernel = kernel
        self._table = table
        self._taken: dict[str, str] = {}
        self._is_done = False
        self._done = Lock()
        self._done.acquire()

    def work(self) -> None:
        """Call the kernel, in a helper, if the caller has not taken it back."""
        if self._taken.setdefault("by", _HELPER) == _HELPER:
            try:
                self._kernel(self._table)
            finally:
                self._is_done = True
                self._done.release()

    def take_back(self) -> None:
        """Nobody works on it any more, nor will; asked again, it is as before."""
        if self._taken.setdefault("by", _CALLER) == _HELPER:
            while not self._is_done:
                self._done.acquire()


_parts: SimpleQueue[_Part] = SimpleQueue()
_helpers = 0


def with_helpers(kernel: Callable[[int], None], table: int, threads: int) -> None:
    """Call ``kernel(table)`` here, and in helpers that are free.

    Parameters
    ----------
    kernel, table
        What is to be called.
    threads
        How many at most, of which this is one.
    """
    _start(threads - 1)
    parts = [_Part(kernel, table) for _ in range(min(threads - 1, _helpers))]
    try:
        try:
            for part in parts:
                _parts.put(part)
            kernel(table)
        finally:
            _take_back(parts)
    except BaseException:  # an interrupt may have come while they were taken back
        _take_back(parts)
        raise


def _take_back(parts: Sequence[_Part]) -> None:
    """All of them, whatever comes meanwhile: one who is impatient interrupts the wait again."""
    try:
        for part in parts:
            part.take_back()
    except BaseException:
        _take_back(parts)
        raise


def _start(count: int) -> None:
    """Have so many helpers, if as many can be."""
    global _helpers
    while _helpers < count:
        try:
            start_new_thread(_help, (_parts,))
        except RuntimeError:  # no new thread can be started: the interpreter shuts down
            return
        _helpers += 1


def _help(parts: SimpleQueue[_Part]) -> None:
    while True:
        parts.get().work()


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _parts, _helpers
    _parts, _helpers = SimpleQueue(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
