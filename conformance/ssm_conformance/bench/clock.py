"""Seconds of calls, in turns, so that a machine whose speed drifts treats all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ssm_backends.raised import in_words

Calls = Sequence[Callable[[], Any]]
"""The same work on several sets of inputs, so that a cache does not hold them all."""

FEWEST: Final = 3
ENOUGH_SECONDS: Final = 20.0
"""A contestant whose repeats would take longer gets fewer of them."""


class CallError(RuntimeError):
    """A contestant's call raised.

    Parameters
    ----------
    name
        The contestant.
    error
        What it raised.
    """

    def __init__(self, name: str, error: BaseException) -> None:
        self.name, self.why = name, in_words(error).splitlines()[0]
        super().__init__(f"{name}: {self.why}")


@dataclass(frozen=True)
class Times:
    """What was measured, in seconds.

    Attributes
    ----------
    all
        One a repeat, in order.
    """

    all: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.all)

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest."""
        return min(self.all), max(self.all)


def repeats_for(seconds: float, wanted: int) -> int:
    """How many repeats a call of this length gets."""
    return max(FEWEST, min(wanted, math.floor(ENOUGH_SECONDS / max(seconds, 1e-9))))


def on_cpu(contestants: Mapping[str, Calls], repeats: int) -> dict[str, Times]:
    """Time by the clock: a first call each, uncounted, then all in turns; CallError if one raises."""
    counts: dict[str, int] = {}
    for name, calls in contestants.items():
        with _of(name):
            counts[name] = repeats_for(_once(calls[0]), repeats)
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for k in range(repeats):
        for name, calls in contestants.items():
            if k < counts[name]:
                with _of(name):
                    found[name].append(_once(calls[k % len(calls)]))
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


@contextmanager
def _of(name: str) -> Iterator[None]:
    """What is done here is a contestant's: what it raises, too. A backend must not end its host either."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise CallError(name, error) from error


def _once(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def on_gpu(contestants: Mapping[str, Calls], repeats: int) -> dict[str, Times]:
    """Time by the device's events; the host runs ahead of the device, so that launches cost nothing.

    A call that waits for the device (a copy to the host) is timed with its wait. CallError if one raises.
    """
    import torch

    counts, ahead = {}, {}
    for name, calls in contestants.items():
        with _of(name):
            for call in calls:
                call()
            torch.cuda.synchronize()
            ahead[name] = _cycles_ahead(calls[0])
            counts[name] = repeats_for(_between_events(calls[0], ahead[name]), repeats)
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for k in range(repeats):
        for name, calls in contestants.items():
            if k < counts[name]:
                with _of(name):
                    found[name].append(_between_events(calls[k % len(calls)], ahead[name]))
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


CYCLES_PER_SECOND: Final = 2e9
"""Of a GPU, rather too many than too few."""
LONGEST_AHEAD: Final = 0.2
"""Seconds that the device sleeps at most while the host issues a call."""


def _cycles_ahead(call: Callable[[], Any]) -> int:
    """What the device has to sleep so that the host has issued the call before it is over."""
    import torch

    torch.cuda.synchronize()
    issuing = _once(call)
    torch.cuda.synchronize()
    return int(min(2 * issuing + 1e-3, LONGEST_AHEAD) * CYCLES_PER_SECOND)


def _between_events(call: Callable[[], Any], ahead: int) -> float:
    import torch

    cuda: Any = torch.cuda  # its events and its sleep have no types
    start, end = (cuda.Event(enable_timing=True) for _ in range(2))
    cuda._sleep(ahead)
    start.record()
    call()
    end.record()
    cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3
