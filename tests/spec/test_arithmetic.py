"""An `Arithmetic` holds facts: words, whole lengths, and numbers of roundings that leave digits."""

import re
from typing import Any

import numpy as np
import pytest

from ssm_spec import REFERENCES, Arithmetic, DomainError

from .sample_calls import sample_calls


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"chunk": "64"}, "`chunk` must be an integer in 1..1024; got '64'"),
        ({"chunk": 64.5}, "`chunk` must be an integer in 1..1024; got 64.5"),
        ({"chunk": True}, "`chunk` must be an integer in 1..1024; got True"),
        ({"chunk": 0}, "`chunk` must be an integer in 1..1024; got 0"),
        ({"chunk": 1025}, "`chunk` must be an integer in 1..1024; got 1025"),
        ({"fold_depth": 0}, "`fold_depth` must be an integer in 1..2147483648; got 0"),
        ({"fold_depth": "a"}, "`fold_depth` must be an integer in 1..2147483648; got 'a'"),
        ({"fold_depth": 10**400}, "`fold_depth` must be an integer in 1..2147483648; got 1000"),
        ({"k_exp": float("nan")}, "`k_exp` must be a number in 0..16384; got nan"),
        ({"k_log": float("inf")}, "`k_log` must be a number in 0..16384; got inf"),
        ({"k_div": -1}, "`k_div` must be a number in 0..16384; got -1"),
        ({"k_scale": "3"}, "`k_scale` must be a number in 0..16384; got '3'"),
        ({"k_exp": 1e30}, "`k_exp` must be a number in 0..16384; got 1e+30"),
        ({"k_div": np.float64(16384.5)}, "`k_div` must be a number in 0..16384; got np.float64(16384.5)"),
        ({"k_scale": 10**400}, "`k_scale` must be a number in 0..16384; got 1000"),
        ({"io": "float64"}, "`io` must be at most as wide as `compute`, float32; got 'float64'"),
        ({"evaluation": np.array(["fft", "scan"])}, "`evaluation` must be one of .*; got array"),
        ({"softplus": None}, "`softplus` must be one of .*; got None"),
    ],
)
def test_what_is_no_fact_is_refused_by_name(facts: dict[str, Any], message: str) -> None:
    """With a k that is NaN, or 1e30, anything would pass."""
    pattern = message if ".*" in message else re.escape(message)
    with pytest.raises(DomainError, match=f"^{pattern}"):
        Arithmetic(**({"evaluation": "right_fold"} if "fold_depth" in facts else {}), **facts)


def test_numbers_of_numpy_are_numbers() -> None:
    given = Arithmetic(evaluation="chunk", chunk=np.int64(64), k_exp=np.float32(3))
    assert (given.chunk, given.k_exp) == (64, 3)
    assert Arithmetic(evaluation="right_fold", fold_depth=np.int32(7)).fold_depth == 7


def test_the_coarsest_functions_that_a_standard_knows_leave_digits() -> None:
    """OpenCL's half_exp, half_log and half_divide may be wrong by 8192 ulp."""
    for name in ("k_exp", "k_log", "k_div", "k_scale"):
        coarse = Arithmetic(**{name: 2 * 8192})
        assert getattr(coarse, name) * coarse.u <= 2.0**-10


@pytest.mark.parametrize("op", ["selective_scan", "ssm_recurrence", "ssm_associative_scan", "mamba3_siso"])
def test_a_fold_is_no_deeper_than_its_tree(op: str) -> None:
    """Over five steps and what is before them there are five nodes: more would widen the bounds at will."""
    reference, call = REFERENCES[op], sample_calls(L=5)[op]
    if op == "ssm_associative_scan":
        call = call | {"a": 0.5 * call["x"]}
    deep, whole, flat = (
        reference.bounds(arithmetic=Arithmetic(evaluation="right_fold", fold_depth=depth), **call)
        for depth in (2**31, 5, 2)
    )
    for name in whole:
        np.testing.assert_array_equal(deep[name].bound, whole[name].bound)
    assert any((flat[name].bound < whole[name].bound).any() for name in whole)
