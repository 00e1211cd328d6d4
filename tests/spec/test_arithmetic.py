"""An `Arithmetic` holds facts: words of its vocabulary, whole lengths, finite numbers of roundings."""

import re
from typing import Any

import numpy as np
import pytest

from ssm_spec import Arithmetic, DomainError


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
        ({"k_exp": float("nan")}, "`k_exp` must be a finite number, at least 0; got nan"),
        ({"k_log": float("inf")}, "`k_log` must be a finite number, at least 0; got inf"),
        ({"k_div": -1}, "`k_div` must be a finite number, at least 0; got -1"),
        ({"k_scale": "3"}, "`k_scale` must be a finite number, at least 0; got '3'"),
        ({"io": "float64"}, "`io` must be at most as wide as `compute`, float32; got 'float64'"),
        ({"evaluation": np.array(["fft", "scan"])}, "`evaluation` must be one of .*; got array"),
        ({"softplus": None}, "`softplus` must be one of .*; got None"),
    ],
)
def test_what_is_no_fact_is_refused_by_name(facts: dict[str, Any], message: str) -> None:
    """A k that is NaN would make every bound one that anything passes."""
    pattern = message if ".*" in message else re.escape(message)
    with pytest.raises(DomainError, match=f"^{pattern}"):
        Arithmetic(**({"evaluation": "right_fold"} if "fold_depth" in facts else {}), **facts)


def test_numbers_of_numpy_are_numbers() -> None:
    given = Arithmetic(evaluation="chunk", chunk=np.int64(64), k_exp=np.float32(3))
    assert (given.chunk, given.k_exp) == (64, 3)
    assert Arithmetic(evaluation="right_fold", fold_depth=np.int32(7)).fold_depth == 7
