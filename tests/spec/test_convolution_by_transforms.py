"""What is granted to a convolution by fast Fourier transforms: enough for every row, and little more."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

import ssm_spec
from ssm_spec import Arithmetic
from ssm_spec._convolution import _largest_transformed
from ssm_spec._products import Inexact, exactly

LENGTH = 1030
FFT = Arithmetic(compute="float32", evaluation="fft")


def test_a_transform_at_a_few_points_tells_its_largest_anywhere() -> None:
    rng = np.random.default_rng(0)
    for l in (1, 2, 3, 4, 5, 8, 17, 33, 100):
        x = rng.standard_normal((50, l)) * np.exp(3.0 * rng.standard_normal((50, l)))
        finely = np.max(np.abs(np.fft.fft(x, 128 * l)), axis=-1)
        told = _largest_transformed(exactly(x))
        assert np.all(told >= finely * (1.0 - 1e-12))  # of the fine transform's own rounding
        assert np.all(told <= np.minimum(finely / np.cos(np.pi / 8), np.sum(np.abs(x), -1)) * (1.0 + 1e-12))
        assert np.array_equal(_largest_transformed(Inexact(x, np.full(x.shape, 0.5))), told + 0.5 * l)


def rows(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """u (1, 1, l) and K (1, l) in float32: noise, one tone, or ones."""
    rng, t = np.random.default_rng(1), np.arange(LENGTH)
    found = {
        "noise": (rng.standard_normal(LENGTH), rng.standard_normal(LENGTH)),
        "tone": (np.cos(0.7 * t), np.cos(0.7 * t + 1.0)),
        "ones": (np.ones(LENGTH), 0.999**t),
        "few": (np.where(t % 97 == 0, 1.0, 0.0), 0.9**t),
    }[kind]
    u, K = (x.astype(np.float32) for x in found)
    return u[None, None], K[None]


def by_transforms(u: np.ndarray, K: np.ndarray, points: int) -> np.ndarray:
    """In float32."""
    found = scipy.fft.irfft(scipy.fft.rfft(u, points) * scipy.fft.rfft(K, points), points)
    assert found.dtype == np.float32
    return np.asarray(found[..., : u.shape[-1]], np.float64)


def judged(u: np.ndarray, K: np.ndarray) -> ssm_spec.Bounded:
    """The oracle's answer."""
    wide = {"u": u.astype(np.float64), "K": K.astype(np.float64)}
    return ssm_spec.causal_convolution_bounds(arithmetic=FFT, **wide)["y"]


@pytest.mark.parametrize("points", [2060, 2048 + 512, 4096])
@pytest.mark.parametrize("kind", ["noise", "tone", "ones", "few"])
def test_transforms_of_any_length_stay_within(kind: str, points: int) -> None:
    u, K = rows(kind)
    exact = judged(u, K)
    error = np.abs(by_transforms(u, K, points) - exact.value)
    assert exact.judged.all()
    assert np.all(error <= exact.bound + exact.own)


@pytest.mark.parametrize("lag", [0, 500, 1000])
def test_one_lag_of_a_thousand_that_is_left_out_is_seen(lag: int) -> None:
    """At three elements in four. By the sum of noise's moduli, not its transform, at three in ten at most."""
    u, K = rows("noise")
    exact, without = judged(u, K), K.copy()
    without[:, lag] = 0.0
    wrong = np.abs(by_transforms(u, without, 4096) - exact.value) > exact.bound + exact.own
    assert np.mean(wrong[..., lag:]) > 0.75
