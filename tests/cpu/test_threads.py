"""The same bits for any number of threads, from several callers at once, and after a fork."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from ssm_backends import ArgumentError
from ssm_cpu import (
    _call,
    _helpers,
    _jit,
    _team,
    _threads,
    get_num_threads,
    selective_scan,
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


SHORT = problem(b=2, d=100, l=100, n=6)
"""States and steps too few for PyTorch's threads, forward and backward."""
CALL = problem(b=2, d=150, l=260, n=16)
"""Enough for PyTorch's threads, and for helpers."""


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """PyTorch has three threads, and so has a call; of each call to them, how many threads came."""
    torch = pytest.importorskip("torch")
    team, counts = _team._entry(), []
    if team is None:
        pytest.skip("this PyTorch does not run on an OpenMP with GNU's entry")

    def counted(kernel: Any, table: int, threads: int, flags: int) -> None:
        team(kernel, table, threads, flags)
        counts.append(ctypes.c_int64.from_address(table + 8 * _call.ARRIVED).value)

    monkeypatch.setattr(_team, "_entry", lambda: counted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    set_num_threads(3)
    yield counts
    torch.set_num_threads(before)


def _tensors(call: dict[str, Any]) -> list[np.ndarray]:
    """y and every gradient, by PyTorch."""
    import torch

    given = {
        name: torch.tensor(x, requires_grad=True) for name, x in call.items() if isinstance(x, np.ndarray)
    }
    y = selective_scan(**call | given)
    y.sum().backward()
    return [y.detach().numpy(), *(x.grad.numpy() for x in given.values())]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch's OpenMP may have no such entry")
def test_the_threads_of_pytorch_are_found() -> None:
    torch = pytest.importorskip("torch")
    assert "OpenMP" not in torch.__config__.parallel_info() or _team._entry() is not None


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_bits_by_the_threads_of_pytorch(threads: int, arrived: list[int]) -> None:
    set_num_threads(threads)
    found = _tensors(CALL)
    assert len(arrived) >= 2, "forward and backward"
    assert set(arrived) == {3}, "those that are one too many come too, so that none ends"
    asked = len(arrived)
    set_num_threads(1)
    assert same(_tensors(CALL), found)
    assert len(arrived) == asked


def test_threads_that_are_too_many_take_no_task(arrived: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    taken, counted = [], _team._entry()

    def late(kernel: Any, table: int, threads: int, flags: int) -> None:
        came, places, tasks = (
            ctypes.c_int64.from_address(table + 8 * word)
            for word in (_call.ARRIVED, _call.PLACES, _call.COUNTER)
        )
        came.value = places.value
        counted(kernel, table, threads, flags)
        taken.append(tasks.value)
        came.value = 0
        counted(kernel, table, threads, flags)

    monkeypatch.setattr(_team, "_entry", lambda: late)
    _tensors(CALL)
    assert len(taken) >= 2
    assert not any(taken)


def test_neither_short_calls_nor_arrays_wait_for_the_threads_of_pytorch(arrived: list[int]) -> None:
    _tensors(SHORT)
    _all(CALL)
    assert not arrived


def test_no_more_threads_than_pytorch_has_are_taken_from_it(arrived: list[int]) -> None:
    expected = _tensors(CALL)
    arrived.clear()
    set_num_threads(4)
    assert same(_tensors(CALL), expected)
    assert not arrived


def test_several_callers_of_the_threads_of_pytorch(arrived: list[int]) -> None:
    expected = _tensors(CALL)
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: _tensors(CALL), range(12)))
    assert all(same(each, expected) for each in found)


def test_where_pytorch_has_no_such_threads(arrived: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _tensors(CALL)
    monkeypatch.setattr(_team, "_entry", lambda: None)
    assert same(_tensors(CALL), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_the_threads_of_its_parent(arrived: list[int]) -> None:
    import torch

    call = {name: torch.tensor(x) if isinstance(x, np.ndarray) else x for name, x in CALL.items()}
    expected = selective_scan(**call).numpy()
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # rather than for ever
        os._exit(0 if same([selective_scan(**call).numpy()], [expected]) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_helpers_of_our_own_work_beside_the_caller() -> None:
    for threads in (2, 4, 4, 2):  # as many as are asked for
        together = threading.Barrier(threads)
        _threads.share(lambda table, all_=together: all_.wait(10), 0, threads, at_once=False)


def test_a_thread_that_cannot_be_started_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    tables: list[int] = []
    monkeypatch.setattr(_helpers, "_parts", SimpleQueue())
    monkeypatch.setattr(_helpers, "_helpers", 0)
    with monkeypatch.context() as short:
        short.setattr(_helpers, "start_new_thread", refuse)
        _threads.share(lambda table: tables.append(table), 1, 2, at_once=False)
        assert _helpers._parts.empty(), "nothing is asked of helpers that are none"
    together = threading.Barrier(2)
    _threads.share(lambda table: together.wait(10), 2, 2, at_once=False)
    assert tables == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_forked_after_use_has_threads_of_its_own() -> None:
    set_num_threads(2)
    expected = _all(CALL)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # rather than for ever
        together = threading.Barrier(2)
        with suppress(threading.BrokenBarrierError):  # which the exit status tells
            _threads.share(lambda table: together.wait(10), 0, 2, at_once=False)
        os._exit(0 if not together.broken and same(_all(CALL), expected) else 1)
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_an_interrupt_at_any_place_leaves_no_helper_at_work() -> None:
    """Nor a lock for which the next call would wait."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # rather than for ever
        os._exit(0 if _interrupted_everywhere() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _interrupted_everywhere() -> bool:
    """Whether calls that are interrupted, each an operation later than the last, end with their threads."""
    ended, late = set(), []

    def kernel(table: int) -> None:
        time.sleep(0.002)
        if table in ended:
            late.append(table)

    def interrupted_at(place: int) -> bool:
        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal place
            if frame.f_code is kernel.__code__:
                return None
            frame.f_trace_opcodes = True
            place -= event == "opcode"
            if place < 0:
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            _threads.share(kernel, call, 3, at_once=False)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    call = 0
    while interrupted_at(call):
        ended.add(call)
        call += 1
        _threads.share(kernel, -1, 3, at_once=False)
    return call > 50 and not late


def test_a_call_has_as_many_threads_as_pytorch_or_else_as_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(before + 2)
    try:
        assert get_num_threads() == before + 2
        for one in (1, np.int64(1)):
            set_num_threads(one)
            assert (get_num_threads(), type(get_num_threads())) == (1, int)
            set_num_threads(None)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(_threads, "imported_torch", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 4, 5}, raising=False)
    assert get_num_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert get_num_threads() == 9


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to a thread here")
@pytest.mark.parametrize("interrupts", [1, 3])
def test_an_interrupt_waits_for_a_helper_however_often_it_comes(interrupts: int) -> None:
    """It would write into memory that is freed."""
    together, ended = threading.Barrier(2), list[int]()

    def kernel(table: int) -> None:
        together.wait(10)
        if threading.current_thread() is not threading.main_thread():
            for _ in range(interrupts):
                time.sleep(0.1)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.2)
            ended.append(table)

    with pytest.raises(KeyboardInterrupt):
        _threads.share(kernel, 7, 2, at_once=False)
    assert ended == [7]


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_number_of_threads_that_is_none(count: Any) -> None:
    with pytest.raises(ArgumentError, match="`count`"):
        set_num_threads(count)
