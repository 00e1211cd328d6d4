"""Whatever a backend does in one case, that case has a verdict with its cause, and the next one is judged."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from ssm_conformance.cases import catalogue
from ssm_conformance.engine import Limits, LoadError, Selection, Session, open_session
from ssm_conformance.engine.limits import GIB
from ssm_conformance.engine.log import KEPT, TAIL, Log
from ssm_conformance.engine.pool import NoWorkerError
from ssm_conformance.engine.process import WorkerProcess
from ssm_conformance.engine.protocol import send
from ssm_conformance.engine.target import module_target
from ssm_conformance.planning import MANY_KINDS
from ssm_conformance.verdict import Verdict

from .conftest import BAD, RIGHT, Write

LIMITS = Limits(seconds=20.0, first_call=1.0)
"""For faults that do not hang: a busy machine may take its time."""


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
        ("sys.exit(3)", "the backend called sys.exit(3)"),
        ("raise RuntimeError('no such luck')", "no such luck"),
        (
            "class Odd(Exception):\n        def __str__(self): raise ValueError('no text')\n    raise Odd",
            "raised Odd: (its __str__ raised ValueError)",
        ),
        ("raise RuntimeError('line after line ' * 10000 + 'the end')", "the end (160007 characters)\n"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
        ("class Odd(BaseException): pass\n    raise Odd('ends')", "raised Odd: ends"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (Killed); is the machine out of memory"),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 1)", "ended by signal 35 (Real-time signal 1)"),
        ("os.closerange(3, 64)", "instead of answering"),
        (
            "for n in os.listdir('/proc/self/fd'):\n"
            "        try: int(n) > 2 and os.write(int(n), b'half')\n"
            "        except OSError: pass\n"
            "    os._exit(3)",
            "the worker ended with exit status 3 instead of answering",
        ),
        ("if os.fork() == 0: raise RuntimeError('the child answers')\n    os.abort()", "SIGABRT"),
        ("os.fork() or time.sleep(60); os._exit(7)", "exit status 7"),
        ("x = np.ones(2**50)", "MemoryError"),
        ("open(os.devnull + '/x', 'w')", "NotADirectoryError"),
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
    # Long enough to reach the plugin: the first case makes the catalogue.
    limits = Limits(seconds=3.0, first_call=1.0)
    hang = judge(write_plugin("hanging", "time.sleep(60)"), limits, cases=(BAD,))[BAD]
    assert "time limit was 3 s" in hang.message
    assert hang.details["cause"] == "timeout"
    assert "in misbehave" in hang.details["log"]


def test_calls_of_many_kinds_have_time_to_compile(write_plugin: Write) -> None:
    case = "causal_convolution/robustness/float32/apart-typical"
    slow = write_plugin("slow", device="time.sleep(0.4)")
    found = judge(slow, Limits(seconds=1.0, first_call=60.0), (RIGHT, case))
    assert [found[name].status for name in (RIGHT, case)] == ["pass", "pass"]
    assert found[case].seconds > 1.0


def test_an_import_has_the_time_of_a_first_call_and_enough_for_the_libraries() -> None:
    assert Limits().for_load() == Limits().for_case(first=True) == 300
    assert Limits(seconds=10.0).for_load() == 50
    assert Limits(seconds=0.1).for_load() == 30
    assert Limits(seconds=10.0, load=2.0).for_load() == 2


def test_a_limit_may_be_longer_than_any_clock_counts(write_plugin: Write) -> None:
    assert judge(write_plugin("honest"), Limits(seconds=1e300), (RIGHT,))[RIGHT].status == "pass"


def test_what_is_asked_of_many_sizes_has_time_to_compile_each() -> None:
    assert {case.method for case in catalogue("full") if case.check == "memory"} <= set(MANY_KINDS)


@pytest.mark.parametrize(
    "fault",
    [
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
        "import ctypes; [ctypes.PyDLL(None).sleep(60) for _ in range(9)]",  # the interpreter's lock is held
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN); time.sleep(60)",
    ],
)
def test_nothing_can_outlast_its_time(write_plugin: Write, fault: str) -> None:
    start = time.monotonic()
    found = judge(write_plugin("stubborn", fault), Limits(seconds=0.5, first_call=1.0), (BAD,))
    assert found[BAD].details["cause"] == "timeout"
    assert time.monotonic() - start < 20


def test_a_worker_that_nobody_watches_ends_itself(write_plugin: Write) -> None:
    fault = "import ctypes; [ctypes.PyDLL(None).sleep(60) for _ in range(9)]"  # its threads cannot run
    limits = Limits(seconds=0.5, first_call=1.0, grace=0.5)
    worker = WorkerProcess(module_target(write_plugin("orphan", fault)), limits)
    process = worker._process
    assert process.stdin is not None
    send(process.stdin, {"case": BAD, "seconds": 1.0})  # and the parent is never heard of again
    try:
        assert process.wait(timeout=10) == 1
    finally:
        worker.stop()


@pytest.mark.parametrize(
    ("fault", "limits", "cause", "message"),
    [
        ("x = np.ones(2**26); time.sleep(60)", {"memory": GIB // 4}, "memory", "the limit is 0.25 GiB"),
        (
            "import threading\n    while True: threading.Thread(target=time.sleep, args=(60,)).start()",
            {"threads": 100},
            "threads",
            "the limit is 100",
        ),
    ],
)
def test_what_a_worker_may_hold_is_limited(
    write_plugin: Write, fault: str, limits: dict[str, int], cause: str, message: str
) -> None:
    found = judge(write_plugin("greedy", fault), Limits(**limits))
    assert found[BAD].status == "fail"
    assert message in found[BAD].message
    assert found[BAD].details["cause"] == cause
    assert found[RIGHT].status == "pass"


def test_memory_that_forked_processes_share_is_counted_once(write_plugin: Write) -> None:
    fault = """x = np.ones(2**24)
    for _ in range(4):
        if os.fork() == 0: time.sleep(60)
    time.sleep(0.5)"""
    found = judge(write_plugin("sharing", fault), Limits(memory=GIB // 2))
    assert [found[name].status for name in (BAD, RIGHT)] == ["pass", "pass"]


def test_what_a_backend_prints_is_not_an_answer(write_plugin: Write) -> None:
    fault = """print('{"verdict": 1}\\\\n' * 3000); os.write(1, b'garbage\\\\n'); os.write(2, b'\\\\xff')"""
    found = judge(write_plugin("noisy", fault, top="print('{}'); import sys; print('x', file=sys.stderr)\n"))
    assert [found[name].status for name in (BAD, RIGHT)] == ["pass", "pass"]


def test_a_flood_of_output_costs_no_disk_and_keeps_its_end(write_plugin: Write) -> None:
    fault = "[os.write(1, b'x' * 2**20) for _ in range(300)]; print('last words'); os.abort()"
    found = judge(write_plugin("flooding", fault), Limits(seconds=20.0, first_call=1.0))
    assert "SIGABRT" in found[BAD].message
    assert "last words" in found[BAD].details["log"]
    assert len(found[BAD].details["log"]) <= TAIL
    assert found[RIGHT].status == "pass"


@pytest.mark.parametrize("line", ["garbage", "{}", '{"claims": {}}'])
def test_a_line_on_the_pipe_that_is_no_answer_fails_its_case_and_no_other(
    write_plugin: Write, line: str
) -> None:
    fault = f"""import contextlib
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):  # most are closed, or can only be read
            os.write(descriptor, {line!r}.encode() + bytes([10]))"""
    found = judge(write_plugin("scribbling", fault))
    assert found[BAD].status == "fail"
    assert found[BAD].message.startswith("the worker's pipe was written to by others: not a")
    assert found[BAD].details["cause"] == "crash"
    assert found[RIGHT].status == "pass"


def test_stdin_is_empty(write_plugin: Write) -> None:
    found = judge(write_plugin("asking", "assert sys.stdin.read() == ''"))
    assert found[BAD].status == "pass"


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        ("import atexit; atexit.register(print, 'bye')", "pass", ""),
        ("os.abort()", "fail", "another process was ended by SIGABRT"),
        ("os._exit(0)", "fail", "another process ended with exit status 0 instead of answering"),
        ("os._exit(1)", "fail", "another process ended with exit status 1 instead of answering"),
        (
            "sys.exit('enough')",
            "fail",
            "another process ended with exit status 1 instead of answering\nenough",
        ),
        ("os.write(2, b'\\xff')", "pass", ""),
        ("os.fork()", "fail", "another process answered '{"),
        ("raise RuntimeError('no such luck')", "fail", "in another process: raised RuntimeError: no such"),
    ],
)
def test_what_a_backend_does_in_another_process_is_its_own(
    write_plugin: Write, fault: str, status: str, message: str
) -> None:
    hook = (
        "return Backend(name='other', version='0', arrays=NumpyArrays(), ops={'causal_convolution': "
        "Op(causal_convolution, dtypes=('float64',), deterministic=True)})"
    )
    there = "if 'ssm_conformance.engine.elsewhere' not in sys.orig_argv: return\n    "
    case = "causal_convolution/determinism/float64/processes-typical"
    found = judge(write_plugin("other", there + fault, hook=hook), cases=(case,))[case]
    assert found.status == status
    assert found.message.startswith(message)


@pytest.mark.parametrize("ending", ["time.sleep(60)", "os.abort()", "pass"])
def test_children_end_with_their_worker(write_plugin: Write, tmp_path: Path, ending: str) -> None:
    note = tmp_path / "children"
    fault = f"""child = subprocess.Popen(['sleep', '60'], start_new_session=True)
    # and one whose own parent has ended already
    code = 'import subprocess as s; print(s.Popen(["sleep", "60"], start_new_session=True, stdout=-3).pid)'
    orphan = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE).stdout
    open({str(note)!r}, 'w').write(f"{{child.pid}} {{int(orphan)}}"); {ending}"""
    limits = Limits(seconds=4.0, first_call=1.0) if "sleep" in ending else LIMITS
    found = judge(write_plugin("parent", fault), limits, (BAD,))
    assert found[BAD].status == ("pass" if ending == "pass" else "fail")
    gone = time.monotonic() + 5
    for child in map(int, note.read_text().split()):
        while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < gone, "what the worker started lives on"
            time.sleep(0.05)


def test_a_worker_killed_between_two_cases_is_told_and_replaced(write_plugin: Write) -> None:
    session = open_session(module_target(write_plugin("idle")), LIMITS, workers=1)
    planned = session.plan("smoke", Selection(cases=(RIGHT, BAD)))
    assert session.judge_one(planned[0]).status == "pass"
    psutil.Process(session.first._worker._process.pid).kill()  # type: ignore[attr-defined]  # from outside
    while session.first._worker._process.poll() is None:  # type: ignore[attr-defined]  # the same
        time.sleep(0.01)
    found = session.judge_one(planned[1])
    assert found.status == "fail"
    assert "SIGKILL (Killed); is the machine out of memory, or was it killed by hand?" in found.message
    assert found.message.endswith(f" after it had answered {planned[0].case.id}")
    assert session.judge_one(planned[1]).status == "pass"
    session.close()


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
        ("raise KeyboardInterrupt", "plugin", "raised KeyboardInterrupt"),
        (
            "class Odd(Exception):\n    def __str__(self): raise ValueError('no text')\nraise Odd",
            "plugin",
            "raised Odd: (its __str__ raised ValueError)",
        ),
        ("import os; os.abort()", "crash", "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "crash", "SIGSEGV"),
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


def test_a_hook_that_hangs(write_plugin: Write) -> None:
    module = write_plugin("slow_hook", hook="time.sleep(60)")
    with pytest.raises(LoadError, match="the time limit was 2 s") as caught:
        open_session(module_target(module), Limits(load=2.0), workers=1)
    assert "in ssm_backend" in caught.value.log


def test_a_plugin_that_loads_only_once_ends_the_run_with_a_reason(
    write_plugin: Write, tmp_path: Path
) -> None:
    top = f"import os; os.mkdir({str(tmp_path / 'lock')!r})\n"
    session = open_session(module_target(write_plugin("once", "os.abort()", top=top)), LIMITS, workers=1)
    verdicts = session.judge(session.plan("smoke", Selection(cases=(BAD, RIGHT))))
    assert next(verdicts).status == "fail"
    with pytest.raises(NoWorkerError, match="FileExistsError"):
        next(verdicts)


def test_no_process_left_for_a_worker(write_plugin: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", full)
    with pytest.raises(LoadError, match=r"no worker could be started: .*temporarily unavailable"):
        open_session(module_target(write_plugin("any")), LIMITS, workers=1)


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
    patient = Limits(seconds=200.0)  # the second worker may take long to start on a busy machine
    session = open_session(module_target(write_plugin("slow", "time.sleep(600)")), patient, workers=2)
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


def test_a_plugin_that_does_not_load_shows_its_own_frames_alone(write_plugin: Write) -> None:
    write_plugin("inner", top="def fail():\n    return 1 / 0\n\n")
    module = write_plugin("broken", top="import inner\ninner.fail()\n")
    with pytest.raises(LoadError, match="ZeroDivisionError") as caught:
        open_session(module_target(module), LIMITS, workers=1)
    told = [line.strip() for line in caught.value.log.splitlines() if "^" not in line]
    assert told[0] == "Traceback (most recent call last):"
    assert "broken.py" in told[1]
    assert "inner.py" in told[3]
    assert told[4:] == ["return 1 / 0", "ZeroDivisionError: division by zero"]


def test_a_log_tells_what_was_printed_since_its_mark_and_keeps_no_more_than_it_may() -> None:
    end, start = os.pipe()
    log = Log(os.fdopen(end, "rb"))
    os.write(start, b"before\n" * KEPT)
    os.write(start, b"the end\n")
    while not log.tail().endswith("the end"):
        time.sleep(0.01)
    assert len(log._text) == KEPT
    log.mark()
    assert log.tail() == ""
    os.write(start, b"after\n")
    os.close(start)
    log.wait(10.0)
    assert log.tail() == "after"
    log.close()
