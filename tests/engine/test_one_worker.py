"""One worker as its parent has it: what it is waited for, and what it does not share with the terminal."""

from __future__ import annotations

import io
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from ssm_conformance.cases import find_case
from ssm_conformance.engine import Limits
from ssm_conformance.engine.limits import GIB
from ssm_conformance.engine.process import WorkerLostError, WorkerProcess
from ssm_conformance.engine.protocol import send
from ssm_conformance.engine.seat import WorkerSeat
from ssm_conformance.engine.target import module_target
from ssm_conformance.engine.worker import OUT_OF_MEMORY_SCORE, Channel

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


def test_what_crashed_may_still_have_to_compile(write_plugin: Write) -> None:
    limits = Noting(load=60.0)
    seat = WorkerSeat(module_target(write_plugin("crashing", "os._exit(3)")), limits)
    try:
        assert [seat.judge(find_case(BAD)).details["cause"] for _ in range(2)] == ["crash", "crash"]
    finally:
        seat.stop()
    assert limits.longer == [True, True]


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


def test_what_an_import_closed_or_switched_off_is_there_again_for_a_case(write_plugin: Write) -> None:
    top = "import faulthandler, os; faulthandler.disable(); os.close(1); os.close(2)\n"
    fault = "os.write(1, b'one'); os.write(2, b'two'); os.abort()"
    worker = WorkerProcess(module_target(write_plugin("closing", fault, top=top)), Limits())
    try:
        with pytest.raises(WorkerLostError, match="SIGABRT") as caught:
            worker.judge(BAD, "causal_convolution", "float64")
    finally:
        worker.stop()
    assert "onetwo" in caught.value.log
    assert "in misbehave" in caught.value.log


def test_a_copy_that_a_plugin_forked_is_not_heard(write_plugin: Write) -> None:
    fault = """child = os.fork()
    if not child: raise RuntimeError('the child answers')
    os.waitpid(child, 0)"""
    limits = Limits(load=60.0, seconds=20.0, first_call=1.0)  # a copy that goes on is waited for
    worker = WorkerProcess(module_target(write_plugin("copying", fault)), limits)
    try:
        verdict, _ = worker.judge(BAD, "causal_convolution", "float64")
    finally:
        worker.stop()
    assert verdict["status"] == "pass", verdict["message"]


def test_the_clock_of_a_request_ends_with_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr("faulthandler.cancel_dump_traceback_later", lambda: stopped.append("the clock"))
    channel, pipe = Channel.__new__(Channel), io.BytesIO()  # its own would take this process's streams
    channel._owner, channel._answers = os.getpid(), pipe
    channel.answer({"verdict": {}})
    assert pipe.getvalue() == b'{"verdict": {}}\n'
    assert stopped == ["the clock"], "an idle worker would end where its last case had to"


@pytest.mark.skipif(not OUT_OF_MEMORY_SCORE.exists(), reason="Linux alone has it")
def test_where_memory_is_short_a_worker_is_ended_first(write_plugin: Write) -> None:
    worker = WorkerProcess(module_target(write_plugin("fine")), Limits())
    try:
        assert Path(f"/proc/{worker._process.pid}/oom_score_adj").read_text() == "1000\n"
    finally:
        worker.stop()


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
def test_a_worker_ends_with_its_parent_amid_a_case_and_takes_what_it_started_along(
    write_plugin: Write, tmp_path: Path
) -> None:
    note = tmp_path / "child"
    fault = f"""child = subprocess.Popen(['sleep', '60'])
    open({str(note)!r}, 'w').write(f'{{child.pid}}.')
    time.sleep(60)"""
    worker = WorkerProcess(module_target(write_plugin("left", fault)), Limits())
    process = worker._process
    assert process.stdin is not None
    try:
        send(process.stdin, {"case": BAD, "seconds": 60.0})
        until = time.monotonic() + 30
        while not (note.exists() and note.read_text().endswith(".")):
            assert time.monotonic() < until
            time.sleep(0.02)
        process.stdin.close()  # as the end of the parent does
        assert process.wait(timeout=60) in (0, -signal.SIGKILL)
        child = int(note.read_text()[:-1])
        while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until + 60, "what the worker started lives on"
            time.sleep(0.02)
    finally:
        worker.stop()
