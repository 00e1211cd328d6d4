"""A benchmark: every problem by every rival in turns, memory beside time, floors beside both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ssm_backends import NotSupportedError
from ssm_backends.raised import in_words
from ssm_conformance.bench.ceilings import Ceilings
from ssm_conformance.bench.clock import CallError, Calls, Times, on_cpu, on_gpu
from ssm_conformance.bench.problem import Problem
from ssm_conformance.bench.rivals import Rival

LARGEST_CACHE: Final = 128 * 2**20
"""Bytes: inputs take turns until this much lies between two uses of one set."""


@dataclass(frozen=True)
class Row:
    """One problem done by one rival.

    Attributes
    ----------
    problem, rival
        What, and by whom.
    times
        In seconds; None if it was not done.
    peak
        Bytes of memory above the inputs, results included; None without an instrument.
    floor
        The least time that the ceilings of this run allow, in seconds.
    why
        Why it was not done; "" if it was.
    """

    problem: Problem
    rival: str
    floor: float
    times: Times | None = None
    peak: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Bench:
    """What takes part, and on what.

    Attributes
    ----------
    rivals, kind, ceilings
        Who takes part, on "cuda" or "cpu", and what that machine can do at most.
    repeats
        How often each problem is done by each.
    """

    rivals: tuple[Rival, ...]
    kind: str
    ceilings: Ceilings
    repeats: int = 9

    def rows(self, problems: Iterable[Problem]) -> Iterator[Row]:
        """Do the problems, in order; the rows of one problem come together."""
        for problem in problems:
            yield from self._one(problem)

    def _one(self, problem: Problem) -> list[Row]:
        floor = self.ceilings.floor(problem.bytes, problem.exponentials)
        contestants: dict[str, Calls] = {}
        failures: dict[str, str] = {}
        peaks: dict[str, int | None] = {}
        for rival in self.rivals:
            try:
                calls = [rival.prepare(problem, seed) for seed in range(self._sets(problem))]
                peaks[rival.name] = self._peak(rival, calls[0])
                contestants[rival.name] = calls
            except NotSupportedError as error:
                failures[rival.name] = str(error)
            except (Exception, SystemExit) as error:  # a rival that fails is a row, not the end of the run
                failures[rival.name] = in_words(error).splitlines()[0]
        times: dict[str, Times] = {}
        while contestants and not times:
            try:
                times = self._clock(contestants, self.repeats)
            except CallError as error:  # one that raises only now: the others begin anew without it
                failures[error.name] = error.why
                del contestants[error.name]
        return [
            Row(
                problem,
                rival.name,
                floor,
                times.get(rival.name),
                peaks.get(rival.name),
                failures.get(rival.name, ""),
            )
            for rival in self.rivals
        ]

    @property
    def _clock(self) -> Callable[[Mapping[str, Calls], int], dict[str, Times]]:
        return on_gpu if self.kind == "cuda" else on_cpu

    def _sets(self, problem: Problem) -> int:
        """Sets of inputs: several where one would stay in a GPU's cache."""
        return min(4, -(-LARGEST_CACHE // problem.bytes)) if self.kind == "cuda" else 1

    @staticmethod
    def _peak(rival: Rival, call: Callable[[], Any]) -> int | None:
        if not rival.arrays.memory:
            return None
        call()  # what is made once is not counted
        return rival.arrays.peak_memory(call)[1].peak
