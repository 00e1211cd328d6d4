"""Several seats side by side: cases go in, verdicts come out as they are found."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final

from ssm_conformance.case import Case
from ssm_conformance.engine.seat import Seat
from ssm_conformance.engine.target import LoadError
from ssm_conformance.verdict import Verdict

POLL: Final = 0.05
"""Seconds between two looks of an idle seat at whether a case has come back."""


class NoWorkerError(RuntimeError):
    """No worker can be had any more; the message is the last reason."""


def judge_all(
    cases: Sequence[Case], seats: Sequence[Seat], *, started: Callable[[Case], None] = lambda case: None
) -> Iterator[Verdict]:
    """Judge cases on all seats at once.

    Parameters
    ----------
    cases
        In the order in which they are begun.
    seats
        One thread each. They are stopped when the iteration ends, however it ends.
    started
        Told of each case that is begun, from the thread that begins it.

    Yields
    ------
    Verdict
        As they are found.

    Raises
    ------
    NoWorkerError
        When cases are left that no seat could start a worker for any more.
    """
    waiting, busy = deque(cases), set[int]()
    found: queue.Queue[Verdict | BaseException | None] = queue.Queue()
    stopping = threading.Event()

    def serve(number: int, seat: Seat) -> None:
        try:
            while not stopping.is_set():
                busy.add(number)
                try:
                    case = waiting.popleft()
                except IndexError:
                    busy.discard(number)
                    if not busy:
                        return
                    stopping.wait(POLL)  # another seat may find no worker, and leave its case to this one
                    continue
                started(case)
                found.put(seat.judge(case))
        except LoadError as error:
            waiting.appendleft(case)  # another seat may still have a worker
            found.put(NoWorkerError(str(error)))
        except BaseException as error:  # a fault of the suite: raised where the verdicts are read
            found.put(error)
        finally:
            busy.discard(number)
            found.put(None)

    threads = [threading.Thread(target=serve, args=item, daemon=True) for item in enumerate(seats)]
    try:
        for thread in threads:
            thread.start()
        reason = yield from _until_all_left(found, len(threads))
        if waiting and reason is not None:
            raise reason
    finally:
        stopping.set()
        for seat in seats:
            seat.stop()
        for thread in threads:
            thread.join(timeout=5.0)


def _until_all_left(
    found: queue.Queue[Verdict | BaseException | None], serving: int
) -> Generator[Verdict, None, NoWorkerError | None]:
    """Verdicts until every thread has left; returns the last reason, if one left for want of a worker."""
    reason: NoWorkerError | None = None
    while serving:
        try:
            item = found.get(timeout=0.5)  # a wait without an end could not be interrupted everywhere
        except queue.Empty:
            continue
        if item is None:
            serving -= 1
        elif isinstance(item, NoWorkerError):
            reason = item
        elif isinstance(item, BaseException):
            raise item
        else:
            yield item
    return reason
