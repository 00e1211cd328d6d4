"""What SSD means: exact values and gradients, two forms, states, limits, resets, and rules for arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DomainError, DTypeError, ShapeError

from . import mamba_exact
from .ssd_data import OUTPUTS, VARIANTS, draw, draw_cotangents, run

SINGLE = Arithmetic()
DOUBLE = Arithmetic(compute="float64", evaluation="sequential")


def within(found: Any, bounded: ssm_spec.Bounded, slack: int = 1) -> bool:
    """Whether `found` is as near as two results in float64 of the same arithmetic may be."""
    return bool((np.abs(found - bounded.value) <= slack * (bounded.bound + bounded.own)).all())


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_and_gradients_lie_within_the_oracles_own_bound(variant: str, wild: bool) -> None:
    inputs = draw(3, 2, 5, 4, 2, 2, 3, wild=wild, **VARIANTS[variant])
    cotangents = draw_cotangents(3, inputs)
    x, outputs = mamba_exact.ssd(inputs)
    exact = mamba_exact.gradients(x, outputs, cotangents)
    for name, bounded in ssm_spec.ssd_bounds(arithmetic=SINGLE, **inputs).items():
        assert mamba_exact.worst(bounded, outputs[name]) <= 1, name
    found = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)
    assert set(found) == set(exact)
    plain = ssm_spec.ssd_vjp(cotangents, **inputs)
    for name, bounded in found.items():
        assert mamba_exact.worst(bounded, exact[name], balls=True) <= 1, name
        np.testing.assert_array_equal(bounded.value, plain[name])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("q", [1, 3, 8, 64])
def test_the_chunked_dual_form_is_the_recurrent_one(variant: str, q: int) -> None:
    for seed, wild in enumerate((False, True)):
        inputs = draw(seed, 2, 13, 4, 3, 2, 5, wild=wild, **VARIANTS[variant])
        arithmetic = Arithmetic(compute="float64", evaluation="matmul_chunk", chunk=q)
        bounds = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)
        chunked = ssm_spec.ssd_chunked(chunk_size=q, **inputs)
        for name, found in zip(OUTPUTS, chunked, strict=True):
            assert within(found, bounds[name]), name


def test_it_is_the_selective_scan_of_its_channels() -> None:
    inputs = draw(4, 2, 7, 4, 3, 2, 5)
    y, final = run(inputs)
    wide = {name: np.repeat(inputs[name], 3, -1) for name in ("dt", "D", "dt_bias", "A")}
    streams = {name: inputs[name].reshape(2, 7, 12).transpose(0, 2, 1) for name in ("x", "z")}
    scanned = ssm_spec.selective_scan(
        streams["x"],
        wide["dt"].transpose(0, 2, 1),
        np.repeat(wide["A"][:, None], 5, 1),
        inputs["B"].transpose(0, 2, 3, 1),
        inputs["C"].transpose(0, 2, 3, 1),
        wide["D"],
        streams["z"],
        wide["dt_bias"],
        delta_softplus=True,
        return_last_state=True,
        initial_state=inputs["initial_states"].reshape(2, 12, 5),
    )
    np.testing.assert_array_equal(y, scanned[0].transpose(0, 2, 1).reshape(y.shape))
    np.testing.assert_array_equal(final, scanned[1].reshape(final.shape))


def test_c1_c2_the_clamp_is_always_there_and_has_slope_one_at_a_limit() -> None:
    inputs = draw(5, 1, 4, 1, 2, 1, 3, softplus=False, bare=True) | {"dt_limit": (0.25, 0.5)}
    inputs["dt"] = np.array([0.125, 0.25, 0.5, 0.75], np.float32).reshape(1, 4, 1)
    cotangents = draw_cotangents(5, inputs)
    found = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)["dt"]
    free = inputs | {"dt": np.clip(inputs["dt"], 0.25, 0.5), "dt_limit": (-np.inf, np.inf)}
    np.testing.assert_array_equal(run(inputs)[0], run(free)[0])
    slopes = ssm_spec.ssd_vjp(cotangents, **free)["dt"]
    np.testing.assert_array_equal(found.value[0, :, 0], slopes[0, :, 0] * [0, 1, 1, 0])
    # Nothing rounds before the clamp: an implementation with another slope there is rejected.
    assert (found.bound[0, :, 0] < 1e-3 * np.abs(slopes[0, :, 0])).all()


def test_c2_where_rounding_decides_the_side_of_a_limit_either_slope_is_right() -> None:
    inputs = draw(5, 1, 1, 1, 1, 1, 1, bare=True)
    inputs |= {"dt": np.zeros((1, 1, 1), np.float32), "dt_limit": (float(np.log(2.0)), 1.0)}
    cotangents = draw_cotangents(5, inputs)
    found = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)["dt"]
    free = ssm_spec.ssd_vjp(cotangents, **inputs | {"dt_limit": (0.0, 1.0)})["dt"]
    assert (np.abs(free) <= found.bound).all()


def test_c3_heads_follow_their_groups_in_order() -> None:
    inputs = draw(6, 1, 5, 6, 2, 3, 4)
    inputs["B"][:, :, 1] = 0
    y, final = run(inputs, initial_states=None, D=None)
    assert (y[:, :, 2:4] == 0).all()
    assert (final[:, 2:4] == 0).all()
    assert (np.abs(y[:, :, [0, 1, 4, 5]]) > 0).all()


STREAMS = ("x", "dt", "B", "C", "z", "seq_idx")


def in_time(inputs: dict[str, Any], span: slice) -> dict[str, Any]:
    return {name: value[:, span] if name in STREAMS else value for name, value in inputs.items()}


@pytest.mark.parametrize("variant", ["plain", "limits"])
def test_c5_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps(variant: str) -> None:
    inputs = draw(7, 2, 6, 4, 2, 2, 3, **VARIANTS[variant])
    whole = run(inputs)
    for k in range(7):
        y0, state = run(in_time(inputs, slice(0, k)))
        y1, final = run(in_time(inputs, slice(k, None)), initial_states=state)
        np.testing.assert_array_equal(np.concatenate([y0, y1], 1), whole[0])
        np.testing.assert_array_equal(final, whole[1])
    constants = {k: v for k, v in inputs.items() if k not in (*STREAMS, "initial_states")}
    state, steps = inputs["initial_states"], []
    for t in range(6):
        now = {name: inputs[name][:, t] for name in STREAMS if name in inputs}
        y, state = ssm_spec.ssd_update(state, **now, **constants)
        steps.append(y)
    np.testing.assert_array_equal(np.stack(steps, 1), whole[0])
    np.testing.assert_array_equal(state, whole[1])


def test_c5_packed_is_separate_gradients_too() -> None:
    inputs = draw(8, 1, 9, 4, 2, 2, 3) | {"seq_idx": np.array([[3, 3, 3, 8, 3, 3, 3, 3, 3]])}
    cotangents = draw_cotangents(8, inputs)
    y, final = run(inputs)
    gradients = ssm_spec.ssd_vjp(cotangents, **inputs)
    own = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=DOUBLE, **inputs)
    total = dict.fromkeys(("A", "D", "dt_bias"), np.zeros(4))
    for start, stop in ((0, 3), (3, 4), (4, 9)):
        one = in_time(inputs, slice(start, stop)) | {"seq_idx": None}
        one["initial_states"] = inputs["initial_states"] if start == 0 else None
        y_one, final_one = run(one)
        np.testing.assert_array_equal(y[:, start:stop], y_one)
        last = {"final_states": cotangents["final_states"] if stop == 9 else None}
        found = ssm_spec.ssd_vjp({"y": cotangents["y"][:, start:stop]} | last, **one)
        for name in ("x", "dt", "B", "C", "z"):
            away = np.abs(found[name] - gradients[name][:, start:stop])
            assert (away <= 2 * own[name].own[:, start:stop]).all()
        total = {name: sum_ + found[name] for name, sum_ in total.items()}
    np.testing.assert_array_equal(final, final_one)
    for name, sum_ in total.items():
        assert (np.abs(sum_ - gradients[name]) <= 2 * own[name].own).all()


def test_c5_nothing_crosses_a_reset_and_nothing_reaches_back() -> None:
    inputs = draw(9, 1, 6, 2, 2, 1, 3) | {"seq_idx": np.array([[0, 0, 0, 1, 1, 1]])}
    clean = run(inputs)
    spoiled = inputs["x"].copy()
    spoiled[0, 1, 0, 0] = np.nan
    y, final = run(inputs, x=spoiled)
    hit = np.zeros(y.shape, bool)
    hit[0, 1:3, 0, 0] = True
    assert np.isnan(y[hit]).all()
    np.testing.assert_array_equal(y[~hit], clean[0][~hit])
    np.testing.assert_array_equal(final, clean[1])
    dual, states = ssm_spec.ssd_chunked(chunk_size=4, **inputs | {"x": spoiled})
    assert np.isfinite(dual[:, :, 1]).all()
    assert np.isfinite(states[:, 1]).all()


def test_c5_c6_an_empty_length_hands_the_states_on_and_no_gate_reaches_them() -> None:
    inputs = draw(10, 2, 3, 2, 3, 1, 4)
    empty = in_time(inputs, slice(0, 0))
    y, final = run(empty)
    assert y.shape == (2, 0, 2, 3)
    np.testing.assert_array_equal(final, inputs["initial_states"])
    r = {"final_states": np.ones(final.shape)}
    gradients = ssm_spec.ssd_vjp(r, **empty)
    np.testing.assert_array_equal(gradients["initial_states"], r["final_states"])
    assert all((g == 0).all() for name, g in gradients.items() if name != "initial_states")
    np.testing.assert_array_equal(run(inputs)[1], run(inputs, z=None, D=None)[1])
    for sizes in ((0, 2, 2, 3, 1, 4), (1, 2, 0, 3, 1, 4), (1, 2, 2, 0, 1, 4), (1, 1, 1, 1, 1, 1)):
        small = draw(11, *sizes)
        assert ssm_spec.ssd_chunked(**small)[0].shape == run(small)[0].shape == sizes[:4]
        cotangents = draw_cotangents(11, small)
        for name, bounded in ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=SINGLE, **small).items():
            assert bounded.bound.shape == small[name].shape


def test_the_step_has_the_gradients_and_bounds_of_length_one() -> None:
    inputs = draw(12, 2, 1, 4, 2, 2, 3)
    cotangents = draw_cotangents(12, inputs)
    step = {k: v[:, 0] if k in STREAMS else v for k, v in inputs.items() if k != "initial_states"}
    step["state"] = inputs["initial_states"]
    given = {"y": cotangents["y"][:, 0], "state": cotangents["final_states"]}
    gradients = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)
    found = ssm_spec.ssd_update_vjp_bounds(given, arithmetic=SINGLE, **step)
    plain = ssm_spec.ssd_update_vjp(given, **step)
    assert list(found) == list(plain) == ["state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias"]
    for name, bounded in found.items():
        same = gradients["initial_states" if name == "state" else name]
        np.testing.assert_array_equal(bounded.value, same.value.reshape(step[name].shape))
        np.testing.assert_array_equal(bounded.bound, same.bound.reshape(step[name].shape))
        np.testing.assert_array_equal(bounded.value, plain[name])
    outputs = ssm_spec.ssd_update_bounds(arithmetic=SINGLE, **step)
    np.testing.assert_array_equal(outputs["y"].value, run(inputs)[0][:, 0])
    np.testing.assert_array_equal(outputs["state"].value, run(inputs)[1])


WHERE_IT_FAILS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "dt": ({"dt": np.ones((2, 3, 5))}, ShapeError, r"`dt` must have shape \(b, l, h\)"),
    "rank": ({"B": np.ones((2, 3, 5))}, ShapeError, r"`B` must have shape \(b, l, g, n\)"),
    "groups": (
        {"B": np.ones((2, 3, 3, 5))},
        ShapeError,
        "`B` must have .* that divides h = 4; got g = 3",
    ),
    "C's groups": ({"C": np.ones((2, 3, 1, 5))}, ShapeError, "`C` must have shape .* g = 2, from `B`"),
    "no states": ({"B": np.ones((2, 3, 2, 0))}, ShapeError, "`B` must have n >= 1"),
    "D": ({"D": np.ones(5)}, ShapeError, r"`D` must have shape \(h,\)"),
    "z": ({"z": np.ones((2, 3, 8))}, ShapeError, "`z` must have shape"),
    "states": ({"initial_states": np.ones((2, 4, 5, 2))}, ShapeError, "`initial_states` must have shape"),
    "half A": ({"A": np.ones(4, np.float16)}, DTypeError, "`A` must have at least single precision"),
    "complex A": ({"A": np.ones(4) * 1j}, DTypeError, "`A` must be real"),
    "integers": ({"x": np.ones((2, 3, 4, 2), int)}, DTypeError, "`x` must hold floating-point"),
    "ids": ({"seq_idx": np.zeros((2, 3))}, DTypeError, "`seq_idx` must hold integers"),
    "limits": ({"dt_limit": (1.0, 0.5)}, DomainError, "`dt_limit` must be a pair"),
    "limit of NaN": ({"dt_limit": (np.nan, 0.5)}, DomainError, "`dt_limit` must be a pair"),
    "one limit": ({"dt_limit": 0.5}, DomainError, "`dt_limit` must be a pair"),
}


@pytest.mark.parametrize("name", WHERE_IT_FAILS)
def test_bad_arguments_are_named(name: str) -> None:
    change, error, message = WHERE_IT_FAILS[name]
    with pytest.raises(error, match=message):
        ssm_spec.ssd(**draw(13, 2, 3, 4, 2, 2, 5) | change)


def test_bad_arguments_of_the_other_fronts_are_named() -> None:
    inputs = draw(13, 2, 3, 4, 2, 2, 5)
    with pytest.raises(DomainError, match="`chunk_size` must be >= 1; got 0"):
        ssm_spec.ssd_chunked(chunk_size=0, **inputs)
    with pytest.raises(DomainError, match="`cotangents` must be named after"):
        ssm_spec.ssd_vjp({"last_state": np.ones(1)}, **inputs)
    with pytest.raises(DomainError, match=r"`arithmetic\.operands` of SSD must not be 'float16'"):
        ssm_spec.ssd_bounds(arithmetic=Arithmetic(operands="float16"), **inputs)
    with pytest.raises(DomainError, match=r"`arithmetic\.evaluation`"):
        ssm_spec.ssd_bounds(arithmetic=Arithmetic(evaluation="fft"), **inputs)
    with pytest.raises(ShapeError, match=r"`x` must have shape \(b, h, p\)"):
        ssm_spec.ssd_update(inputs["initial_states"], **{k: inputs[k] for k in ("x", "dt", "A", "B", "C")})
