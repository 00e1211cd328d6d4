"""Attributes that are computed when they are first asked for."""

from __future__ import annotations

import threading

from ssm_backends.lazy import lazy


class Slow:
    """One whose attribute takes until it is told that it may go on."""

    def __init__(self) -> None:
        self.asked, self.go_on, self.times = threading.Event(), threading.Event(), 0

    @lazy
    def answer(self) -> int:
        """What is asked for."""
        self.asked.set()
        self.go_on.wait(10)
        self.times += 1
        return 42


def test_it_is_computed_once() -> None:
    one = Slow()
    one.go_on.set()
    assert (one.answer, one.answer, one.times) == (42, 42, 1)
    assert Slow.answer.__doc__ == "What is asked for."


def test_nobody_waits_for_another_s() -> None:
    busy, free = Slow(), Slow()
    free.go_on.set()
    thread = threading.Thread(target=lambda: busy.answer)
    thread.start()
    assert busy.asked.wait(10)
    other = threading.Thread(target=lambda: free.answer)
    other.start()
    other.join(5)
    assert free.times == 1
    busy.go_on.set()
    thread.join(10)
    assert busy.times == 1
