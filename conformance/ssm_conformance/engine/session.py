"""One loaded backend: from its claims to a plan, from the plan to verdicts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ssm_backends import ArgumentError
from ssm_conformance.case import Case, Level
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.engine.expected import Expectation
from ssm_conformance.engine.limits import Limits, cores
from ssm_conformance.engine.pool import judge_all
from ssm_conformance.engine.run import Selection
from ssm_conformance.engine.seat import LocalSeat, Seat, WorkerSeat
from ssm_conformance.engine.target import Target
from ssm_conformance.nearest import did_you_mean
from ssm_conformance.planning import Planned, plan, plan_cases
from ssm_conformance.verdict import Verdict


class SelectionError(ValueError):
    """A filter names what does not exist."""


@dataclass(frozen=True)
class Session:
    """A backend that is loaded, in a worker or in this process.

    Attributes
    ----------
    target, limits
        What was loaded, and what its workers are allowed.
    first
        The seat that loaded it; it goes on to judge.
    workers
        How many seats may be opened.
    """

    target: Target
    limits: Limits
    first: Seat
    workers: int

    @property
    def claims(self) -> Mapping[str, Any]:
        """``ssm_backends.claims_as_data`` of the backend."""
        return self.first.claims

    @property
    def name(self) -> str:
        """The backend's name."""
        return str(self.claims["name"])

    @property
    def device(self) -> str:
        """Where its arrays live."""
        return ", ".join(self.first.devices)

    @property
    def at_import(self) -> list[str]:
        """What importing it changed in its process."""
        return self.first.at_import

    def plan(self, level: Level, selection: Selection) -> list[Planned]:
        """The cases that it is asked, in catalogue order.

        Raises
        ------
        SelectionError
            If a selected id does not exist, or there is no case of that level and choice.
        """
        check_selection(level, selection)
        if selection.cases:
            chosen = dict.fromkeys(selection.cases)
            listed = [case for case in catalogue("full") if case.id in chosen]
            others = [find_case(name) for name in chosen if name not in {case.id for case in listed}]
            return [
                item for item in plan_cases(self.claims, [*listed, *others]) if selection.keeps(item.case)
            ]
        return plan(
            self.claims,
            level=level,
            ops=selection.ops,
            dtypes=selection.dtypes,
            checks=selection.checks,
        )

    def rerun(self, case_id: str) -> str:
        """The command that runs one case alone."""
        who = ["--plugin", self.target.plugin.module] if self.target.named_by_module else [self.name]
        device = ["--device", self.target.device] if self.target.device else []
        return shlex.join(["ssm-spec", "conform", *who, *device, "--case", case_id])

    def judge(
        self,
        planned: Sequence[Planned],
        expected: Mapping[str, Expectation] | None = None,
        *,
        started: Callable[[Case], None] = lambda case: None,
    ) -> Iterator[Verdict]:
        """Verdicts as they are found: first what is not asked, then case by case. Ends the session.

        Cases that find no memory beside the other workers come last, with the machine to themselves.

        Parameters
        ----------
        planned
            From :meth:`plan`.
        expected
            Case id → an announced failure.
        started
            Told of each case that is begun, from another thread.
        """
        expected = expected or {}
        for item in planned:
            if item.status is not None:
                yield self.dress(not_asked(item), expected)
        cases = [item.case for item in planned if item.status is None]
        more = min(self.workers, len(cases)) - 1
        others = [WorkerSeat(self.target, self.limits, self.workers, start=False) for _ in range(more)]
        found = judge_all(cases, [self.first, *others], started=started)
        if isinstance(self.first, LocalSeat):  # a debugger wants the main thread
            found = (self.first.judge(case) for case in cases)
        crowded: set[str] = set()
        for verdict in found:
            if more > 0 and verdict.wants_room:
                crowded.add(verdict.id)
            else:
                yield self.dress(verdict, expected)
        for verdict in self._alone([case for case in cases if case.id in crowded], started):
            yield self.dress(verdict, expected)

    def _alone(self, cases: Sequence[Case], started: Callable[[Case], None]) -> Iterator[Verdict]:
        """The verdicts of one seat, which has what all of them shared."""
        if not cases:
            return
        whole = replace(self.limits, gpu_fraction=self.limits.gpu_fraction * self.workers)
        yield from judge_all(cases, [WorkerSeat(self.target, whole, start=False)], started=started)

    def judge_one(self, planned: Planned) -> Verdict:
        """The verdict of one case; the session goes on."""
        verdict = not_asked(planned) if planned.status is not None else self.first.judge(planned.case)
        return self.dress(verdict, {})

    def close(self) -> None:
        """End the worker."""
        self.first.stop()

    def dress(self, verdict: Verdict, expected: Mapping[str, Expectation] | None = None) -> Verdict:
        """A verdict with its clause, its rerun command, and what was announced of it."""
        expected = expected or {}
        reason = expected[verdict.id].text if verdict.id in expected else None
        details = {"clause": find_case(verdict.id).clause} | dict(verdict.details)
        return replace(verdict, expected=reason, rerun=self.rerun(verdict.id), details=details)


def open_session(
    target: Target, limits: Limits, workers: int | Literal["auto"] = "auto", *, in_process: bool = False
) -> Session:
    """Load a backend.

    Parameters
    ----------
    target, limits
        What to load, and what its workers are allowed.
    workers
        How many; "auto" for one a core, or one alone where a device is not the CPU. Those that are asked
        for share a GPU's memory: kernels that compile before they run are then judged sooner.
    in_process
        Without workers, for a debugger.

    Raises
    ------
    LoadError
        If it cannot be loaded or run here.
    """
    if in_process:
        return Session(target, limits, LocalSeat(target, limits), 1)
    wanted = cores() if workers == "auto" else workers
    if workers != "auto":
        limits = replace(limits, gpu_fraction=limits.gpu_fraction / workers)
    seat = WorkerSeat(target, limits, wanted)
    if workers == "auto" and any(device != "cpu" for device in seat.devices):
        wanted = 1
        seat.share(wanted)
    return Session(target, limits, seat, wanted)


def not_asked(planned: Planned) -> Verdict:
    """The verdict of a case that is not run."""
    case = planned.case
    assert planned.status is not None
    return Verdict(case.id, case.op, case.dtype, case.check, planned.status, message=planned.reason)


def check_selection(level: Level, selection: Selection) -> None:
    """Refuse an id that no case has, and filters that leave no case, whatever is claimed."""
    check_ids(selection.cases)
    cases = map(find_case, selection.cases) if selection.cases else catalogue(level)
    if not any(map(selection.keeps, cases)):
        raise SelectionError(f"no case of level {level} is left by the filters")


def check_ids(ids: Sequence[str]) -> None:
    """Refuse an id that no case has, with the nearest ones."""
    known = [case.id for case in catalogue("full")]
    for given in ids:
        try:
            find_case(given)
        except ArgumentError as error:
            near = did_you_mean(given, known)
            raise SelectionError(f"`--case` must be the id of a case; got {given!r}{near}") from error
