"""The step of the short convolution: states that are longer than the filter reads, in a pool, in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DomainError, DTypeError, ShapeError

INDICES = np.array([4, -1, 0])
SINGLE = Arithmetic()
SIZES = [(4, 3), (4, 4), (4, 7), (1, 0), (1, 2), (2, 3)]
"""Taps, and inputs that a state holds."""


def step_inputs(seed: int, w: int, k: int, *, pool: bool = True) -> dict[str, Any]:
    """Three rows of two channels; numbers of float32."""
    rng = np.random.default_rng(seed)

    def real(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    inputs = {"x": real(3, 2), "weight": real(2, w), "bias": real(2), "activation": "silu"}
    if pool:
        return inputs | {"state": real(5, 2, k), "state_indices": INDICES}
    return inputs | {"state": real(3, 2, k)}


def cotangents_of(inputs: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"y": inputs["x"].shape, "state": inputs["state"].shape}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(("w", "k"), SIZES)
def test_a_chain_of_steps_is_the_convolution_and_its_state_the_last_k_inputs(w: int, k: int) -> None:
    inputs, rng = step_inputs(1, w, k, pool=False), np.random.default_rng(2)
    x, state = rng.standard_normal((3, 2, 9)), inputs["state"]
    rest = {name: inputs[name] for name in ("weight", "bias", "activation")}
    before = state[..., k - w + 1 :]
    whole = ssm_spec.causal_conv1d(x, **rest, initial_state=before)
    line = np.concatenate([state, x], axis=-1)
    for t in range(9):
        y, state = ssm_spec.causal_conv1d_update(x[..., t], state, **rest)
        np.testing.assert_array_equal(y, whole[..., t])
        np.testing.assert_array_equal(state, line[..., t + 1 : t + 1 + k])


@pytest.mark.parametrize(("w", "k"), SIZES)
def test_a_pool_updates_named_slots_and_no_others(w: int, k: int) -> None:
    inputs = step_inputs(3, w, k)
    before = inputs["state"].copy()
    inputs["x"][1] = np.nan  # of a skipped row
    inputs["state"][1:4] = np.inf  # of slots that no row names
    y, new = ssm_spec.causal_conv1d_update(**inputs)
    assert np.isposinf(new[1:4]).all()
    np.testing.assert_array_equal(y[1], 0)
    alone = inputs | {"x": inputs["x"][[0, 2]], "state": before[[4, 0]], "state_indices": None}
    y_alone, new_alone = ssm_spec.causal_conv1d_update(**alone)
    np.testing.assert_array_equal(y[[0, 2]], y_alone)
    np.testing.assert_array_equal(new[[4, 0]], new_alone)


def test_what_the_filter_does_not_read_reaches_nothing_but_the_state() -> None:
    inputs = step_inputs(4, 4, 6)
    y, _ = ssm_spec.causal_conv1d_update(**inputs)
    inputs["state"][..., :3] = np.nan
    y_then, new = ssm_spec.causal_conv1d_update(**inputs)
    np.testing.assert_array_equal(y_then, y)
    assert np.isnan(new[[4, 0], :, :2]).all()
    assert np.isfinite(new[[4, 0], :, 2:]).all()
    found = ssm_spec.causal_conv1d_update_vjp(cotangents_of(inputs), **inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_in_place_writes_named_slots_in_the_states_own_precision(dtype: str) -> None:
    inputs = step_inputs(5, 4, 5)
    inputs["state"] = inputs["state"].astype(dtype)
    before = inputs["state"].copy()
    y, expected = ssm_spec.causal_conv1d_update(**inputs)
    np.testing.assert_array_equal(inputs["state"], before)
    y_again, new = ssm_spec.causal_conv1d_update(**inputs, inplace=True)
    assert new is inputs["state"]
    np.testing.assert_array_equal(y_again, y)
    np.testing.assert_array_equal(new[[4, 0]], expected[[4, 0]].astype(dtype))
    np.testing.assert_array_equal(new[[4, 0], :, :-1], before[[4, 0], :, 1:])
    np.testing.assert_array_equal(new[1:4], before[1:4])


@pytest.mark.parametrize(("w", "k"), SIZES)
@pytest.mark.parametrize("pool", [False, True], ids=["rows", "pool"])
def test_the_gradient_is_a_central_difference(w: int, k: int, pool: bool) -> None:
    inputs = step_inputs(6, w, k, pool=pool)
    cotangents = cotangents_of(inputs)
    gradients = ssm_spec.causal_conv1d_update_vjp(cotangents, **inputs)
    assert set(gradients) == {"x", "state", "weight", "bias"}

    def loss(changed: dict[str, Any]) -> float:
        y, new = ssm_spec.causal_conv1d_update(**changed)
        return float((cotangents["y"] * y).sum() + (cotangents["state"] * new).sum())

    rng = np.random.default_rng(7)
    for name, gradient in gradients.items():
        assert gradient.shape == inputs[name].shape
        way = rng.standard_normal(gradient.shape)
        ends = [loss({**inputs, name: inputs[name].astype(np.float64) + e * way}) for e in (1e-5, -1e-5)]
        assert (gradient * way).sum() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)
    if pool:
        np.testing.assert_array_equal(gradients["state"][1:4], cotangents["state"][1:4])
        np.testing.assert_array_equal(gradients["x"][1], 0)


@pytest.mark.parametrize(("w", "k"), SIZES)
def test_bounds_cover_a_float32_step_and_demand_exactness_of_a_copy(w: int, k: int) -> None:
    torch = pytest.importorskip("torch")
    inputs = step_inputs(8, w, k)
    cotangents = cotangents_of(inputs)
    leaves = {
        name: torch.tensor(inputs[name], requires_grad=True) for name in ("x", "state", "weight", "bias")
    }
    slots, rows = torch.tensor([4, 0]), torch.tensor([0, 2])
    line = torch.cat([leaves["state"][slots], leaves["x"][rows][..., None]], -1)
    p = (line[..., k - w + 1 :] * leaves["weight"]).sum(-1) + leaves["bias"]
    y = torch.zeros(3, 2).index_copy(0, rows, torch.nn.functional.silu(p))
    new = leaves["state"].index_copy(0, slots, line[..., 1:])
    r = [torch.tensor(cotangents[name]) for name in ("y", "state")]
    found = dict(zip(leaves, torch.autograd.grad((y, new), list(leaves.values()), r), strict=True))
    outputs = ssm_spec.causal_conv1d_update_bounds(arithmetic=SINGLE, **inputs)
    gradients = ssm_spec.causal_conv1d_update_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)
    pairs = [(outputs["y"], y), (outputs["state"], new), *((gradients[name], found[name]) for name in found)]
    for bounded, result in pairs:
        assert bounded.judged.all()
        assert (np.abs(result.detach().numpy() - bounded.value) <= bounded.bound + bounded.own).all()
    assert (outputs["state"].bound[1:4] == 0).all()
    assert (outputs["state"].bound <= 2.0**-126).all()
    assert (outputs["y"].bound[1] == 0).all()
    unread = gradients["state"].bound[[4, 0], :, : k - w + 1]
    assert (unread[..., :1] == 0).all()  # the oldest, which the step drops
    assert (unread[..., 1:] == 2.0**-126).all()
    assert (gradients["state"].bound[1:4] == 2.0**-126).all()


def test_of_a_cotangent_that_is_added_the_sum_is_rounded_and_no_more() -> None:
    """The oldest input that is read has two terms: w_0 q, exact here, and what its new place hands it."""
    inputs = {"x": np.ones((1, 1)), "state": np.ones((1, 1, 2)), "weight": np.array([[1.0, 2.0]])}
    given = {"y": np.full((1, 1), 2.0**25), "state": np.ones((1, 1, 2))}
    found = ssm_spec.causal_conv1d_update_vjp_bounds(given, ["state"], arithmetic=SINGLE, **inputs)["state"]
    np.testing.assert_array_equal(found.value[0, 0], [0.0, 2.0**25 + 1])
    rounded = abs(float(np.float32(2.0**25 + 1)) - (2.0**25 + 1))
    assert rounded <= found.bound[0, 0, 1] <= 5.01 * 2.0**-24 * (2.0**25 + 1)
    beyond = ssm_spec.causal_conv1d_update_vjp_bounds(
        {"y": np.full((1, 1), 3e38), "state": np.full((1, 1, 2), 3e38)},
        ["state"],
        arithmetic=SINGLE,
        **inputs,
    )["state"]
    assert beyond.judged.tolist() == [[[True, False]]]


REFUSALS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "short": (
        {"state": np.zeros((5, 2, 2))},
        ShapeError,
        r"`state` must hold k >= w − 1 inputs with w = 4, from `weight`; got \(5, 2, 2\)",
    ),
    "channels": ({"state": np.zeros((5, 3, 4))}, ShapeError, r"`state` must have shape \(slots, d, k\) with"),
    "rows": ({"state_indices": None}, ShapeError, r"`state` must have shape \(b, d, k\) with b = 3"),
    "slot": ({"state_indices": [5, 0, 1]}, DomainError, "`state_indices` must lie in 0..4"),
    "twice": ({"state_indices": [1, 1, 2]}, DomainError, "`state_indices` must name each slot at most once"),
    "floats": ({"state_indices": [1.0, 2.0, 3.0]}, DTypeError, "`state_indices` must hold integers"),
    "list": (
        {"state": np.zeros((5, 2, 4)).tolist(), "inplace": True}, DTypeError, "`state` must be a writable",
    ),
    "read-only": (
        {"state": np.broadcast_to(0.0, (5, 2, 4)), "inplace": True}, DTypeError, "; got a read-only array",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_arguments_are_refused_by_name(name: str) -> None:
    change, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        ssm_spec.causal_conv1d_update(**step_inputs(9, 4, 4) | change)
