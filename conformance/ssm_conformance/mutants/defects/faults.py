"""Mutants that take their process with them, or never answer: only a worker may call them."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.mutant import Mutant


class _Crashes(Honest):
    def __call__(self, **inputs: Any) -> Any:
        return ctypes.string_at(0)


class _Aborts(Honest):
    def vjp(self, *arguments: Any, **inputs: Any) -> dict[str, Any]:
        os.abort()


class _Hangs(Honest):
    def __call__(self, **inputs: Any) -> Any:
        while True:
            time.sleep(1.0)


class _Leaves(Honest):
    def __call__(self, **inputs: Any) -> Any:
        os._exit(0)


class _EatsMemory(Honest):
    def __call__(self, **inputs: Any) -> Any:
        held = []
        while True:
            held.append(np.ones(2**22))
            time.sleep(0.01)


def _fault(name: str, summary: str, rejected_by: str, kernel: Honest, **more: Any) -> Mutant:
    return Mutant(name, None, summary, rejected_by, kernel, only=("float32",), isolated=True, **more)


FAULTS: Final = (
    _fault("crash", "The forward pass reads address zero.", "value/typical", _Crashes()),
    _fault("abort", "The backward pass aborts the process.", "gradient/typical", _Aborts()),
    _fault("hang", "The forward pass never ends.", "value/typical", _Hangs(), patience=3.0),
    _fault(
        "exit", "The forward pass ends the process, with a status of success.", "value/typical", _Leaves()
    ),
    _fault("out-of-memory", "The forward pass allocates without end.", "value/typical", _EatsMemory()),
)
"""Defects that no try statement catches."""
