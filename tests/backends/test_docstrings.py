"""help() of the front door and of the built-in packages says what is taken, and what comes back."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import ssm_backends
import ssm_cpu
import ssm_numpy
import ssm_spec
import ssm_torch
from ssm_backends import OPERATORS, mamba_ssm

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


@pytest.mark.parametrize(
    "line",
    [
        "u : (b, d, l), bfloat16 or float16 or float32 or float64",
        "B : (d, n), float32 or float64; (b, n, l) or (b, g_B, n, l), dtype of u or float32, "
        "or complex beside a complex A",
        "initial_state : (r, d, n), float32 or float64, complex where A is, or None",
        "cu_seqlens : (r+1,), int32, or None",
        "delta_softplus : bool",
        "b_discretization : 'euler' or 'zoh'",
        "y : (b, d, l), dtype of u",
        "last_state : (r, d, n), float32 or float64, complex where A is, if return_last_state",
    ],
)
def test_a_docstring_says_shapes_and_dtypes(line: str) -> None:
    assert line in ssm_backends.selective_scan.__doc__.splitlines()


@pytest.mark.parametrize(
    ("op", "line"),
    [
        ("ssm_recurrence", "u : (b, *s, m, l), bfloat16 or float16 or float32 or float64"),
        ("discretize_bilinear", "alpha : float, from 0 to 1"),
        ("hippo_legt", "theta : float, positive and finite"),
        ("hippo_fout", "n : int, at least 2"),
        ("hippo_fout", "    `n`: it must be even: a cosine and a sine a frequency."),
        ("ssd", "dt_limit : (float, float)"),
        ("s5", "b: batch; h: channels; l: length; p: modes."),
    ],
)
def test_a_docstring_says_ranges_rules_and_letters(op: str, line: str) -> None:
    assert line in getattr(ssm_backends, op).__doc__.splitlines()


@pytest.mark.parametrize("op", OPERATORS)
def test_a_docstring_explains_every_letter_and_names_the_oracle_s_source(op: str) -> None:
    operator, text = OPERATORS[op], getattr(ssm_backends, op).__doc__
    assert text.endswith(f"\n{operator.source}")
    assert operator.source == ssm_spec.REFERENCES[op].source
    shapes = re.findall(r"\(([^()]*)\), .*(?:float|int|dtype of)", text)
    letters = {symbol.partition("+")[0] for shape in shapes for symbol in re.split(r",\s*", shape)}
    explained = re.findall(r"(?:^|; )(\*?\w+): ", text.split("\n\n")[1])
    assert letters - {""} <= set(explained) | {"1"}
