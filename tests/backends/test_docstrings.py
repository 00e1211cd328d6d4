"""help() of what the built-in packages export says what each argument is, and what comes back."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import ssm_cpu
import ssm_numpy
import ssm_torch
from ssm_backends import mamba_ssm

FUNCTIONS = [
    pytest.param(getattr(package, name), id=f"{package.__name__}.{name}")
    for package in (ssm_numpy, ssm_torch, ssm_cpu, mamba_ssm)
    for name in package.__all__
    if inspect.isfunction(getattr(package, name))
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_argument_is_named_or_said_to_be_another_function_s(function: Callable[..., Any]) -> None:
    text = inspect.getdoc(function) or ""
    _, _, said = text.partition("\nParameters\n----------\n")
    lacking = [name for name in inspect.signature(function).parameters if not re.search(rf"\b{name}\b", said)]
    assert not lacking or "Arguments, result and errors are those of that function." in text


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_comes_back_is_said(function: Callable[..., Any]) -> None:
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    if signature.return_annotation not in ("None", "Backend", "int"):
        assert "\nReturns\n-------\n" in text or "Arguments, result and errors are those" in text
