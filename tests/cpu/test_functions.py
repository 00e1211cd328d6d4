"""The inlined elementary functions, over the float32 numbers in their range, against float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ssm_cpu._call import ARRIVED, PLACES, ROOMS, WORDS, U
from ssm_cpu._emit import Function
from ssm_cpu._functions import circle_product, exp, exp2_scale, exp_product, sigmoid, softplus, turn_scale
from ssm_cpu._jit import CACHE_VARIABLE, compiled
from ssm_cpu._plan import address
from ssm_cpu._values import LANES, Int, Lanes

from .problems import without_avx512

COUNT = 1 << 16
UNIT = 2.0**-24


@pytest.fixture(autouse=True, params=["this processor", "without AVX-512"])
def _compiled_anew(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept on disk is known by the package's sources, which these kernels are not among."""
    if request.param == "without AVX-512":
        without_avx512(monkeypatch)
    monkeypatch.setenv(CACHE_VARIABLE, "")


def _elementwise(function: Callable[[Lanes], Lanes], f: Function, table: Int) -> None:
    """Replace u, COUNT numbers, by the function of it."""
    with f.loop(COUNT // LANES) as i:
        place = f.word(table, 8 * U * WORDS) + i * f.program.vector
        f.store(place, function(f.load(place)))


def plain_exp(f: Function, table: Int, scratch: Int) -> None:
    _elementwise(exp, f, table)


def plain_softplus(f: Function, table: Int, scratch: Int) -> None:
    _elementwise(softplus, f, table)


def plain_sigmoid(f: Function, table: Int, scratch: Int) -> None:
    _elementwise(sigmoid, f, table)


def product(f: Function, table: Int, scratch: Int) -> None:
    """exp(−37.3 x)."""
    _elementwise(lambda x: exp_product(x, *exp2_scale(f.constant(np.float32(-37.3)))), f, table)


def cosine(f: Function, table: Int, scratch: Int) -> None:
    """cos(37.3 x)."""
    _elementwise(lambda x: circle_product(x, *turn_scale(f.constant(np.float32(37.3)))).real, f, table)


def sine(f: Function, table: Int, scratch: Int) -> None:
    """sin(37.3 x)."""
    _elementwise(lambda x: circle_product(x, *turn_scale(f.constant(np.float32(37.3)))).imag, f, table)


def applied(kernel: Callable[..., None], x: np.ndarray, dtype: str = "float32") -> np.ndarray:
    """A kernel over numbers of any count."""
    padded = np.zeros(-(-x.size // COUNT) * COUNT, dtype=dtype)
    padded[: x.size] = x
    run, words = compiled(kernel, dtype), np.zeros(ROOMS, dtype=np.int64)
    for begin in range(0, padded.size, COUNT):
        words[[U * WORDS, ARRIVED, PLACES]] = address(padded[begin:]), 0, 1
        run(address(words))
    return padded[: x.size]


def floats(low: float, high: float, step: int = 251) -> np.ndarray:
    """Every 251st float32 between two of one sign, by bits."""
    ends = np.array([low, high], np.float32).view(np.uint32)
    return np.arange(min(ends), max(ends), step, dtype=np.uint32).view(np.float32)


@pytest.mark.parametrize("range_", [(-87.3, -1e-30), (1e-30, 88.7)])
def test_exp_is_far_within_the_three_ulps_of_the_bound(range_: tuple[float, float]) -> None:
    x = floats(*range_)
    exact = np.exp(x.astype(np.float64))
    assert np.max(np.abs(applied(plain_exp, x) - exact) / exact) <= 1.5 * UNIT


def test_a_large_product_costs_no_accuracy() -> None:
    x = floats(1e-6, 2.3)
    exact = np.exp(np.float64(np.float32(-37.3)) * x.astype(np.float64))
    assert np.max(np.abs(applied(product, x) - exact) / exact) <= 1.5 * UNIT


@pytest.mark.parametrize(("kernel", "exact"), [(cosine, np.cos), (sine, np.sin)])
def test_the_circle_is_within_an_ulp_of_one(kernel: Callable[..., None], exact: np.ufunc) -> None:
    x = floats(1e-6, 1e3)
    angle = np.float64(np.float32(37.3)) * x.astype(np.float64)
    assert np.max(np.abs(applied(kernel, x) - exact(angle))) <= 2 * UNIT


@pytest.mark.parametrize("range_", [(-87.0, -1e-30), (1e-30, 1e4)])
def test_softplus_and_sigmoid_are_relatively_accurate(range_: tuple[float, float]) -> None:
    x = floats(*range_)
    wide = x.astype(np.float64)
    for kernel, exact in (
        (plain_softplus, np.logaddexp(0, wide)),
        (plain_sigmoid, np.exp(-np.logaddexp(0, -wide))),
    ):
        assert np.max(np.abs(applied(kernel, x) - exact) / exact) <= 5 * UNIT  # the bound allows 10


def test_ends_of_the_range() -> None:
    x = np.array([-np.inf, -1e4, -88, 89, 1e4, np.inf, np.nan], np.float32)
    assert np.array_equal(applied(plain_exp, x), [0, 0, 0, np.inf, np.inf, np.inf, np.nan], equal_nan=True)
    assert np.array_equal(applied(plain_softplus, x)[[0, 4, 5, 6]], [0, 1e4, np.inf, np.nan], equal_nan=True)
    assert np.array_equal(applied(plain_sigmoid, x)[[0, 4, 5, 6]], [0, 1, 1, np.nan], equal_nan=True)


def test_ends_of_the_range_of_a_product() -> None:
    large = np.append(np.geomspace(3, 3e38, 1000), np.inf).astype(np.float32)
    assert (applied(product, -large) == np.inf).all()
    found = applied(product, large)
    assert not found.any()
    assert not np.signbit(found).any()


def test_a_nan_with_a_payload_stays_one() -> None:
    bits = np.arange(0x7F800001, 0x7F800001 + (1 << 16), dtype=np.uint32)
    for kernel in (plain_exp, plain_softplus, plain_sigmoid, product):
        assert np.isnan(applied(kernel, bits.view(np.float32))).all()


def test_double_precision() -> None:
    x = np.random.default_rng(0).uniform(-700, 700, COUNT)
    exact = np.exp(x.astype(np.longdouble))
    assert np.max(np.abs(applied(plain_exp, x, "float64") - exact) / exact) <= 1.5 * 2.0**-53
    x = np.random.default_rng(1).uniform(-40, 40, COUNT)
    exact = np.logaddexp(np.longdouble(0), x.astype(np.longdouble))
    assert np.max(np.abs(applied(plain_softplus, x, "float64") - exact) / exact) <= 5 * 2.0**-53
