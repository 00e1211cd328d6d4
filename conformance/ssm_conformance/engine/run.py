"""What one run over one backend has found so far, in catalogue order, and what that amounts to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ssm_conformance.case import Case, Level
from ssm_conformance.verdict import STATUSES, Verdict

Outcome = Literal["passed", "failed", "undecided"]
PASSED: Final = 0
FAILED: Final = 1
UNDECIDED: Final = 2
"""Exit statuses: all that was asked passed; something failed unexpectedly; something could not be judged."""


@dataclass(frozen=True)
class Selection:
    """What a run is narrowed to; everything if empty.

    Attributes
    ----------
    ops, dtypes, checks
        Keep only these.
    cases
        Exactly these ids, whatever their level.
    """

    ops: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out: then a pass is not conformance."""
        return bool(self.ops or self.dtypes or self.checks or self.cases)

    def keeps(self, case: Case) -> bool:
        """Whether a case passes the filters on operator, dtype and check."""
        return all(
            not wanted or value in wanted
            for value, wanted in ((case.op, self.ops), (case.dtype, self.dtypes), (case.check, self.checks))
        )

    def to_json(self) -> dict[str, list[str]]:
        """The filters as JSON data."""
        return {
            "op": list(self.ops),
            "dtype": list(self.dtypes),
            "check": list(self.checks),
            "case": list(self.cases),
        }


@dataclass
class Run:
    """One backend, judged as far as the run came.

    Attributes
    ----------
    backend, version, device
        Who was judged, and where.
    level, selection
        What was asked.
    planned
        Ids of all cases of the plan, in catalogue order.
    environment
        Versions and machine.
    levels
        Case id → the smallest level that has it; the run's own where it is not in here.
    withheld
        Operators that the backend has and does not claim here → why.
    at_import
        What importing the backend changed in its process.
    verdicts
        By id, as they came.
    ended
        Why the run stopped before its end; "" if it did not.
    searched
        Seconds of search, calls that it judged and failures that it found; None if none was asked for.
    report_trouble
        Why its report could not be written; "" if it was, or none was asked for.
    started, seconds
        When, in seconds since the epoch, and how long.
    """

    backend: str
    version: str
    device: str
    level: Level
    selection: Selection
    planned: Sequence[str]
    environment: Mapping[str, Any] = field(default_factory=dict)
    levels: Mapping[str, Level] = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)
    at_import: Sequence[str] = ()
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    ended: str = ""
    searched: dict[str, float] | None = None
    report_trouble: str = ""
    started: float = field(default_factory=time.time)
    seconds: float = 0.0

    def add(self, verdict: Verdict) -> None:
        """Take one verdict in."""
        self.verdicts[verdict.id] = verdict
        self.seconds = time.time() - self.started

    def level_of(self, case_id: str) -> Level:
        """The smallest level that has a case."""
        return self.levels.get(case_id, self.level)

    @property
    def ordered(self) -> list[Verdict]:
        """The verdicts in catalogue order."""
        return [self.verdicts[name] for name in self.planned if name in self.verdicts]

    @property
    def not_run(self) -> int:
        """How many cases of the plan have no verdict."""
        return len(self.planned) - len(self.verdicts)

    @property
    def summary(self) -> dict[str, int]:
        """Status → how many."""
        counts = Counter(verdict.status for verdict in self.verdicts.values())
        return {status: counts[status] for status in STATUSES}

    @property
    def judged(self) -> int:
        """How many cases say something about the backend."""
        return sum(verdict.judged for verdict in self.verdicts.values())

    @property
    def unexpected(self) -> list[Verdict]:
        """Failures nobody announced and announced ones that passed, in catalogue order."""
        return [verdict for verdict in self.ordered if verdict.unexpected]

    @property
    def announced(self) -> int:
        """How many cases failed as expected."""
        return self.summary["fail"] - sum(verdict.status == "fail" for verdict in self.unexpected)

    @property
    def outcome(self) -> Outcome:
        """What the run amounts to; a failure outweighs what is undecided."""
        if self.unexpected:
            return "failed"
        if self._open() or not self.judged:
            return "undecided"
        return "passed"

    @property
    def headline(self) -> str:
        """The outcome in one sentence. A narrowed run never says that a backend conforms."""
        what = f"{self.backend} {self.version} on {self.device}, level {self.level}"
        narrowed = self.selection.narrowed
        if self.outcome == "failed":
            word = "selection failed" if narrowed else "does not conform"
            return f"{word}: {self._against()} ({what})"
        if self.outcome == "undecided":
            return f"undecided: {self._undecided()} ({what})"
        word = "selection passed" if narrowed else "conforms"
        if self.announced:
            word += f" but for {self.announced} announced failure{'s' if self.announced > 1 else ''}"
        unverified = self.summary["unavailable"]
        note = f", {unverified} claims unverified for want of an instrument" if unverified else ""
        return f"{word}: {self.judged} cases judged{note} ({what})"

    def _against(self) -> str:
        failed = sum(verdict.status == "fail" for verdict in self.unexpected)
        parts = [f"{failed} of {self.judged} judged cases failed"]
        if failed < len(self.unexpected):
            parts.append(f"{len(self.unexpected) - failed} passed that were expected to fail")
        return ", ".join(parts + self._open())

    def _undecided(self) -> str:
        if self._open():
            return ", ".join(self._open())
        asked = self.selection.ops or self.withheld
        why = [f"{op}: {self.withheld[op]}" for op in asked if op in self.withheld]
        return "; ".join(["no case applies to what the backend claims", *why])

    def _open(self) -> list[str]:
        """What is left undecided, in words."""
        parts = []
        if self.summary["error"]:
            parts.append(f"{self.summary['error']} could not be judged")
        if self.not_run:
            parts.append(f"{self.not_run} of {len(self.planned)} cases not run")
        elif self.ended:
            parts.append("the search came to no end")
        return parts


def exit_status(runs: Sequence[Run], failures: Iterable[BaseException] = ()) -> int:
    """The exit status of a command that judged several backends.

    Parameters
    ----------
    runs
        What was judged.
    failures
        Of what was asked for and could not be judged.
    """
    outcomes = [run.outcome for run in runs]
    if "failed" in outcomes:
        return FAILED
    lost = any(run.report_trouble for run in runs) or any(True for _ in failures)
    return UNDECIDED if lost or not outcomes or "undecided" in outcomes else PASSED
