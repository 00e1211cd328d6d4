"""Processes beside each other share the cores: each is told how many threads it may have before it starts."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import Future
from typing import Any

import pytest

from ssm_backends import Plugin
from ssm_conformance.engine import Limits, LoadError, threads
from ssm_conformance.engine.process import WorkerProcess
from ssm_conformance.engine.target import Target
from ssm_conformance.engine.threads import KERNELS, ORACLE, cores_shared, thread_environment
from ssm_conformance.selftest import pairs, running

NAMES = (*KERNELS, *ORACLE, "OMP_WAIT_POLICY")


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 8)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("workers", "oracle", "kernels"),
    [(1, "8", "8"), (2, "4", "4"), (3, "2", "2"), (8, "1", "2"), (99, "1", "2")],
)
def test_each_has_its_share_and_a_backend_two_threads_that_may_race(
    workers: int, oracle: str, kernels: str
) -> None:
    found = thread_environment(workers)
    assert found == dict.fromkeys(ORACLE, oracle) | dict.fromkeys(KERNELS, kernels) | {
        "OMP_WAIT_POLICY": "PASSIVE"
    }


def test_one_core_is_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 1)
    assert {thread_environment(2)[name] for name in (*ORACLE, *KERNELS)} == {"1"}


def test_what_somebody_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "5")
    with cores_shared(4):
        assert (os.environ["OPENBLAS_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]) == ("5", "2")
    assert os.environ["OPENBLAS_NUM_THREADS"] == "5"
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_worker_is_started_with_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def start(*command: Any, env: dict[str, str], **more: Any) -> Any:
        seen.update(env)
        raise OSError("no process is left")

    monkeypatch.setattr(subprocess, "Popen", start)
    target = Target(Plugin(name="numpy", module="ssm_numpy"), None)
    with pytest.raises(LoadError, match="no process is left"):
        WorkerProcess(target, Limits(), workers=4)
    assert (seen["OPENBLAS_NUM_THREADS"], seen["OMP_NUM_THREADS"], seen["PATH"]) == (
        "2",
        "2",
        os.environ["PATH"],
    )


def test_processes_of_a_selftest_are_started_with_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Pool:
        def __init__(self, workers: int, mp_context: Any) -> None:
            assert workers == 8

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def submit(self, function: Any, *arguments: Any) -> Future[Any]:
            seen.append({name: os.environ.get(name) for name in NAMES})
            done: Future[Any] = Future()
            done.set_result(None)
            return done

        def shutdown(self, cancel_futures: bool) -> None:
            pass

    monkeypatch.setattr(running, "ProcessPoolExecutor", Pool)
    asked = pairs(("sequential", "reversed-sums"))
    assert len(list(running.run(asked, None, workers=8))) == len(asked) == len(seen)
    assert all(found == thread_environment(8) for found in seen)
    assert not any(name in os.environ for name in NAMES)


def test_alone_nothing_is_set_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "row", lambda *asked: {n: os.environ.get(n) for n in NAMES})
    found = list(running.run(pairs(("sequential", "reversed-sums")), None, workers=1))
    assert found
    assert all(value is None for row in found for value in row.values())
