"""Faulty backends, written to a folder on the path, each behaves but for one thing; and the command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ssm_conformance.__main__ import main

GOOD = """
import os, signal, subprocess, sys, time
import numpy as np
from ssm_backends import Backend, NumpyArrays, Op, hookimpl

def misbehave(u):
    {fault}

def causal_convolution(u, K):
    if u.dtype == np.float64:
        misbehave(u)
    y = np.zeros_like(u)
    for j in range(min(K.shape[-1], u.shape[-1])):
        y[..., j:] += K[:, j, None] * u[..., : u.shape[-1] - j]
    return y

class Arrays(NumpyArrays):
    def synchronize(self):
        {device}

@hookimpl
def ssm_backend(device):
    {hook}
    return Backend(
        name="{name}", version="0", arrays=Arrays(device),
        ops={{"causal_convolution": Op(causal_convolution, dtypes=("float32", "float64"))}},
        withheld={{"hippo_legs": "it awaits a better compiler"}},
    )
"""
BAD = "causal_convolution/value/float64/typical"
"""The case on which a faulty backend misbehaves."""
RIGHT = "causal_convolution/value/float32/typical"
"""One on which it does not."""

Write = Callable[..., str]


@pytest.fixture
def write_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a plugin module with a fault and put it on the path; its name."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), inherited))))
    names: list[str] = []

    def write(
        name: str, fault: str = "pass", *, device: str = "pass", top: str = "", hook: str = "pass"
    ) -> str:
        text = top + GOOD.format(fault=fault, device=device, name=name, hook=hook)
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        names.append(name)
        return name

    yield write
    for name in names:  # an in-process run imports it here
        sys.modules.pop(name, None)


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def ssm_spec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in this process."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["ssm-spec", *map(str, arguments)])
        try:
            status = main()
        finally:
            signal.signal(signal.SIGTERM, before)
        return Said(status, *capsys.readouterr())

    return run
