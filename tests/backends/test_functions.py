"""The scalar functions of both backends, at their extremes, against wider arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssm_numpy import functions as in_numpy
from ssm_torch import functions as in_torch

Array = NDArray[Any]
BOTH = pytest.mark.parametrize("module", [in_numpy, in_torch], ids=["numpy", "torch"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
SIZES = [0.0, 1e-30, 1e-12, 1e-7, 3e-4, 0.1, 0.5, 0.999, 1.0, 1.001, 2.0, 11.0, 19.9, 20.1, 37.0, 80.0, 87.2]
POINTS = np.array([-size for size in SIZES[::-1]] + SIZES)


def apply(module: ModuleType, name: str, *arguments: Array) -> Array:
    function: Callable[..., Any] = getattr(module, name)
    if module is in_numpy:
        return np.asarray(function(*arguments))
    return np.asarray(function(*(torch.from_numpy(x) for x in arguments)).numpy())


def slope(name: str, x: Array) -> Array:
    leaf = torch.from_numpy(x).requires_grad_()
    (gradient,) = torch.autograd.grad(getattr(in_torch, name)(leaf).sum(), leaf)
    return np.asarray(gradient.numpy())


def near(actual: Array, expected: Array, roundings: int) -> None:
    """Relatively, by element, at the precision of what was computed; or below the normal numbers."""
    info = np.finfo(actual.dtype)
    bound = roundings * info.eps / 2 * np.abs(expected) + info.tiny
    error = np.abs(actual.astype(expected.dtype) - expected)
    worst = np.argmax(error / bound)
    assert (error <= bound).all(), (worst, actual.flat[worst], expected.flat[worst])


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x.astype(np.longdouble)))


@BOTH
@DTYPES
def test_softplus_has_no_threshold(module: ModuleType, dtype: str) -> None:
    x = POINTS.astype(dtype)
    near(apply(module, "softplus", x), np.logaddexp(x.astype(np.longdouble), 0), 8)


@BOTH
def test_softplus_at_the_ends(module: ModuleType) -> None:
    x = np.array([-np.inf, np.inf, -1e300, 1e300, np.nan])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(apply(module, "softplus", x), [0, np.inf, 0, 1e300, np.nan])


@DTYPES
def test_the_slope_of_softplus(dtype: str) -> None:
    x = POINTS.astype(dtype)
    near(slope("softplus", x), sigmoid(x), 10)
    ends = np.array([-np.inf, -1e30, 1e30, np.inf], dtype)
    np.testing.assert_array_equal(slope("softplus", ends), [0, 0, 1, 1])


@BOTH
@DTYPES
def test_silu_and_its_slope(module: ModuleType, dtype: str) -> None:
    x = np.append(POINTS, [-90.0, -88.8, 90.0]).astype(dtype)
    wide = x.astype(np.longdouble)
    # log σ is as large as |x| and its rounding counts as often: the specification's ρ_z allows 2|z|.
    roundings = 12 + 2 * math.ceil(np.abs(x).max())
    near(apply(module, "silu", x), wide * sigmoid(x), roundings)
    if module is in_torch:
        exact = sigmoid(x) * (1 + wide * sigmoid(-x))
        error = np.abs(slope("silu", x) - exact)
        assert (error <= roundings * np.finfo(dtype).eps * (1 + np.abs(wide)) * sigmoid(x) + 1e-36).all()


def test_sigmoid_has_both_tails() -> None:
    x = np.array([-700.0, -40, 0, 40, 700])
    near(in_numpy.sigmoid(x), sigmoid(x), 12)


@BOTH
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_expm1_keeps_small_numbers(module: ModuleType, dtype: str) -> None:
    directions = np.exp(1j * np.array([0.0, 0.3, 1.57, 2.2, 3.1, 4.5]))
    x = (np.array([1e-30, 1e-7, 1e-3, 0.4, 3.0])[:, None] * directions).astype(dtype).ravel()
    wide = x.astype(np.clongdouble)
    exact = np.empty_like(wide)
    exact.real = np.expm1(wide.real) * np.cos(wide.imag) - 2 * np.sin(wide.imag / 2) ** 2
    exact.imag = np.exp(wide.real) * np.sin(wide.imag)
    found = apply(module, "expm1", x)
    assert found.dtype == dtype
    bound = 12 * np.finfo(dtype).eps * np.abs(exact)
    assert (np.abs(found - exact) <= bound).all()


def held(delta: Array, A: Array) -> Array:
    """expm1(ΔA)/A in wider arithmetic, Δ at A = 0."""
    wide = A.astype(np.result_type(A, np.longdouble))
    if np.iscomplexobj(A):
        p = delta * wide
        top = np.empty_like(p)
        top.real = np.expm1(p.real) * np.cos(p.imag) - 2 * np.sin(p.imag / 2) ** 2
        top.imag = np.exp(p.real) * np.sin(p.imag)
    else:
        top = np.expm1(delta * wide)
    return np.where(A == 0, delta, top / np.where(A == 0, 1, wide))


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_the_hold_is_accurate_down_to_zero(module: ModuleType, dtype: str) -> None:
    real = np.finfo(dtype).dtype
    modes = np.array([0, 1e-30, 1e-12, 1e-7, 1e-3, 1, 30])[:, None] * np.array([-1, 0.02])
    A = (modes * (1 + 0.7j) if dtype.startswith("c") else modes).astype(dtype).ravel()
    delta = np.array([1e-9, 1e-3, 1.0, 2.5], dtype=real)[:, None]
    found = apply(module, "held_step", delta, A)
    assert found.dtype == dtype
    near(found, held(delta, A), 24)


def psi(x: Array) -> Array:
    """Its series to sixty terms, in wider arithmetic; good for |x| up to 10."""
    wide = x.astype(np.result_type(x, np.longdouble))
    total, power = np.zeros_like(wide), np.ones_like(wide)
    for j in range(80):
        total = total + power * (np.longdouble(j + 1) / np.longdouble(math.factorial(j + 2)))
        power = power * wide
    return total


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_psi_has_no_seam(module: ModuleType, dtype: str) -> None:
    sizes = np.array([0, 1e-20, 1e-5, 0.2, 0.9, 0.9999, 1.0, 1.0001, 1.5, 4.0])
    directions = (
        np.exp(1j * np.array([0, 0.8, 1.57, 3.0])) if dtype.startswith("c") else np.array([-1.0, 1.0])
    )
    x = (sizes[:, None] * directions).astype(dtype).ravel()
    near(apply(module, "psi", x), psi(x), 40)


@pytest.mark.parametrize("A", [0.0, 0j, -1e-9, 1e-9 + 1e-9j, -0.4, -0.3 + 2j, -1.2 - 0.5j])
def test_the_slopes_of_the_hold(A: complex) -> None:
    modes = torch.tensor([A], dtype=torch.complex128 if isinstance(A, complex) else torch.float64)
    delta = torch.tensor([0.0, 0.3, 1.7], dtype=torch.float64)
    r = torch.tensor([1.0, -0.5, 2.0]).to(modes.dtype) * (1 - 0.5j if modes.is_complex() else 1)
    leaves = (delta.requires_grad_(), modes.requires_grad_())
    by_delta, by_modes = torch.autograd.grad(in_torch.held_step(*leaves), leaves, r)
    step, cotangent = delta.detach().numpy(), r.numpy()
    p = step * np.asarray(A)
    close: dict[str, Any] = {"rtol": 1e-14, "atol": 1e-14}  # some forty roundings of values near 1
    np.testing.assert_allclose(by_delta.numpy(), (cotangent.conj() * np.exp(p)).real, **close)
    expected = (cotangent * (np.square(step) * psi(p)).conj()).sum()
    np.testing.assert_allclose(by_modes.numpy()[0], expected.astype(by_modes.numpy().dtype), **close)
