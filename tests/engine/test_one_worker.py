"""One worker as its parent has it: what it is waited for, and what it does not share with the terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

from ssm_conformance.cases import find_case
from ssm_conformance.engine import Limits
from ssm_conformance.engine.limits import GIB
from ssm_conformance.engine.process import WorkerLostError, WorkerProcess
from ssm_conformance.engine.seat import WorkerSeat
from ssm_conformance.engine.target import module_target

from .conftest import BAD, RIGHT, Write


@dataclass(frozen=True, kw_only=True)
class Noting(Limits):
    """Limits that note who was waited for longer."""

    longer: list[bool] = field(default_factory=list)

    def for_case(self, first: bool) -> float:
        self.longer.append(first)
        return super().for_case(first)


def test_the_first_call_of_an_operator_and_dtype_may_compile(write_plugin: Write) -> None:
    limits = Noting(load=60.0)
    worker = WorkerProcess(module_target(write_plugin("fine")), limits)
    try:
        for name, dtype in ((RIGHT, "float32"), (RIGHT, "float32"), (BAD, "float64")):
            worker.judge(name, "causal_convolution", dtype)
        worker.judge(RIGHT, "causal_convolution", "float32", anew=True)
        worker.judge(RIGHT, "causal_convolution", "float32", anew=True, patient=False)
    finally:
        worker.stop()
    assert limits.longer == [True, False, True, True, False]
    assert worker.answered == 5


def test_what_hung_once_is_not_waited_for_again_as_if_it_compiled(write_plugin: Write) -> None:
    limits = Noting(load=60.0, seconds=0.2, first_call=2.0)
    seat = WorkerSeat(module_target(write_plugin("hanging", "time.sleep(60)")), limits)
    try:
        found = [seat.judge(find_case(BAD)) for _ in range(2)]
    finally:
        seat.stop()
    assert [verdict.message[-24:] for verdict in found] == [
        "the time limit was 0.4 s",
        "the time limit was 0.2 s",
    ]
    assert limits.longer == [True, False]


def test_an_interrupt_from_the_terminal_is_the_parents_alone(write_plugin: Write) -> None:
    worker = WorkerProcess(module_target(write_plugin("fine")), Limits())
    try:
        assert os.getsid(worker._process.pid) == worker._process.pid != os.getsid(0)
    finally:
        worker.stop()


def test_an_answer_for_another_case_is_none(write_plugin: Write) -> None:
    fault = """import contextlib
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):  # most are closed, or can only be read
            os.write(descriptor, b'{"verdict": {"id": "another"}, "retire": ""}' + bytes([10]))"""
    worker = WorkerProcess(module_target(write_plugin("forking", fault)), Limits())
    try:
        with pytest.raises(WorkerLostError, match="answered for another: did the backend fork it"):
            worker.judge(BAD, "causal_convolution", "float64")
    finally:
        worker.stop()


def test_a_worker_that_hangs_up_and_lives_on_is_lost(write_plugin: Write) -> None:
    fault = "os.closerange(3, 64); time.sleep(60)"
    worker = WorkerProcess(module_target(write_plugin("deaf", fault)), Limits())
    try:
        with pytest.raises(WorkerLostError, match="the worker closed its pipe and lived on"):
            worker.judge(BAD, "causal_convolution", "float64")
    finally:
        worker.stop()


def test_a_worker_has_its_share_of_the_memory(write_plugin: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssm_conformance.engine.limits.machine_memory", lambda: 64 * GIB)
    limits = Limits()
    worker = WorkerProcess(module_target(write_plugin("fine")), limits, workers=3)
    try:
        assert worker._resident == limits.resident(3) == 16 * GIB
        worker.share(1)
        assert worker._resident == limits.resident(1) == 48 * GIB
    finally:
        worker.stop()
