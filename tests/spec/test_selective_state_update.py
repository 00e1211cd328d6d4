"""The single step: a scan of length one, in a pool of states, in place, and within its bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DomainError, DTypeError, ShapeError

from .scan_data import draw

INDICES = np.array([4, -1, 0])


def step_inputs(seed: int, *, complex_: bool = False, zoh: bool = False) -> dict[str, Any]:
    """Three rows, six channels, three modes."""
    scan = draw(seed, 3, 6, 1, 3, B="b 2 n l", complex_=complex_, zoh=zoh)
    state = scan.pop("initial_state")
    streamed = ("u", "delta", "B", "C", "z")
    inputs = {name: value[..., 0] if name in streamed else value for name, value in scan.items()}
    return {"state": state} | inputs


def pooled(inputs: dict[str, Any]) -> dict[str, Any]:
    state = np.random.default_rng(0).standard_normal((5, 6, 3)).astype(inputs["state"].dtype)
    return {**inputs, "state": state, "state_indices": INDICES}


@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("zoh", [False, True], ids=["euler", "zoh"])
def test_l_steps_are_one_scan(complex_: bool, zoh: bool) -> None:
    inputs = draw(1, 2, 6, 9, 3, B="b 3 n l", complex_=complex_, zoh=zoh)
    y, last = ssm_spec.selective_scan(**inputs, return_last_state=True)
    state, rest = inputs["initial_state"], dict(inputs)
    del rest["initial_state"]
    for t in range(9):
        now = {k: v[..., t] if k in ("u", "delta", "B", "C", "z") else v for k, v in rest.items()}
        y_t, state = ssm_spec.selective_state_update(state, **now)
        # The states are the same bits, as below; the sum over three states is in another order.
        np.testing.assert_allclose(y_t, y[..., t], rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(state, last)


def test_a_pool_updates_named_slots_and_no_others() -> None:
    inputs = pooled(step_inputs(2))
    before = inputs["state"].copy()
    y, new = ssm_spec.selective_state_update(**inputs)
    np.testing.assert_array_equal(inputs["state"], before)
    np.testing.assert_array_equal(new[1:4], before[1:4])
    np.testing.assert_array_equal(y[1], 0)
    alone = {k: v[[0, 2]] if k in ("u", "delta", "B", "C", "z") else v for k, v in step_inputs(2).items()}
    y_alone, new_alone = ssm_spec.selective_state_update(**{**alone, "state": before[[4, 0]]})
    np.testing.assert_array_equal(y[[0, 2]], y_alone)
    np.testing.assert_array_equal(new[[4, 0]], new_alone)


@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("slots", [0, 5])
def test_a_pool_that_serves_no_row_has_zero_gradients(complex_: bool, rows: int, slots: int) -> None:
    inputs = pooled(step_inputs(8, complex_=complex_)) | {"state_indices": np.full(rows, -1)}
    inputs["state"] = inputs["state"][:slots]
    inputs |= {name: inputs[name][:rows] for name in ("u", "delta", "B", "C", "z")}
    y, new = ssm_spec.selective_state_update(**inputs)
    np.testing.assert_array_equal(y, np.zeros((rows, 6)))
    np.testing.assert_array_equal(new, inputs["state"])
    cotangents = {"y": np.ones_like(y), "state": np.full_like(new, 2.0)}
    arithmetic = Arithmetic(compute="float64", io="float64")
    gradients = ssm_spec.selective_state_update_vjp(cotangents, **inputs)
    bounds = ssm_spec.selective_state_update_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    np.testing.assert_array_equal(gradients.pop("state"), cotangents["state"])
    assert set(gradients) == {"u", "delta", "A", "B", "C", "D", "z", "delta_bias"}
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, np.zeros(inputs[name].shape))
        assert bounds[name].value.shape == gradient.shape == inputs[name].shape


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_in_place_writes_named_slots_in_the_states_own_precision(dtype: str) -> None:
    inputs = pooled(step_inputs(3))
    inputs["state"] = inputs["state"].astype(dtype)
    before = inputs["state"].copy()
    _, expected = ssm_spec.selective_state_update(**inputs)
    _, new = ssm_spec.selective_state_update(**inputs, inplace=True)
    assert new is inputs["state"]
    np.testing.assert_array_equal(new[[4, 0]], expected[[4, 0]].astype(dtype))
    np.testing.assert_array_equal(new[1:4], before[1:4])


@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("zoh", [False, True], ids=["euler", "zoh"])
def test_the_gradient_is_that_of_a_scan_and_untouched_slots_hand_theirs_on(complex_: bool, zoh: bool) -> None:
    inputs = pooled(step_inputs(4, complex_=complex_, zoh=zoh))
    rng = np.random.default_rng(4)
    cotangents = {"y": rng.standard_normal((3, 6)), "state": rng.standard_normal((5, 6, 3))}
    gradients = ssm_spec.selective_state_update_vjp(cotangents, **inputs)
    np.testing.assert_array_equal(gradients["state"][1:4], cotangents["state"][1:4])
    for name in ("u", "delta", "B", "C", "z"):
        np.testing.assert_array_equal(gradients[name][1], 0)

    def loss(changed: dict[str, Any]) -> float:
        y, new = ssm_spec.selective_state_update(**changed)
        return float((cotangents["y"] * y).sum() + (cotangents["state"] * new.real).sum())

    for name, gradient in gradients.items():  # a central difference along a random direction
        assert gradient.shape == inputs[name].shape
        way = rng.standard_normal(gradient.shape)
        ends = [loss({**inputs, name: inputs[name].astype(gradient.dtype) + e * way}) for e in (1e-5, -1e-5)]
        assert (gradient.real * way).sum() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)


def test_bounds_cover_a_float32_step_and_demand_exactness_elsewhere() -> None:
    inputs = pooled(step_inputs(5))
    bounds = ssm_spec.selective_state_update_bounds(arithmetic=Arithmetic(), **inputs)
    assert (bounds["state"].bound[1:4] == 0).all()
    assert (bounds["y"].bound[1] == 0).all()
    rows, slots = [0, 2], [4, 0]
    u, delta, z = (inputs[name][rows] for name in ("u", "delta", "z"))
    s = np.logaddexp(np.float32(0), delta + inputs["delta_bias"])[..., None]
    B, C = np.repeat(inputs["B"][rows], 3, axis=1), inputs["C"][rows][:, None]
    h = np.exp(s * inputs["A"]) * inputs["state"][slots] + s * B * u[..., None]
    y = ((h * C).sum(-1) + inputs["D"] * u) * z / (1 + np.exp(-z))
    assert h.dtype == y.dtype == np.float32
    found = {"y": y, "state": h}
    for name, places in (("y", rows), ("state", slots)):
        bounded = bounds[name]
        error = np.abs(found[name] - bounded.value[places])
        assert (error <= (bounded.bound + bounded.own)[places]).all()
        assert (error * 2**14 > bounded.bound[places]).any()
    cotangents = {"y": np.ones((3, 6)), "state": np.ones((5, 6, 3))}
    gradients = ssm_spec.selective_state_update_vjp_bounds(cotangents, arithmetic=Arithmetic(), **inputs)
    assert (gradients["state"].bound[1:4] == 2.0**-126).all()
    for name, bounded in gradients.items():
        assert bounded.value.shape == bounded.bound.shape == bounded.judged.shape == inputs[name].shape


def test_the_cotangent_of_a_slot_left_alone_may_be_flushed_and_nothing_else() -> None:
    """Autograd adds zero to it: where subnormal numbers are flushed the sum is zero."""
    torch = pytest.importorskip("torch")
    inputs, cotangent = pooled(step_inputs(7)), torch.full((5, 6, 3), 2.0**-130)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush subnormals")
    try:
        passed = (cotangent + 0.0).numpy()
    finally:
        torch.set_flush_denormal(False)
    assert not passed.any()
    found = ssm_spec.selective_state_update_vjp_bounds(
        {"state": cotangent.numpy()}, ["state"], arithmetic=Arithmetic(), **inputs
    )["state"]
    error = np.abs(passed - found.value)[1:4]
    assert (error > 0).all()
    assert (error <= found.bound[1:4]).all()
    assert (found.bound[1:4] < 2.0**-125).all()


REFUSALS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "slot": ({"state_indices": [5, 0, 1]}, DomainError, "`state_indices` must lie in 0..4"),
    "twice": ({"state_indices": [1, 1, 2]}, DomainError, "`state_indices` must name each slot at most once"),
    "rows": ({"state_indices": [1, 2]}, ShapeError, r"`state_indices` must have shape \(b,\) with b = 3"),
    "floats": ({"state_indices": [1.0, 2.0, 3.0]}, DTypeError, "`state_indices` must hold integers"),
    "B": ({"B": np.zeros((6, 3))}, ShapeError, r"`B` must have shape \(b, n\) with b = 3"),
    "state": ({"state": np.zeros((5, 6, 2))}, ShapeError, r"`state` must have shape \(slots, d, n\)"),
    "complex state": ({"state": np.zeros((5, 6, 3), complex)}, DTypeError, "`state` must be real"),
    "list": (
        {"state": np.zeros((5, 6, 3)).tolist(), "inplace": True},
        DTypeError,
        "`state` must be a writable NumPy array where `inplace` is set; got list",
    ),
    "read-only": (
        {"state": np.broadcast_to(0.0, (5, 6, 3)), "inplace": True},
        DTypeError,
        "`state` must be a writable NumPy array where `inplace` is set; got a read-only array",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_arguments_are_refused_by_name(name: str) -> None:
    change, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        ssm_spec.selective_state_update(**{**pooled(step_inputs(6)), **change})
