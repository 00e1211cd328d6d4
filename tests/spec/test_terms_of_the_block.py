"""Terms of the Mamba block's bounds, one by one, as `test_terms_of_the_scan` has the scan's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from .test_terms_of_the_scan import ETA

ORDERS = ("sequential", "scan", "chunk", "any")


def block(**given: Any) -> dict[str, Any]:
    """One channel, one mode, a step of one time; every projection and state a number of float32."""
    shapes = {"x": (1, 1, 1), "conv1d_weight": (1, 1), "dt_proj_weight": (1, 1), "dt_proj_bias": (1,)}
    shapes |= {"A_log": (1, 1), "D": (1,), "out_proj": (1, 1), "ssm_state": (1, 1, 1)}
    numbers = {"x": 1.0, "conv1d_weight": 1.0, "dt_proj_weight": 0.0, "dt_proj_bias": 0.0, "D": 0.0}
    numbers |= {"A_log": 0.0, "out_proj": 1.0, "ssm_state": 0.0} | given
    inputs: dict[str, Any] = {name: np.full(shapes[name], x, np.float32) for name, x in numbers.items()}
    ones = {"in_proj": np.ones((2, 1), np.float32), "x_proj": np.ones((3, 1), np.float32)}
    return inputs | ones | {"conv1d_bias": None, "conv_state": np.zeros((1, 1, 0), np.float32)}


@pytest.mark.parametrize("evaluation", ORDERS)
def test_a_rate_may_be_lost_before_a_large_gradient_meets_it(evaluation: Any) -> None:
    """A = −exp(−88) is subnormal, and dA = 10⁹ and more: d(A_log) = A dA is zero where A is."""
    inputs = block(A_log=-88.0, ssm_state=1e10)
    bounds = ssm_spec.mamba_block_vjp_bounds(
        {"y": np.ones((1, 1, 1), np.float32)},
        ["A_log"],
        arithmetic=Arithmetic(evaluation=evaluation),
        **inputs,
    )
    found = bounds["A_log"]
    assert np.exp(np.float64(-88)) < ETA
    assert found.judged.all()
    assert 0.5 < float((np.abs(found.value) / found.bound).item()) <= 1


@pytest.mark.parametrize("evaluation", ORDERS)
def test_a_rate_may_be_infinite_and_a_step_zero(evaluation: Any) -> None:
    """A = −exp(90) is no number of float32, and Δ = exp(−110) is zero there: Δ A is a NaN, where it is 0."""
    inputs = block(A_log=90.0, dt_proj_bias=-110.0, ssm_state=1.0)
    with np.errstate(all="ignore"):
        step, rate = np.exp(np.float32(-110)), -np.exp(np.float32(90))
        assert step == 0
        assert np.isnan(step * rate)
    found = ssm_spec.mamba_block_bounds(arithmetic=Arithmetic(evaluation=evaluation), **inputs)
    assert np.isfinite(found["y"].value).all()
    assert not found["y"].judged.any()
    assert not found["ssm_state"].judged.any()
    assert found["conv_state"].judged.all()


def test_a_step_may_be_stored_in_bfloat16_with_its_bias() -> None:
    """As a linear layer hands it on: 4 of bias + x, of numbers 2⁻⁵ apart, and 4 of the bias before.

    Either loses nearly half of that. x is what the line, Δ's argument, B and u are alike.
    """
    half = 0.99 / 64
    line = 2 * half  # silu of it, but for its square
    for _ in range(40):
        line = half * (1 + np.exp(-line))
    inputs = block(x=line, dt_proj_weight=1.0, dt_proj_bias=4 + half, ssm_state=1.0)
    arithmetic = Arithmetic(evaluation="sequential", operands="bfloat16")
    found = ssm_spec.mamba_block_bounds(arithmetic=arithmetic, **inputs)["ssm_state"]
    assert found.judged.all()
    step = np.log1p(np.exp(4.0))
    state = np.exp(-step) + step * half**2
    assert 0.8 < abs(state - found.value.item()) / found.bound.item() <= 1
