"""The oracle's front door: every public name is there, the table is whole, and it opens fast."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import ssm_spec
from ssm_spec._validate import Dimensions, as_array, as_index_array


def test_every_public_name_exists_and_is_listed_once() -> None:
    assert len(set(ssm_spec.__all__)) == len(ssm_spec.__all__)
    for name in ssm_spec.__all__:
        assert getattr(ssm_spec, name) is not None


@pytest.mark.parametrize("name", ssm_spec.REFERENCES)
def test_a_row_of_the_table_names_real_arguments_and_public_functions(name: str) -> None:
    row = ssm_spec.REFERENCES[name]
    assert row.name == name
    assert set(row.differentiable) <= set(inspect.signature(row.value).parameters)
    assert (row.vjp is None) == (row.vjp_bounds is None) == (not row.differentiable)
    assert getattr(ssm_spec, name) is row.value
    assert getattr(ssm_spec, f"{name}_bounds") is row.bounds
    assert row.equation
    assert row.source


NAMES = set(ssm_spec.REFERENCES)
KINDS = ("value", "vjp", "bounds", "vjp_bounds")
DOCUMENTED = [
    (name, kind)
    for name, row in ssm_spec.REFERENCES.items()
    for kind in KINDS
    if getattr(row, kind) is not None
]


@pytest.mark.parametrize(("name", "kind"), DOCUMENTED)
def test_a_docstring_says_arguments_results_errors_and_source(name: str, kind: str) -> None:
    """An argument is named by the function itself, or by the one whose arguments it says it takes."""
    row = ssm_spec.REFERENCES[name]
    function = getattr(row, kind)
    text = function.__doc__
    for title in ("Returns", "Raises", "References"):
        assert text.count(f"\n{title}\n{'-' * len(title)}\n") == 1, title
    assert row.source in text
    assert row.equation in text
    referred = [
        ssm_spec.REFERENCES[other].value.__doc__ for other in set(re.findall(r"`(\w+)`", text)) & NAMES
    ]
    said = "\n".join([text, *referred])
    assert [p for p in inspect.signature(function).parameters if not re.search(rf"\b{p}\b", said)] == []


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("compute", "float16"),
        ("io", "int8"),
        ("evaluation", "chunks"),
        ("softplus", "naiv"),
        ("decayed_state", "none"),
        ("saved_gate", "float32"),
        ("operands", "float8"),
        ("chunk", 0),
    ],
)
def test_a_fact_about_arithmetic_is_one_of_its_words(field: str, given: object) -> None:
    """A misspelt fact would else pass for the default."""
    with pytest.raises(ssm_spec.DomainError, match=f"`{field}` must .*; got {given!r}"):
        ssm_spec.Arithmetic(**{field: given})


@pytest.mark.parametrize("name", ssm_spec.REFERENCES)
def test_a_call_without_arguments_names_the_function(name: str) -> None:
    row = ssm_spec.REFERENCES[name]
    for function in (row.value, row.vjp, row.bounds, row.vjp_bounds):
        if function is not None:
            with pytest.raises(TypeError, match=rf"^{function.__name__}\(\)"):
                function()


def test_importing_loads_no_framework_and_no_heavy_part_of_scipy() -> None:
    code = "import ssm_spec, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(loaded.stdout.split())
    assert "ssm_spec" in modules
    assert not modules & {"torch", "triton", "ssm_backends", "scipy.linalg", "scipy.signal", "flint"}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_numbers_keep_their_exact_values(dtype: str) -> None:
    given = np.array([1 / 3, -0.0, 1e-5], dtype=dtype)
    read = as_array("x", given)
    assert read.dtype == (np.complex128 if "complex" in dtype else np.float64)
    np.testing.assert_array_equal(read, given)


@pytest.mark.parametrize("bad", [[1, 2], [True], ["a"], [None], np.zeros(2, np.longdouble)])
def test_what_is_not_a_floating_point_number_of_64_bits_is_refused(bad: object) -> None:
    with pytest.raises(ssm_spec.DTypeError, match="`x` must hold floating-point numbers"):
        as_array("x", bad)


@pytest.mark.parametrize("read", [as_array, as_index_array])
def test_a_masked_array_is_refused(read: Callable[[str, object], object]) -> None:
    with pytest.raises(ssm_spec.DTypeError, match="`x` must be an array without a mask; got MaskedArray"):
        read("x", np.ma.masked_array([1.0, 2.0], [False, True]))


def test_indices_are_integers() -> None:
    assert as_index_array("i", np.array([1, 2], np.uint8)).dtype == np.int64
    with pytest.raises(ssm_spec.DTypeError, match="`i` must hold integers; got bool"):
        as_index_array("i", [True])


def test_a_letter_keeps_the_size_of_the_argument_that_bound_it() -> None:
    dims = Dimensions()
    dims.match("u", np.zeros((2, 4, 7)), "b d l")
    dims.match("A", np.zeros((4, 3)), "d n")
    dims.match("B", np.zeros((2, 2, 3)), "b g n", free="g")
    dims.match("C", np.zeros((2, 4, 3)), "b g n", free="g")
    assert (dims["b"], dims["d"], dims["l"], dims["n"]) == (2, 4, 7, 3)
    with pytest.raises(
        ssm_spec.ShapeError, match=r"`E` must have shape \(d, 2\) with d = 4, from `u`; got \(4, 3\)"
    ):
        dims.match("E", np.zeros((4, 3)), "d 2")
    with pytest.raises(ssm_spec.ShapeError, match=r"`F` must have shape \(d,\) or \(d, n\); got \(\)"):
        dims.match("F", np.zeros(()), "d", "d n")
