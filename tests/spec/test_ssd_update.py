"""The single step of SSD: in a pool of states, in place, its gradients, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DomainError, DTypeError, ShapeError

from .ssd_data import draw

BY_ROW = ("x", "dt", "B", "C", "z")
INDICES = np.array([4, -1, 0])


def pooled(seed: int) -> dict[str, Any]:
    """Three rows of four heads of two channels in two groups, with three states in five slots."""
    whole = draw(seed, 3, 1, 4, 2, 2, 3, wide_D=True, limit=(0.01, 2.0))
    whole.pop("initial_states", None)
    inputs = {name: value[:, 0] if name in BY_ROW else value for name, value in whole.items()}
    state = np.random.default_rng(seed).standard_normal((5, 4, 2, 3)).astype(np.float32)
    return inputs | {"state": state, "state_indices": INDICES}


def test_a_pool_updates_named_slots_and_no_others() -> None:
    inputs = pooled(2)
    before = inputs["state"].copy()
    y, new = ssm_spec.ssd_update(**inputs)
    np.testing.assert_array_equal(inputs["state"], before)
    np.testing.assert_array_equal(new[1:4], before[1:4])
    np.testing.assert_array_equal(y[1], 0)
    alone = {name: x[[0, 2]] if name in BY_ROW else x for name, x in inputs.items()} | {"state_indices": None}
    y_alone, new_alone = ssm_spec.ssd_update(**{**alone, "state": before[[4, 0]]})
    np.testing.assert_array_equal(y[[0, 2]], y_alone)
    np.testing.assert_array_equal(new[[4, 0]], new_alone)


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("slots", [0, 5])
def test_a_pool_that_serves_no_row_has_zero_gradients(rows: int, slots: int) -> None:
    inputs = pooled(8) | {"state_indices": np.full(rows, -1)}
    inputs["state"] = inputs["state"][:slots]
    inputs |= {name: inputs[name][:rows] for name in BY_ROW}
    y, new = ssm_spec.ssd_update(**inputs)
    np.testing.assert_array_equal(y, np.zeros((rows, 4, 2)))
    np.testing.assert_array_equal(new, inputs["state"])
    cotangents = {"y": np.ones_like(y), "state": np.full_like(new, 2.0)}
    arithmetic = Arithmetic(compute="float64", io="float64")
    gradients = ssm_spec.ssd_update_vjp(cotangents, **inputs)
    bounds = ssm_spec.ssd_update_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    np.testing.assert_array_equal(gradients.pop("state"), cotangents["state"])
    assert set(gradients) == {"A", "D", "dt_bias", *BY_ROW}
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, np.zeros(inputs[name].shape))
        assert bounds[name].value.shape == gradient.shape == inputs[name].shape


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_in_place_writes_named_slots_in_the_states_own_precision(dtype: str) -> None:
    inputs = pooled(3)
    inputs["state"] = inputs["state"].astype(dtype)
    before = inputs["state"].copy()
    _, expected = ssm_spec.ssd_update(**inputs)
    _, new = ssm_spec.ssd_update(**inputs, inplace=True)
    assert new is inputs["state"]
    np.testing.assert_array_equal(new[[4, 0]], expected[[4, 0]].astype(dtype))
    np.testing.assert_array_equal(new[1:4], before[1:4])


def test_the_gradient_is_the_slope_and_untouched_slots_hand_theirs_on() -> None:
    inputs = pooled(4)
    rng = np.random.default_rng(4)
    cotangents = {"y": rng.standard_normal((3, 4, 2)), "state": rng.standard_normal((5, 4, 2, 3))}
    gradients = ssm_spec.ssd_update_vjp(cotangents, **inputs)
    np.testing.assert_array_equal(gradients["state"][1:4], cotangents["state"][1:4])
    for name in BY_ROW:
        np.testing.assert_array_equal(gradients[name][1], 0)

    def loss(changed: dict[str, Any]) -> float:
        y, new = ssm_spec.ssd_update(**changed)
        return float((cotangents["y"] * y).sum() + (cotangents["state"] * new).sum())

    for name, gradient in gradients.items():  # a central difference along a random direction
        way = rng.standard_normal(gradient.shape)
        ends = [loss({**inputs, name: inputs[name].astype(np.float64) + e * way}) for e in (1e-5, -1e-5)]
        assert (gradient * way).sum() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)


def test_bounds_demand_exactness_of_what_is_left_alone() -> None:
    inputs = pooled(5)
    bounds = ssm_spec.ssd_update_bounds(arithmetic=Arithmetic(), **inputs)
    assert (bounds["state"].bound[1:4] == 0).all()
    assert (bounds["state"].bound[[0, 4]] > 0).all()
    assert (bounds["y"].bound[1] == 0).all()
    assert (bounds["y"].bound[[0, 2]] > 0).all()
    cotangents = {"y": np.ones((3, 4, 2)), "state": np.ones((5, 4, 2, 3))}
    gradients = ssm_spec.ssd_update_vjp_bounds(cotangents, arithmetic=Arithmetic(), **inputs)
    assert (gradients["state"].bound[1:4] == 2.0**-126).all()  # a subnormal cotangent may be flushed there
    for name, bounded in gradients.items():
        assert bounded.value.shape == bounded.bound.shape == bounded.judged.shape == inputs[name].shape


REFUSALS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "slot": ({"state_indices": [5, 0, 1]}, DomainError, "`state_indices` must lie in 0..4"),
    "twice": ({"state_indices": [1, 1, 2]}, DomainError, "`state_indices` must name each slot at most once"),
    "rows": ({"state_indices": [1, 2]}, ShapeError, r"`state_indices` must have shape \(b,\) with b = 3"),
    "floats": ({"state_indices": [1.0, 2.0, 3.0]}, DTypeError, "`state_indices` must hold integers"),
    "state": ({"state": np.zeros((5, 4, 2, 2))}, ShapeError, r"`state` must have shape \(slots, h, p, n\)"),
    "list": (
        {"state": np.zeros((5, 4, 2, 3)).tolist(), "inplace": True},
        DTypeError,
        "`state` must be a writable NumPy array where `inplace` is set; got list",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_arguments_are_refused_by_name(name: str) -> None:
    change, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        ssm_spec.ssd_update(**{**pooled(6), **change})
