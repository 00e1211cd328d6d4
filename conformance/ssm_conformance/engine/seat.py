"""A place where cases are judged: by a worker that is replaced when it is lost, or in this process."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from ssm_conformance.case import Case
from ssm_conformance.engine import answering
from ssm_conformance.engine.again import ALONE, Allowance, differing, explained, worth_asking_again
from ssm_conformance.engine.limits import Limits
from ssm_conformance.engine.process import WorkerLostError, WorkerProcess
from ssm_conformance.engine.target import LoadError, Target
from ssm_conformance.planning import MANY_KINDS
from ssm_conformance.verdict import LEFT, Verdict


class Seat(Protocol):
    """Where cases are judged, one at a time.

    Attributes
    ----------
    claims
        ``ssm_backends.claims_as_data`` of the backend.
    devices
        Where its arrays live.
    at_import
        What importing it changed in its process.
    """

    claims: dict[str, Any]
    devices: list[str]
    at_import: list[str]

    def judge(self, case: Case) -> Verdict:
        """The verdict of one case; LoadError if no worker can be had any more."""

    def stop(self) -> None:
        """End whatever was started."""


class WorkerSeat:
    """A seat with a warm worker. What costs the worker its life fails the case and no other.

    Parameters
    ----------
    target, limits, workers
        As for :class:`WorkerProcess`.
    start
        Whether to start at once, which also fetches the claims.
    """

    def __init__(self, target: Target, limits: Limits, workers: int = 1, *, start: bool = True) -> None:
        self._target, self._limits, self._workers = target, limits, workers
        self._worker: WorkerProcess | None = None
        self._closed = False
        self._hung: set[tuple[str, str]] = set()  # these were waited for once as if they compiled
        self._alone: WorkerProcess | None = None
        self._allowance = Allowance()
        self.claims: dict[str, Any] = {}
        self.devices: list[str] = []
        self.at_import: list[str] = []
        if start:
            self._seated()

    def judge(self, case: Case) -> Verdict:
        """See :class:`Seat`."""
        present = self._seated()
        first = not present.answered
        start = time.monotonic()
        try:
            patient = (case.op, case.dtype) not in self._hung
            anew = case.method in MANY_KINDS
            data, retire = present.judge(case.id, case.op, case.dtype, patient=patient, anew=anew)
        except WorkerLostError as lost:
            self._vacate()
            if lost.kind == "timeout":
                self._hung.add((case.op, case.dtype))
            details = {"cause": lost.kind, "log": lost.log}
            return Verdict(
                case.id,
                case.op,
                case.dtype,
                case.check,
                "fail",
                message=str(lost),
                seconds=time.monotonic() - start,
                details=details,
            )
        verdict = Verdict.from_json(data)
        if retire:
            self._vacate()
        elif worth_asking_again(verdict):
            return self._once_more(case, verdict, first)
        return verdict

    def share(self, workers: int) -> None:
        """Say how many seats there are on this machine."""
        self._workers = workers
        if self._worker is not None:
            self._worker.share(workers)

    def stop(self) -> None:
        """See :class:`Seat`."""
        self._closed = True
        self._dismiss()
        self._vacate()

    def _once_more(self, case: Case, verdict: Verdict, first: bool) -> Verdict:
        """The failure, and whether the calls before it have a part in it; `first`: there were none."""
        told = self._again(case, verdict)
        if told:
            return explained(verdict, f"made again, {told}", LEFT)
        if not first and self._allowance.left(case):
            told = self._judged_alone(case, verdict)
            self._allowance.spend(case, told)
        return explained(verdict, f"judged alone, in a new process, {told}", ALONE) if told else verdict

    def _again(self, case: Case, verdict: Verdict) -> str:
        """How the verdict of the same worker differs."""
        try:
            data, retire = self._seated().judge(case.id, case.op, case.dtype)
        except WorkerLostError as lost:
            self._vacate()
            return str(lost)
        if retire:
            self._vacate()
            return retire
        told = differing(verdict, Verdict.from_json(data))
        return told and f"the same calls give another result: {told}"

    def _judged_alone(self, case: Case, verdict: Verdict) -> str:
        """How the verdict of another worker differs, which was asked nothing before."""
        try:
            self._alone = WorkerProcess(self._target, self._limits, self._workers)
            if self._closed:  # stopped meanwhile from another thread, which found nobody here to end
                return ""
            data, _ = self._alone.judge(case.id, case.op, case.dtype)
        except (LoadError, WorkerLostError):  # there is no room for a second one: nothing was found out
            return ""
        finally:
            self._dismiss()
        return differing(verdict, Verdict.from_json(data))

    def _dismiss(self) -> None:
        other, self._alone = self._alone, None
        if other is not None:
            other.stop()

    def _vacate(self) -> None:
        present, self._worker = self._worker, None
        if present is not None:
            present.stop()

    def _seated(self) -> WorkerProcess:
        if self._worker is None:
            self._worker = WorkerProcess(self._target, self._limits, self._workers)
            self.claims, self.devices = self._worker.claims, self._worker.devices
            self.at_import = self._worker.at_import
            if self._closed:  # stopped meanwhile from another thread
                self._vacate()
                raise LoadError("crash", "the seat was stopped")
        return self._worker


class LocalSeat:
    """This process itself, for a debugger: no limits, and a crash is a crash.

    Parameters
    ----------
    target, limits
        What is loaded; of the limits only the GPU's share applies.
    """

    def __init__(self, target: Target, limits: Limits) -> None:
        self._order = {"load": target.to_json(), "path": sys.path, "gpu_fraction": limits.gpu_fraction}
        backend, answer = answering.load(self._order)
        if backend is None:
            raise LoadError(answer["failure"]["kind"], answer["failure"]["message"])
        self._backend = backend
        self.claims: dict[str, Any] = answer["claims"]
        self.devices: list[str] = answer["devices"]
        self.at_import: list[str] = answer["at_import"]

    def judge(self, case: Case) -> Verdict:
        """See :class:`Seat`."""
        verdict, _ = answering.judge(case.id, self._backend, self._order)
        return Verdict.from_json(verdict.to_json())  # as a worker's

    def stop(self) -> None:
        """Nothing was started."""
