"""A seat and its workers: whom it asks, whom it keeps, and whom it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ssm_conformance.cases import find_case
from ssm_conformance.engine import Limits, answering, seat
from ssm_conformance.engine.again import ALONE
from ssm_conformance.engine.process import WorkerLostError
from ssm_conformance.engine.seat import LocalSeat, WorkerSeat
from ssm_conformance.engine.target import LoadError, Target, module_target
from ssm_conformance.planning import MANY_KINDS
from ssm_conformance.verdict import LEFT, Verdict

TARGET = module_target("math")  # which no worker here loads
CASE = find_case("causal_convolution/value/float64/short-kernel")
OTHER = find_case("causal_convolution/value/float32/short-kernel")

RIGHT, WRONG, OLD = ("pass", ""), ("fail", ""), ("fail", "it is old")
"""Answers: the status of a verdict, and why the worker must be replaced."""
LOST, HUNG = (WorkerLostError(kind, "it was lost", "its log") for kind in ("crash", "timeout"))
Answer = tuple[str, str] | WorkerLostError


@dataclass
class Worker:
    """A worker that gives its answers in turn."""

    answers: list[Answer]
    workers: int
    asked: list[tuple[bool, bool]] = field(default_factory=list)
    answered: int = 0
    stops: int = 0
    claims: dict[str, Any] = field(default_factory=lambda: {"name": "mine"})
    devices: list[str] = field(default_factory=lambda: ["cpu"])
    at_import: list[str] = field(default_factory=lambda: ["it printed"])

    def judge(
        self, case_id: str, op: str, dtype: str, *, patient: bool = True, anew: bool = False
    ) -> tuple[dict[str, Any], str]:
        self.asked.append((patient, anew))
        answer = self.answers.pop(0)
        if isinstance(answer, WorkerLostError):
            raise answer
        self.answered += 1
        return Verdict(case_id, op, dtype, "value", answer[0], message="wrong").to_json(), answer[1]

    def share(self, workers: int) -> None:
        self.workers = workers

    def stop(self) -> None:
        self.stops += 1


class Room:
    """A seat, the answers of each worker that it may start, and the workers that it has started."""

    def __init__(self, *answers: list[Answer], start: bool = False) -> None:
        self.left, self.started = list(answers), list[Worker]()
        self.begun: Callable[[], None] = lambda: None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(seat, "WorkerProcess", self._start)
            self.seat = WorkerSeat(TARGET, Limits(), 3, start=start)

    def _start(self, target: Target, limits: Limits, workers: int) -> Worker:
        self.begun()
        if not self.left:
            raise LoadError("crash", "there is no room")
        self.started.append(Worker(list(self.left.pop(0)), workers))
        return self.started[-1]

    def judge(self, *cases: Any) -> list[Verdict]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(seat, "WorkerProcess", self._start)
            return [self.seat.judge(case) for case in cases or (CASE,)]

    @property
    def served(self) -> list[tuple[int, int]]:
        """Of each worker, how often it was asked and how often it was ended."""
        return [(len(worker.asked), worker.stops) for worker in self.started]


def test_the_first_worker_says_what_it_loaded() -> None:
    room = Room([], start=True)
    assert (room.seat.claims, room.seat.devices) == ({"name": "mine"}, ["cpu"])
    assert room.seat.at_import == ["it printed"]
    assert Room([]).started == []


def test_a_worker_is_kept_until_it_must_be_replaced_or_is_lost() -> None:
    room = Room([RIGHT, RIGHT, OLD], [LOST], [RIGHT])
    assert [verdict.status for verdict in room.judge(*[CASE] * 5)] == ["pass", "pass", "fail", "fail", "pass"]
    assert room.served == [(3, 1), (1, 1), (1, 0)]


def test_a_loss_is_the_failure_of_its_case() -> None:
    (verdict,) = Room([LOST]).judge()
    assert (verdict.id, verdict.op, verdict.dtype, verdict.check) == (
        CASE.id,
        CASE.op,
        CASE.dtype,
        CASE.check,
    )
    assert (verdict.status, verdict.message) == ("fail", "it was lost")
    assert verdict.details == {"cause": "crash", "log": "its log"}


def test_what_hung_is_not_waited_for_again_and_no_other_dtype_pays_for_it() -> None:
    room = Room([HUNG], [RIGHT, RIGHT])
    room.judge(CASE, CASE, OTHER)
    assert [asked for worker in room.started for asked, _ in worker.asked] == [True, False, True]
    room = Room([LOST], [RIGHT])
    room.judge(CASE, CASE)
    assert [asked for worker in room.started for asked, _ in worker.asked] == [True, True]


def test_a_case_of_calls_of_many_kinds_is_waited_for_as_a_first_call() -> None:
    room = Room([RIGHT, RIGHT])
    room.judge(CASE, replace(CASE, method=MANY_KINDS[0]))
    assert room.started[0].asked == [(True, False), (True, True)]


def test_the_first_failure_of_a_worker_has_nobody_before_it() -> None:
    room = Room([WRONG, WRONG, WRONG, WRONG], [RIGHT])
    first, second = room.judge(CASE, CASE)
    assert first.message == "wrong"
    assert second.message == f"wrong; judged alone, in a new process, it passes; likely mistake: {ALONE}"
    assert room.served == [(4, 0), (1, 1)]


@pytest.mark.parametrize(
    ("again", "told"),
    [
        (RIGHT, "the same calls give another result: it passes"),
        (OLD, "it is old"),
        (LOST, "it was lost"),
    ],
)
def test_what_comes_of_the_same_calls_is_told_and_no_other_is_asked(again: Answer, told: str) -> None:
    room = Room([RIGHT, WRONG, again, RIGHT], [RIGHT])
    _, verdict, last = room.judge(CASE, CASE, CASE)
    assert verdict.message == f"wrong; made again, {told}; likely mistake: {LEFT}"
    assert (verdict.status, last.status) == ("fail", "pass")
    assert room.served == ([(4, 0)] if again is RIGHT else [(3, 1), (1, 0)])


@pytest.mark.parametrize("alone", [[LOST], None])
def test_where_none_can_judge_alone_the_failure_stays_and_what_is_vain_ends(alone: Any) -> None:
    room = Room([RIGHT, *[WRONG] * 6], *[alone] * 3 if alone else [])
    begun: list[int] = []
    room.judge()
    room.begun = lambda: begun.append(1)
    assert [verdict.message for verdict in room.judge(CASE, CASE, CASE)] == ["wrong"] * 3
    assert len(begun) == 2  # in vain, for one operator
    assert room.served == [(7, 0), *[(1, 1)] * 2 * bool(alone)]


def test_how_many_share_the_machine_is_told_to_who_is_here_and_to_who_comes() -> None:
    room = Room([LOST], [RIGHT])
    room.seat.share(5)
    room.judge()
    room.seat.share(7)
    room.judge()
    room.seat.share(2)
    assert [worker.workers for worker in room.started] == [5, 2]


def test_a_seat_that_is_stopped_ends_all_that_it_started() -> None:
    room = Room([RIGHT, WRONG, WRONG], [RIGHT], start=True)
    room.judge(CASE)
    alone: list[int] = []
    room.begun = lambda: alone.append(room.started[0].stops)
    room.judge(CASE)
    room.seat.stop()
    assert room.served == [(3, 1), (1, 1)]
    assert alone == [0]


def test_a_seat_that_is_stopped_asks_no_worker_that_was_being_started() -> None:
    """Neither its own nor the one that judges alone; stop, in another thread, could not find it yet."""
    room = Room([])
    room.begun = room.seat.stop
    with pytest.raises(LoadError, match="the seat was stopped"):
        room.judge()
    assert room.served == [(0, 1)]
    room = Room([RIGHT, WRONG, WRONG], [RIGHT])
    room.judge()
    room.begun = room.seat.stop
    assert [verdict.message for verdict in room.judge()] == ["wrong"]
    assert room.served == [(3, 1), (0, 1)]


def test_a_worker_that_judges_alone_is_ended_from_another_thread() -> None:
    room = Room([RIGHT, WRONG, WRONG], [RIGHT])
    room.judge()
    seen: list[list[tuple[int, int]]] = []

    def stopped(worker: Worker, *case: str) -> Any:
        room.seat.stop()
        seen.append(room.served)
        raise LOST

    with pytest.MonkeyPatch.context() as patch:
        room.begun = lambda: patch.setattr(Worker, "judge", stopped)
        room.judge()
    assert seen == [[(3, 1), (0, 1)]]


def test_this_process_gives_verdicts_as_a_worker_does(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[dict[str, Any]] = []
    found = {"claims": {"name": "mine"}, "devices": ["cpu"], "at_import": []}
    monkeypatch.setattr(answering, "load", lambda order: orders.append(order) or ("backend", found))
    verdict = Verdict(CASE.id, CASE.op, CASE.dtype, "value", "fail", details={"sizes": (1, 2)})
    monkeypatch.setattr(answering, "judge", lambda case_id, backend, order: (verdict, "it is old"))
    place = LocalSeat(TARGET, Limits(gpu_fraction=0.25))
    assert orders == [{"load": TARGET.to_json(), "path": sys.path, "gpu_fraction": 0.25}]
    assert (place.claims, place.devices, place.at_import) == ({"name": "mine"}, ["cpu"], [])
    assert place.judge(CASE).details == Verdict.from_json(verdict.to_json()).details
    monkeypatch.setattr(
        answering, "load", lambda order: (None, {"failure": {"kind": "lacks", "message": "x"}})
    )
    with pytest.raises(LoadError, match="x") as caught:
        LocalSeat(TARGET, Limits())
    assert caught.value.kind == "lacks"
