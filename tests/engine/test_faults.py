"""Whatever a backend does in one case, that case has a verdict with its cause, and the next one is judged."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from ssm_conformance.engine import Limits, LoadError, Selection, Session, open_session
from ssm_conformance.engine.limits import GIB
from ssm_conformance.engine.target import module_target
from ssm_conformance.verdict import Verdict

from .conftest import BAD, RIGHT, Write

LIMITS = Limits(seconds=2.0, first_call=1.0)


def judge(module: str, limits: Limits = LIMITS, cases: tuple[str, ...] = (BAD, RIGHT)) -> dict[str, Verdict]:
    session = open_session(module_target(module), limits, workers=1)
    planned = session.plan("smoke", Selection(cases=cases))
    return {verdict.id: verdict for verdict in session.judge(planned)}


def test_an_honest_backend_passes(write_plugin: Write) -> None:
    found = judge(write_plugin("honest"))
    assert [found[name].status for name in (BAD, RIGHT)] == ["pass", "pass"]
    assert found[BAD].rerun == f"ssm-spec conform --plugin honest --case {BAD}"
    assert found[BAD].details["clause"]
    assert found[BAD].seconds > 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("os._exit(0)", "exit status 0 instead of answering"),
        ("sys.exit(3)", "exit"),
        ("raise RuntimeError('no such luck')", "no such luck"),
        ("raise KeyboardInterrupt", "SIGINT"),
    ],
)
def test_a_fault_fails_its_case_and_no_other(write_plugin: Write, fault: str, message: str) -> None:
    found = judge(write_plugin("faulty", fault))
    assert found[BAD].status == "fail"
    assert message in found[BAD].message
    assert found[RIGHT].status == "pass"


def test_a_crash_and_a_hang_say_where(write_plugin: Write) -> None:
    crash = judge(write_plugin("crashing", "print('last words'); os.abort()"), cases=(BAD,))[BAD]
    assert "SIGABRT" in crash.message
    assert "last words" in crash.details["log"]
    assert "in misbehave" in crash.details["log"]
    limits = Limits(seconds=0.5, first_call=1.0)
    hang = judge(write_plugin("hanging", "time.sleep(60)"), limits, cases=(BAD,))[BAD]
    assert "time limit was 0.5 s" in hang.message
    assert hang.details["cause"] == "timeout"
    assert "in misbehave" in hang.details["log"]


def test_the_memory_limit_holds(write_plugin: Write) -> None:
    fault = "x = np.ones(2**26); time.sleep(60)"
    found = judge(write_plugin("greedy", fault), Limits(memory=GIB // 4))
    assert found[BAD].status == "fail"
    assert "the limit is 0.25 GiB" in found[BAD].message
    assert found[BAD].details["cause"] == "memory"
    assert found[RIGHT].status == "pass"


def test_what_a_backend_prints_is_not_an_answer(write_plugin: Write) -> None:
    fault = """print('{"verdict": 1}\\\\n' * 3000); os.write(1, b'garbage\\\\n'); os.write(2, b'\\\\xff')"""
    found = judge(write_plugin("noisy", fault, top="print('{}'); import sys; print('x', file=sys.stderr)\n"))
    assert [found[name].status for name in (BAD, RIGHT)] == ["pass", "pass"]


def test_stdin_is_empty(write_plugin: Write) -> None:
    found = judge(write_plugin("asking", "assert sys.stdin.read() == ''"))
    assert found[BAD].status == "pass"


def test_children_end_with_their_worker(write_plugin: Write, tmp_path: Path) -> None:
    note = tmp_path / "child"
    fault = (
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        f" open({str(note)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    found = judge(write_plugin("parent", fault), cases=(BAD,))
    assert found[BAD].details["cause"] == "timeout"
    child = int(note.read_text())
    gone = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < gone, "the worker's child lives on"
        time.sleep(0.05)


def test_a_device_in_error_fails_the_case_and_costs_the_worker(write_plugin: Write) -> None:
    module = write_plugin(
        "broken_device",
        "globals().update(poisoned=True)",
        device="if globals().get('poisoned'): raise RuntimeError('illegal address')",
    )
    found = judge(module)
    assert found[BAD].status == "fail"
    assert "illegal address" in found[BAD].message
    assert found[RIGHT].status == "pass"  # in a new process, where the device is well


@pytest.mark.parametrize(
    ("top", "kind", "message"),
    [
        ("raise ImportError('no libfoo')", "plugin", "ImportError: no libfoo"),
        ("import sys; sys.exit(4)", "plugin", "SystemExit: 4"),
        ("import os; os.abort()", "crash", "SIGABRT"),
        ("import time; time.sleep(60)", "timeout", "the time limit was 3 s"),
        ("import ssm_backends as s; raise s.UnavailableError('x')", "plugin", "UnavailableError: x"),
    ],
)
def test_a_plugin_that_does_not_load(write_plugin: Write, top: str, kind: str, message: str) -> None:
    module = write_plugin("unloadable", top=f"{top}\n")
    with pytest.raises(LoadError) as caught:
        open_session(module_target(module), Limits(load=3.0), workers=1)
    assert caught.value.kind == kind
    assert message in str(caught.value)


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(LoadError, match="no module is called 'nowhere_at_all'"):
        module_target("nowhere_at_all")


def test_several_workers_judge_each_case_once(write_plugin: Write) -> None:
    session = open_session(module_target(write_plugin("many", "time.sleep(0.01)")), LIMITS, workers=3)
    planned = session.plan("smoke", Selection())
    found = [verdict.id for verdict in session.judge(planned)]
    assert sorted(found) == sorted(item.case.id for item in planned)


def test_leaving_early_leaves_no_process_behind(write_plugin: Write) -> None:
    before = set(psutil.Process().children(recursive=True))
    session = open_session(module_target(write_plugin("slow", "time.sleep(60)")), LIMITS, workers=2)
    verdicts = session.judge(session.plan("smoke", Selection(cases=(RIGHT, BAD))))
    assert next(verdicts).id == RIGHT
    verdicts.close()
    assert set(psutil.Process().children(recursive=True)) <= before


def test_in_process_the_backend_is_in_this_process(write_plugin: Write) -> None:
    module = write_plugin("local")
    session: Session = open_session(module_target(module), LIMITS, in_process=True)
    found = {v.id: v.status for v in session.judge(session.plan("smoke", Selection(cases=(BAD, RIGHT))))}
    assert found == {BAD: "pass", RIGHT: "pass"}
    assert module in sys.modules
