"""How many workers judge, and what they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from ssm_conformance.case import Case
from ssm_conformance.cases import find_case
from ssm_conformance.engine import limits as limits_of
from ssm_conformance.engine import session
from ssm_conformance.engine.expected import Expectation, expectations_for
from ssm_conformance.engine.limits import GIB, Limits, cores, machine_memory
from ssm_conformance.engine.pool import NoWorkerError, judge_all
from ssm_conformance.engine.session import Session, open_session
from ssm_conformance.engine.target import LoadError, Target, module_target
from ssm_conformance.planning import Planned
from ssm_conformance.verdict import LACKS, MEMORY, Verdict

FAR = "selective_scan/robustness/float32/far-u-small"
NEAR = "selective_scan/value/float32/typical"


@dataclass
class Seated:
    """A seat that only says where it would sit."""

    target: Any
    limits: Limits
    workers: int
    devices: list[str] = field(default_factory=list)

    def share(self, workers: int) -> None:
        self.workers = workers


def _opened(monkeypatch: pytest.MonkeyPatch, device: str, workers: Any) -> tuple[int, Seated]:
    def sit(target: Target, limits: Limits, workers: int) -> Seated:
        return Seated(target, limits, workers, [device])

    monkeypatch.setattr(session, "WorkerSeat", sit)
    opened = open_session(None, Limits(), workers)  # type: ignore[arg-type] # nothing is loaded
    return opened.workers, opened.first  # type: ignore[return-value] # it is the one above


def test_auto_is_one_worker_a_core_and_one_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _opened(monkeypatch, "cpu", "auto")[0] == cores()
    workers, seat = _opened(monkeypatch, "cuda:0", "auto")
    assert workers == seat.workers == 1
    assert seat.limits == Limits()


def test_workers_that_are_asked_for_share_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, seat = _opened(monkeypatch, "cuda:0", 4)
    assert workers == seat.workers == 4
    assert seat.limits.gpu_fraction == Limits().gpu_fraction / 4


@dataclass
class Judging(Seated):
    """A seat with room for a far case if half of the GPU is its own."""

    start: bool = True
    judged: list[str] = field(default_factory=list)

    def judge(self, case: Case) -> Verdict:
        self.judged.append(case.id)
        if case.id == FAR and self.limits.gpu_fraction < 0.5:
            return Verdict(case.id, case.op, case.dtype, case.check, "unavailable", details={LACKS: MEMORY})
        return Verdict(case.id, case.op, case.dtype, case.check, "pass")

    def stop(self) -> None:
        """Nothing was started."""


@pytest.mark.parametrize(("workers", "status", "seats"), [(4, "pass", 3), (1, "unavailable", 1)])
def test_what_finds_no_memory_beside_others_is_judged_alone(
    monkeypatch: pytest.MonkeyPatch, workers: int, status: str, seats: int
) -> None:
    opened: list[Judging] = []

    def sit(target: Target, limits: Limits, workers: int = 1, *, start: bool = True) -> Judging:
        opened.append(Judging(target, limits, workers, ["cuda:0"], start))
        return opened[-1]

    monkeypatch.setattr(session, "WorkerSeat", sit)
    limits = Limits(gpu_fraction=0.4)
    first = sit(module_target("ssm_numpy"), limits)
    whole = Session(first.target, limits, first, workers)  # type: ignore[arg-type] # it has what a seat has
    found = list(whole.judge([Planned(find_case(name)) for name in (FAR, NEAR)]))
    assert {verdict.id: verdict.status for verdict in found} == {FAR: status, NEAR: "pass"}
    assert len(found) == 2
    assert len(opened) == seats
    assert opened[-1].judged == ([FAR] if workers > 1 else [FAR, NEAR])
    assert opened[-1].limits.gpu_fraction == 0.4 * workers


@dataclass
class Meeting:
    """A seat that begins a case, waits for another seat to do so, and then judges, or finds no worker."""

    begins: Event
    other: Event
    finds: bool

    def judge(self, case: Case) -> Verdict:
        self.begins.set()
        assert self.other.wait(10.0)
        if not self.finds:
            time.sleep(0.2)  # the other seat has time to leave
            raise LoadError("crash", "no worker")
        return Verdict(case.id, case.op, case.dtype, case.check, "pass")

    def stop(self) -> None:
        """Nothing was started."""


def judged(*finding: bool, started: Callable[[Case], None] = lambda case: None) -> Iterator[Verdict]:
    """Two cases on two seats at once."""
    one, two = Event(), Event()
    seats: Any = [Meeting(one, two, finding[0]), Meeting(two, one, finding[1])]
    return judge_all([find_case(name) for name in (FAR, NEAR)], seats, started=started)


def test_a_case_whose_seat_finds_no_worker_is_left_to_another_seat() -> None:
    assert {verdict.id: verdict.status for verdict in judged(True, False)} == {FAR: "pass", NEAR: "pass"}


def test_each_case_is_told_as_it_is_begun() -> None:
    begun: list[str] = []
    for verdict in judged(True, True, started=lambda case: begun.append(case.id)):
        assert verdict.id in begun
    assert sorted(begun) == [FAR, NEAR]


def test_cases_that_no_seat_finds_a_worker_for_end_with_the_reason() -> None:
    with pytest.raises(NoWorkerError, match="no worker"):
        list(judged(False, False))


@pytest.mark.parametrize(
    ("machine", "workers", "resident"),
    [(64, 1, 48.0), (64, 4, 12.0), (64, 100, 2.0), (2, 4, 1.5), (1, 1, 0.75)],
)
def test_workers_share_three_quarters_of_the_memory_and_need_two_gib(
    monkeypatch: pytest.MonkeyPatch, machine: int, workers: int, resident: float
) -> None:
    monkeypatch.setattr(limits_of, "machine_memory", lambda: machine * GIB)
    assert Limits().resident(workers) == resident * GIB
    assert Limits(memory=GIB).resident(workers) == GIB


def test_a_container_may_hold_less_memory_than_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stated = tmp_path / "memory.max"
    monkeypatch.setattr(limits_of, "CGROUP_LIMITS", (tmp_path / "absent", stated))
    whole = machine_memory()
    for text, bytes_ in (("max\n", whole), ("1048576\n", 2**20), (f"{2**62}\n", whole)):
        stated.write_text(text)
        assert machine_memory() == bytes_


def test_an_announcement_is_about_every_backend_or_about_one() -> None:
    entries = [Expectation(NEAR, "of all"), Expectation(FAR, "of one", backend="numpy")]
    planned = [Planned(find_case(name)) for name in (FAR, NEAR)]
    assert expectations_for("numpy", entries, planned) == {NEAR: entries[0], FAR: entries[1]}
    assert expectations_for("torch", entries, planned) == {NEAR: entries[0]}
