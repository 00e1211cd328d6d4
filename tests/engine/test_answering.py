"""What is answered of a plugin and of a case, asked of the functions themselves: no process is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ssm_backends import Backend, NumpyArrays, Op
from ssm_conformance.engine import answering
from ssm_conformance.engine.target import module_target
from ssm_numpy import causal_convolution

from .conftest import RIGHT, Write


class Other(NumpyArrays):
    name = "other"


class InError(Other):
    def synchronize(self) -> None:
        raise OSError("illegal address")


def convolution(misbehave: Callable[[], Any], arrays: Any) -> Backend:
    def convolve(u: Any, K: Any) -> Any:
        misbehave()
        return causal_convolution(u, K)

    ops = {"causal_convolution": Op(convolve, dtypes=("float32",))}
    return Backend(name="x", version="0", arrays=arrays, ops=ops)


def raising(error: BaseException) -> Callable[[], Any]:
    def misbehave() -> None:
        raise error

    return misbehave


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(3), "the backend called sys.exit(3)"),
        (KeyboardInterrupt(), "the backend raised KeyboardInterrupt, which is no Exception"),
    ],
)
def test_what_is_meant_to_end_a_process_costs_the_worker(error: BaseException, message: str) -> None:
    verdict, retire = answering.judge(RIGHT, convolution(raising(error), NumpyArrays()), {}, alone=True)
    assert (verdict.status, verdict.message, retire) == ("fail", message, message)
    assert verdict.details["cause"] == "exit"
    assert verdict.seconds > 0


def test_an_interrupt_is_the_user_s_where_the_process_is() -> None:
    with pytest.raises(KeyboardInterrupt):
        answering.judge(RIGHT, convolution(raising(KeyboardInterrupt()), NumpyArrays()), {})


@pytest.mark.parametrize("fault", [lambda: None, raising(SystemExit(3))])
def test_a_device_in_error_is_told_of_any_library_beside_what_else_is_wrong(fault: Callable[[], Any]) -> None:
    before, _ = answering.judge(RIGHT, convolution(fault, (NumpyArrays(), Other())), {}, alone=True)
    verdict, retire = answering.judge(RIGHT, convolution(fault, (NumpyArrays(), InError())), {}, alone=True)
    broken = "device cpu is in error: OSError: illegal address"
    assert verdict.status == "fail"
    assert verdict.message.startswith(before.message)
    assert verdict.message.endswith(f"; {broken}")
    assert verdict.details["cause"] == "device"
    assert retire == (before.message or broken)


def test_a_device_is_told_once_and_its_memory_is_limited(
    write_plugin: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = (
        "class Other(NumpyArrays):\n        name = 'other'\n"
        "    return Backend(name='two', version='0', arrays=(NumpyArrays(), Other()), ops={})"
    )
    limited: list[Any] = []
    monkeypatch.setattr(answering, "limit_gpu_memory", lambda *of: limited.append(of))
    load = module_target(write_plugin("two", hook=hook)).to_json()
    backend, answer = answering.load({"load": load, "path": sys.path, "gpu_fraction": 0.25})
    assert backend is not None
    assert answer["devices"] == ["cpu"]
    assert limited == [(["cpu"], 0.25)]


def test_the_memory_of_gpus_is_limited_where_pytorch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    limited: list[Any] = []
    cuda = SimpleNamespace(set_per_process_memory_fraction=lambda *of: limited.append(of))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    answering.limit_gpu_memory(["cpu", "cuda:1"], 0.5)
    assert limited == [(0.5, "cuda:1")]
    monkeypatch.delitem(sys.modules, "torch")
    answering.limit_gpu_memory(["cuda:1"], 0.5)
    assert limited == [(0.5, "cuda:1")]


def test_a_fault_of_the_suite_is_an_error_of_its_case_and_costs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ssm_conformance.checks.perform", lambda *_: 1 / 0)
    verdict, retire = answering.judge(RIGHT, convolution(lambda: None, NumpyArrays()), {}, alone=True)
    assert (verdict.status, retire) == ("error", "")
    assert verdict.message.startswith("the suite could not judge it: ZeroDivisionError: division by zero (")
