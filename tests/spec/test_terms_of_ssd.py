"""Terms of SSD's bounds, one by one, as `test_terms_of_the_scan` has the scan's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic
from ssm_spec._functions import sigmoid

from .test_terms_of_the_scan import COARSE, ETA, U, channel, chunk, sequential, share

Inputs = dict[str, Any]


def head(**given: Any) -> Inputs:
    """One head of one channel and one mode; each stream a list of numbers of float32, or one number."""
    length = max(np.size(value) for name, value in given.items() if name != "dt_limit")
    shapes = {"x": (1, length, 1, 1), "dt": (1, length, 1), "B": (1, length, 1, 1), "C": (1, length, 1, 1)}
    shapes |= {"A": (1,), "D": (1,), "dt_bias": (1,), "z": (1, length, 1, 1), "initial_states": (1, 1, 1, 1)}
    for name in ("x", "dt", "B", "C"):
        given.setdefault(name, 1.0)
    return {
        name: value
        if name in ("dt_softplus", "dt_limit")
        else np.resize(np.asarray(value, np.float32), shapes[name])
        for name, value in given.items()
    }


def part(found: float, inputs: Inputs, arithmetic: Arithmetic) -> float:
    """What part of its bound the error of the last y takes."""
    bounded = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)["y"]
    assert bounded.judged.all()
    return float(abs(found - bounded.value[0, -1, 0, 0]) / bounded.bound[0, -1, 0, 0])


def part_of_state(found: float, inputs: Inputs, arithmetic: Arithmetic) -> float:
    """What part of its bound the error of the final state takes."""
    bounded = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)["final_states"]
    assert bounded.judged.all()
    return abs(found - bounded.value.item()) / bounded.bound.item()


def part_of_gradient(found: float, name: str, inputs: Inputs, y: Any, arithmetic: Arithmetic) -> float:
    """What part of its bound the error of a gradient takes, of its first element."""
    given = {"y": np.resize(np.asarray(y, np.float32), inputs["x"].shape)}
    bounded = ssm_spec.ssd_vjp_bounds(given, [name], arithmetic=arithmetic, **inputs)[name]
    assert bounded.judged.all()
    return float(abs(found - bounded.value.flat[0]) / bounded.bound.flat[0])


@pytest.mark.parametrize("length", [1, 3])
def test_a_rate_may_be_read_as_zero_in_chunks_too(length: int) -> None:
    """A is subnormal and Δ so large that it matters: every decay of the chunk is 1 instead of 1/e."""
    given = {"A": -0.99 * ETA, "C": np.ones(length)}
    inputs = head(dt=1 / ETA, x=0.0, initial_states=100.0, **given)
    assert 0.7 < part(100.0, inputs, chunk(4)) <= 1
    inputs = channel(delta=1 / ETA, u=0.0, initial_state=100.0, **given)
    assert 0.7 < share(100.0, inputs, chunk(4)) <= 1


STEEP: dict[str, Any] = {"A": -64.0, "x": 0.0, "initial_states": 2.0**80}
"""A state of which 2⁸⁰e⁻⁶⁴ is left after a step of one; each unit of the step is 64 of it."""


@pytest.mark.parametrize("softplus", [False, True])
def test_a_limit_is_rounded_to_the_compute_type(softplus: bool) -> None:
    """Δ is at least 1 + 0.99u, in float32 one."""
    limit = 1 + 0.99 * U
    assert np.float32(limit) == 1
    inputs = head(dt=-1.0, dt_limit=(limit, 2.0), dt_softplus=softplus, **STEEP)
    assert 0.9 < part(2.0**80 * np.exp(-64.0), inputs, sequential()) <= 1


def test_the_sum_of_a_step_and_its_bias_is_rounded() -> None:
    inputs = head(dt=1.0, dt_bias=0.99 * U, **STEEP)
    assert np.float32(1) + np.float32(0.99 * U) == 1
    assert 0.9 < part(2.0**80 * np.exp(-64.0), inputs, sequential()) <= 1


def test_a_limit_that_is_rounded_may_let_the_slope_pass() -> None:
    """dt = 1 is below 1 + 0.99u, whose slope is 0, and at the limit of float32, whose slope is 1."""
    inputs = head(dt=1.0, A=0.0, dt_limit=(1 + 0.99 * U, 2.0))
    assert 0.9 < part_of_gradient(1.0, "dt", inputs, 1.0, sequential()) <= 1


@pytest.mark.parametrize("unit", ["k_exp", "k_div"])
def test_the_slope_of_the_step_takes_an_exponential_and_a_division(unit: str) -> None:
    """d(dt) = σ(−8) x B λ."""
    inputs = head(dt=-8.0, A=0.0, dt_softplus=True)
    found = float(sigmoid(np.float64(-8))) * (1 + COARSE * U)
    assert 0.6 < part_of_gradient(found, "dt", inputs, 1.0, sequential(**{unit: COARSE})) <= 1


def test_the_slope_of_the_step_may_be_lost_before_it_meets_what_is_large() -> None:
    """σ(−88) is subnormal, and dΔ = x is 2⁶⁰."""
    assert 0 < sigmoid(np.float64(-88)) < ETA
    inputs = head(dt=-88.0, A=0.0, x=2.0**60, dt_softplus=True)
    assert 0.1 < part_of_gradient(0.0, "dt", inputs, 1.0, sequential()) <= 1


def test_a_state_that_nothing_follows_is_a_copy_that_may_be_flushed() -> None:
    inputs = head(dt=1.0, A=-1.0, initial_states=0.99 * ETA)
    inputs |= {name: inputs[name][:, :0] for name in ("x", "dt", "B", "C")}
    assert 0.9 < part_of_state(0.0, inputs, sequential()) <= 1


@pytest.mark.parametrize("name", ["A", "dt"])
def test_the_channels_and_states_of_a_head_are_one_sum(name: str) -> None:
    """dA = Σ Δ λ a h⁻ and d(dt) = Σ A λ a h⁻ over 8 channels of 8 states: 1, and what is lost beside it."""
    states = np.full((1, 1, 8, 8), 0.9 * U, np.float32)
    states[0, 0, 0, 0] = 1
    inputs = head(dt=2.0**-40, A=2.0**-40) | {
        "x": np.zeros((1, 1, 1, 8), np.float32),
        "initial_states": states,
    }
    inputs |= {key: np.ones((1, 1, 1, 8), np.float32) for key in ("B", "C")}
    assert np.float32(1) + states[0, 0, 1, 1] == 1
    assert 0.3 < part_of_gradient(2.0**-40, name, inputs, 1.0, sequential()) <= 1


def test_the_gradient_of_a_state_that_nothing_follows_is_a_copy_too() -> None:
    inputs = head(dt=1.0, A=-1.0, initial_states=1.0)
    inputs |= {name: inputs[name][:, :0] for name in ("x", "dt", "B", "C")}
    given = {"final_states": np.full((1, 1, 1, 1), 0.99 * ETA, np.float32)}
    slopes = ssm_spec.ssd_vjp_bounds(given, ["initial_states"], arithmetic=sequential(), **inputs)
    found = slopes["initial_states"]
    assert 0.9 < found.value.item() / found.bound.item() <= 1
