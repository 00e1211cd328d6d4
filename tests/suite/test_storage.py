"""Rounding into a dtype and the reals that round to a stored number."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_conformance.question import stored
from ssm_conformance.storage import preimage, store, widen

NARROW = ("bfloat16", "float16", "float32")
PRECISION = {"bfloat16": 8, "float16": 11, "float32": 24}
LOWEST = {"bfloat16": -133, "float16": -24, "float32": -149}  # exponent of the smallest subnormal
HIGHEST = {"bfloat16": 128, "float16": 16, "float32": 128}

reals = st.floats(allow_nan=False, allow_infinity=False)


def nearest_even(x: float, dtype: str) -> float:
    """Round with rational arithmetic, straight from the definition."""
    if x == 0:
        return x
    exact = Fraction(x)
    _, exponent = math.frexp(x)
    unit = Fraction(2) ** max(exponent - PRECISION[dtype], LOWEST[dtype])
    rounded = round(exact / unit) * unit
    if abs(rounded) >= Fraction(2) ** HIGHEST[dtype]:
        return math.copysign(math.inf, x)
    return float(rounded)


@pytest.mark.parametrize("dtype", NARROW)
@given(x=reals)
def test_store_rounds_to_nearest_even(dtype: str, x: float) -> None:
    assert widen(store(np.array([x]), dtype), dtype)[0] == nearest_even(x, dtype)


def test_bfloat16_is_rounded_once_and_not_through_float32() -> None:
    x = np.array([1 + 2.0**-8 + 2.0**-40])  # float32 would round it to the tie 1 + 2^-8
    assert widen(store(x, "bfloat16"), "bfloat16")[0] == 1 + 2.0**-7


@pytest.mark.parametrize("dtype", NARROW)
@given(x=reals)
def test_preimage_contains_what_was_stored(dtype: str, x: float) -> None:
    lower, upper = preimage(store(np.array([x]), dtype), dtype)
    assert lower[0] <= x <= upper[0]


@pytest.mark.parametrize("dtype", NARROW)
@given(x=st.floats(min_value=-1e38, max_value=1e38, allow_subnormal=True))
def test_preimage_is_no_wider_than_it_must_be(dtype: str, x: float) -> None:
    stored = store(np.array([x]), dtype)
    lower, upper = preimage(stored, dtype)
    value = widen(stored, dtype)
    for beyond in (np.nextafter(lower, -np.inf), np.nextafter(upper, np.inf)):
        assert np.isinf(beyond) or widen(store(beyond, dtype), dtype) != value


@pytest.mark.parametrize("dtype", NARROW)
def test_infinity_stands_for_everything_beyond_the_threshold(dtype: str) -> None:
    threshold = (2 - 2.0 ** -PRECISION[dtype]) * 2.0 ** (HIGHEST[dtype] - 1)
    lower, upper = preimage(store(np.array([np.inf, -np.inf]), dtype), dtype)
    assert lower[0] == threshold
    assert upper[0] == np.inf
    assert (lower[1], upper[1]) == (-np.inf, -threshold)


@pytest.mark.parametrize("dtype", NARROW)
def test_nan_has_no_preimage(dtype: str) -> None:
    lower, upper = preimage(store(np.array([np.nan]), dtype), dtype)
    assert np.isnan(lower[0])
    assert np.isnan(upper[0])


def test_complex_and_double_pass_through() -> None:
    x = np.array([1 + 2j, -0.0 + 1e-300j])
    assert np.array_equal(widen(store(x, "complex128"), "complex128"), x)
    assert widen(store(x, "complex64"), "complex64").dtype == np.complex128


@pytest.mark.parametrize("dtype", NARROW)
def test_a_number_that_stands_alone_has_no_axis(dtype: str) -> None:
    alone = store(np.array(1.5), dtype)
    assert alone.shape == widen(alone, dtype).shape == ()
    assert [end.shape for end in preimage(alone, dtype)] == [(), ()]


def test_a_bfloat16_of_numpys_that_stands_alone_has_no_axis() -> None:
    given = np.array(1.5, pytest.importorskip("ml_dtypes").bfloat16)
    assert (stored(given)[0].shape, stored(given)[1]) == ((), "bfloat16")


def test_pytorchs_lazy_signs_are_read_as_they_are_meant() -> None:
    torch = pytest.importorskip("torch")
    mirrored = torch.tensor([1 + 2j]).conj()
    assert stored(mirrored)[0].tolist() == [1 - 2j]
    assert stored(mirrored.imag)[0].tolist() == [-2]
