"""PyTorch where it is imported already, and only then."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest

import ssm_backends
from ssm_backends import imported


def test_a_module_that_another_thread_imports_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    u, A, B = np.ones((1, 2, 3)), -np.ones((2, 4)), np.ones((1, 4, 3))
    ssm_backends.explain("selective_scan", u=u, delta=u, A=A, B=B, C=B)  # who asks for PyTorch has it
    half = ModuleType("torch")
    half.__spec__ = ModuleSpec("torch", None)
    half.__spec__._initializing = True  # type: ignore[attr-defined] # as Python's import has it meanwhile
    monkeypatch.setitem(sys.modules, "torch", half)
    monkeypatch.setattr(imported, "_TORCH", None)
    assert imported.imported_torch() is None
    assert ssm_backends.selective_scan(u, u, A, B, B).shape == u.shape
    half.__spec__._initializing = False  # type: ignore[attr-defined] # and when it is done
    assert imported.imported_torch() is half
