"""The same bits for any number of threads, from several callers at once, and after a fork."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from ssm_backends import ArgumentError
from ssm_cpu import (
    _jit,
    _team,
    _threads,
    get_num_threads,
    selective_scan_forward,
    selective_scan_vjp,
    set_num_threads,
)

from .problems import problem, same


@pytest.fixture(autouse=True)
def _default_after() -> Any:
    yield
    set_num_threads(None)


def _all(call: dict[str, Any]) -> list[np.ndarray]:
    call = call | {"return_last_state": True}
    outputs, saved = selective_scan_forward(**call)
    wrt = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
    cotangents = dict(zip(("y", "last_state"), outputs, strict=True))
    return [*outputs, *selective_scan_vjp(cotangents, wrt, saved, **call).values()]


CALL = problem(b=2, d=150, l=130, n=4)
LARGE = problem(b=2, d=150, l=260, n=16)
"""States and steps enough for PyTorch's threads."""


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """PyTorch has three threads, and so has a call; in the list, how many were asked at each team's call."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    set_num_threads(3)
    asked: list[int] = []

    def recorded(threads: int) -> Any:
        found = _team.team_of(threads)
        if found is not None:
            asked.append(threads)
        return found

    monkeypatch.setattr(_threads, "team_of", recorded)
    if _team.team_of(3) is None:
        pytest.skip("this PyTorch does not run on an OpenMP with GNU's entry")
    yield asked
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_the_same_bits_for_any_number_of_threads(threads: int) -> None:
    set_num_threads(1)
    expected = _all(CALL)
    set_num_threads(threads)
    assert get_num_threads() == threads
    assert same(_all(CALL), expected)


def test_several_callers_at_once() -> None:
    expected = _all(CALL)
    set_num_threads(4)
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: _all(CALL), range(12)))
    assert all(same(each, expected) for each in found)


def test_the_same_bits_by_the_threads_of_pytorch(team: list[int]) -> None:
    found = _all(LARGE)
    assert set(team) == {3}
    set_num_threads(1)
    assert same(_all(LARGE), found)
    assert set(team) == {3}


def test_a_short_call_does_not_wait_for_the_threads_of_pytorch(team: list[int]) -> None:
    _all(CALL)
    assert not team


def test_no_more_threads_than_pytorch_has_are_taken_from_it(team: list[int]) -> None:
    set_num_threads(4)
    found = _all(LARGE)
    assert not team
    set_num_threads(1)
    assert same(_all(LARGE), found)


def test_several_callers_of_the_threads_of_pytorch(team: list[int]) -> None:
    expected = _all(LARGE)
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: _all(LARGE), range(12)))
    assert all(same(each, expected) for each in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_the_threads_of_its_parent(team: list[int]) -> None:
    expected = _all(LARGE)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # rather than for ever
        os._exit(0 if _team.team_of(3) is None and same(_all(LARGE), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_forked_after_use_has_threads_of_its_own() -> None:
    set_num_threads(2)
    expected = _all(CALL)
    child = os.fork()
    if child == 0:
        os._exit(0 if same(_all(CALL), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_no_child_is_forked_while_a_thread_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for a lock that nobody in it holds."""
    entered, done = threading.Event(), threading.Event()

    def slow(body: Callable[..., None], dtype: str) -> Any:
        entered.set()
        time.sleep(0.3)
        done.set()
        return load(body, dtype)

    load = _jit._loaded
    monkeypatch.setattr(_jit, "_loaded", slow)
    monkeypatch.setattr(_jit, "_kernels", {})
    caller = threading.Thread(target=_all, args=(CALL,))
    caller.start()
    assert entered.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # rather than for ever
        os._exit(0 if done.is_set() and len(_all(CALL)) > 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    caller.join()


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_number_of_threads_that_is_none(count: Any) -> None:
    with pytest.raises(ArgumentError, match="`count`"):
        set_num_threads(count)
