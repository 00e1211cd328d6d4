"""Both backends' selective scan, and its single step, against the definition and against themselves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from ssm_backends import ArgumentError
from ssm_conformance import assert_conforms

from . import formulas
from .conftest import Caller
from .scans import PACKED, RESET, UNPACKED, VARIANTS, Variant, draw, floating, narrowed

EVERY = pytest.mark.parametrize("variant", VARIANTS, ids=str)
PLAIN = Variant("varying", "whole", "euler", False)
ROUNDINGS = 64
"""More than the roundings that any one result here collects: l n products, a few functions."""


def close(actual: Any, expected: Any, dtype: str = "float64") -> None:
    """Equal to some roundings of the largest element (the values are of one magnitude)."""
    scale = np.abs(expected).max(initial=1.0)
    bound = ROUNDINGS * np.finfo(dtype).eps * scale
    assert np.shape(actual) == np.shape(expected)
    assert np.abs(actual - expected).max(initial=0.0) <= bound


@EVERY
def test_the_scan_is_the_definition(run: Caller, variant: Variant) -> None:
    inputs = draw(variant)
    y, last_state = run("selective_scan", **inputs, return_last_state=True)
    expected = formulas.selective_scan(**inputs)
    close(y, expected[0])
    close(last_state, expected[1])
    np.testing.assert_array_equal(run("selective_scan", **inputs), y)


@pytest.mark.parametrize("left_out", ["D", "z", "delta_bias", "delta_softplus", "initial_state"])
def test_every_option_may_be_left_out(run: Caller, left_out: str) -> None:
    inputs = {name: value for name, value in draw(PLAIN).items() if name != left_out}
    y, last_state = run("selective_scan", **inputs, return_last_state=True)
    expected = formulas.selective_scan(**inputs)
    close(y, expected[0])
    close(last_state, expected[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_complex", [False, True])
def test_results_have_the_types_that_the_operator_says(run: Caller, dtype: str, is_complex: bool) -> None:
    inputs = narrowed(draw(Variant("grouped", "whole", "zoh", is_complex)), dtype)
    found = run.outputs("selective_scan", **inputs, return_last_state=True)
    assert found["y"].dtype == dtype
    assert found["last_state"].dtype == inputs["A"].dtype
    for value, expected in zip(found.values(), formulas.selective_scan(**inputs), strict=True):
        close(value, expected, dtype)
    cotangents = {name: np.ones_like(value) for name, value in found.items()}
    for name, gradient in run.vjp("selective_scan", cotangents, floating(inputs), **inputs).items():
        assert gradient.dtype == inputs[name].dtype
        assert gradient.shape == inputs[name].shape


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e20])
def test_a_step_whose_square_or_product_with_an_input_overflows_is_held(
    run: Caller, is_complex: bool, size: float
) -> None:
    inputs = narrowed(draw(Variant("varying", "whole", "zoh", is_complex)), "float32")
    inputs["delta"][:, :, 3] = 1e20
    inputs["B"][..., 3] *= size
    found = run.outputs("selective_scan", **inputs, return_last_state=True)
    cotangents = {name: np.ones_like(value) for name, value in found.items()}
    gradients = run.vjp("selective_scan", cotangents, ["A"], **inputs, return_last_state=True)
    facts = {"evaluation": "scan", "decayed_state": "direct"}
    assert_conforms(
        "selective_scan", found, gradients=gradients, cotangents=cotangents, arithmetic=facts, **inputs
    )


@EVERY
def test_two_ways_to_the_gradient_agree(numpy_run: Caller, torch_run: Caller, variant: Variant) -> None:
    inputs = draw(variant)
    wrt = floating(inputs)
    outputs = numpy_run.outputs("selective_scan", **inputs, return_last_state=True)
    rng = np.random.default_rng(5)
    cotangents = {
        name: rng.standard_normal(x.shape) + (1j * rng.standard_normal(x.shape) if np.iscomplexobj(x) else 0)
        for name, x in outputs.items()
    }
    whole = inputs | {"return_last_state": True}
    analytic = numpy_run.vjp("selective_scan", cotangents, wrt, **whole)
    automatic = torch_run.vjp("selective_scan", cotangents, wrt, **whole)
    for name in wrt:
        close(analytic[name], automatic[name])


@EVERY
def test_the_gradient_is_the_slope(torch_run: Caller, variant: Variant) -> None:
    inputs = draw(variant, d=6, l=4, n=2)
    wrt = floating(inputs)
    fixed = {name: torch_run.take(x) for name, x in inputs.items() if name not in wrt}
    fn = torch_run.backend.implementations("selective_scan")[0].fn
    leaves = [torch_run.take(inputs[name]).requires_grad_() for name in wrt]

    def outputs(*values: Any) -> Any:
        return fn(**dict(zip(wrt, values, strict=True)), **fixed, return_last_state=True)

    assert torch.autograd.gradcheck(outputs, leaves, fast_mode=True)


def test_one_cotangent_may_be_missing(run: Caller) -> None:
    inputs = draw(PLAIN) | {"return_last_state": True}
    outputs = run.outputs("selective_scan", **inputs)
    wrt = floating(inputs)
    ones = {name: np.ones_like(x) for name, x in outputs.items()}
    both = run.vjp("selective_scan", ones, wrt, **inputs)
    alone = [run.vjp("selective_scan", {name: ones[name]}, wrt, **inputs) for name in ones]
    for name in wrt:
        close(alone[0][name] + alone[1][name], both[name])


@pytest.mark.parametrize("variant", UNPACKED, ids=str)
def test_two_scans_in_a_row_are_one(run: Caller, variant: Variant) -> None:
    inputs = draw(variant)
    timed = {"u", "delta", "z", "seq_idx"} | ({"B", "C"} if variant.matrices != "constant" else set())
    y, last_state = run("selective_scan", **inputs, return_last_state=True)
    for cut in (0, 1, 4, 7):
        head = {name: x[..., :cut] if name in timed else x for name, x in inputs.items()}
        tail = {name: x[..., cut:] if name in timed else x for name, x in inputs.items()}
        first, state = run("selective_scan", **head, return_last_state=True)
        if variant.packing == "ids" and 0 < cut < 7:  # a change at the cut itself is the caller's to see
            changes = inputs["seq_idx"][:, cut] != inputs["seq_idx"][:, cut - 1]
            state = np.where(changes[:, None, None], 0, state)
        rest, state = run("selective_scan", **tail | {"initial_state": state}, return_last_state=True)
        close(np.concatenate([first, rest], axis=-1), y)
        close(state, last_state)


@pytest.mark.parametrize("variant", PACKED, ids=str)
def test_packed_sequences_are_the_separate_ones(run: Caller, variant: Variant) -> None:
    inputs = draw(variant)
    offsets = inputs.pop("cu_seqlens")
    y, states = run("selective_scan", **inputs, cu_seqlens=offsets, return_last_state=True)
    ids = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)).astype(np.int64)[None]
    zeros = np.zeros_like(inputs["initial_state"])
    by_offsets = run("selective_scan", **inputs | {"initial_state": zeros}, cu_seqlens=offsets)
    close(run("selective_scan", **inputs | {"initial_state": zeros[:1]}, seq_idx=ids), by_offsets)
    timed = {"u", "delta", "z"} | ({"B", "C"} if variant.matrices != "constant" else set())
    for row, (start, stop) in enumerate(pairwise(offsets)):
        alone = {name: x[..., start:stop] if name in timed else x for name, x in inputs.items()}
        alone["initial_state"] = inputs["initial_state"][row : row + 1]
        y_alone, state = run("selective_scan", **alone, return_last_state=True)
        close(y_alone, y[..., start:stop])
        close(state[0], states[row])


@pytest.mark.parametrize("offsets", [[1, 7], [0, 6], [0, 4, 3, 7], [0, 8], [0, -1, 7]], ids=str)
def test_malformed_offsets_are_refused(run: Caller, offsets: list[int]) -> None:
    inputs = draw(PLAIN, b=1)
    del inputs["initial_state"]
    with pytest.raises(ArgumentError, match=r"^`cu_seqlens` must rise from 0 to l = 7; got \["):
        run("selective_scan", **inputs, cu_seqlens=np.array(offsets, np.int32))


def test_packing_nothing_is_allowed(run: Caller) -> None:
    inputs = draw(PLAIN, b=1, l=0) | {"initial_state": np.zeros((0, 6, 3))}
    y, states = run("selective_scan", **inputs, cu_seqlens=np.zeros(1, np.int32), return_last_state=True)
    assert (y.shape, states.shape) == ((1, 6, 0), (0, 6, 3))


@pytest.mark.parametrize("variant", UNPACKED, ids=str)
@pytest.mark.parametrize("empty", ["b", "d", "l"])
def test_empty_scans(run: Caller, variant: Variant, empty: str) -> None:
    inputs = draw(variant, **{empty: 0}) | {"return_last_state": True}
    outputs = run.outputs("selective_scan", **inputs)
    assert outputs["y"].shape == inputs["u"].shape
    np.testing.assert_array_equal(outputs["last_state"], inputs["initial_state"])
    ones = {name: np.ones_like(x) for name, x in outputs.items()}
    for name, gradient in run.vjp("selective_scan", ones, floating(inputs), **inputs).items():
        np.testing.assert_array_equal(gradient, np.full(inputs[name].shape, float(name == "initial_state")))


@EVERY
def test_the_past_does_not_know_the_future(run: Caller, variant: Variant) -> None:
    inputs = narrowed(draw(variant), "float32")
    y = run("selective_scan", **inputs)
    for name in ("u", "delta", "z"):
        for value in (1e30, np.nan, np.inf):
            changed = inputs[name].copy()
            changed[:, :, 5] = value
            other = run("selective_scan", **inputs | {name: changed})
            np.testing.assert_array_equal(other[:, :, :5], y[:, :, :5])
            assert not np.array_equal(other[:, :, 5], y[:, :, 5])


@pytest.mark.parametrize("variant", RESET, ids=str)
def test_what_is_not_finite_stays_in_its_row_channel_and_sequence(run: Caller, variant: Variant) -> None:
    inputs = draw(variant)
    if variant.packing == "ids":
        inputs["seq_idx"] = np.array([[3, 3, 3, 1, 1, 1, 1]] * 2, np.int32)
    t = 2  # the last time before a reset
    y, states = run("selective_scan", **inputs, return_last_state=True)
    for name, value in (("u", np.nan), ("u", np.inf), ("delta", np.nan), ("delta", np.inf), ("z", np.nan)):
        changed = inputs[name].copy()
        changed[0, 2, t] = value
        other, other_states = run("selective_scan", **inputs | {name: changed}, return_last_state=True)
        touched = np.zeros(y.shape, bool)
        touched[0, 2, t] = True
        np.testing.assert_array_equal(other[~touched], y[~touched])
        if variant.packing == "ids":
            np.testing.assert_array_equal(other_states, states)


def test_a_growing_decay_at_a_reset_does_not_multiply(run: Caller) -> None:
    inputs = draw(PLAIN) | {"seq_idx": np.array([[0, 0, 0, 1, 1, 1, 1]] * 2, np.int32)}
    inputs["A"] = np.full((6, 3), 800.0)
    inputs["delta"] = np.where(np.arange(7) == 3, 1.0, -1.0) * np.ones((2, 6, 7))
    del inputs["delta_softplus"], inputs["delta_bias"]
    assert np.isfinite(run("selective_scan", **inputs)).all()


@pytest.mark.parametrize("l", [0, 1, 7])
@pytest.mark.parametrize("variant", VARIANTS[::5], ids=str)
def test_inputs_are_neither_written_nor_handed_back(run: Caller, variant: Variant, l: int) -> None:
    inputs = draw(variant, l=l) | {"return_last_state": True}
    if l < 7:
        inputs.pop("cu_seqlens", None)
        inputs["initial_state"] = inputs["initial_state"][: len(inputs["u"])]
    there = {name: run.take(x) for name, x in inputs.items()}
    result = run.backend.implementations("selective_scan")[0].fn(**there)
    for x in result:
        x[...] = 7
    for name in floating(inputs):
        np.testing.assert_array_equal(run.arrays.to_numpy(there[name]), inputs[name])


@pytest.mark.parametrize("value", [-np.inf, -800.0])
def test_no_step_leaves_the_state_as_it_is_with_gradient_zero(run: Caller, value: float) -> None:
    inputs = draw(PLAIN) | {"return_last_state": True}
    inputs["delta"] = np.full_like(inputs["delta"], value)
    outputs = run.outputs("selective_scan", **inputs)
    np.testing.assert_array_equal(outputs["last_state"], inputs["initial_state"])
    ones = {name: np.ones_like(x) for name, x in outputs.items()}
    found = run.vjp("selective_scan", ones, ("delta", "initial_state"), **inputs)
    assert not found["delta"].any()
    assert np.isfinite(found["initial_state"]).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("is_complex", [False, True])
def test_halves_are_rounded_once_at_the_end(torch_run: Caller, dtype: str, is_complex: bool) -> None:
    inputs = narrowed(draw(Variant("grouped", "ids", "zoh", is_complex)), "float32")
    half = getattr(torch, dtype)
    streams = ("u", "delta", "z") if is_complex else ("u", "delta", "z", "B", "C")
    there = {name: torch_run.take(x) for name, x in inputs.items()}
    there |= {name: there[name].to(half).requires_grad_() for name in streams}
    wide = {name: x.detach().float() if name in streams else x for name, x in there.items()}
    wide |= {name: wide[name].requires_grad_() for name in streams}
    fn = torch_run.backend.implementations("selective_scan")[0].fn
    y, state = fn(**there, return_last_state=True)
    y_wide, state_wide = fn(**wide, return_last_state=True)
    assert y.dtype == half
    assert torch.equal(y, y_wide.to(half))
    assert torch.equal(state, state_wide)
    gradients = torch.autograd.grad(y.sum(), [there[name] for name in streams])
    wide_gradients = torch.autograd.grad(y_wide.sum(), [wide[name] for name in streams])
    for gradient, expected in zip(gradients, wide_gradients, strict=True):
        assert torch.equal(gradient, expected.to(half))


def test_mixed_streams_count_as_their_values(run: Caller) -> None:
    inputs = draw(PLAIN)
    for name in ("delta", "z", "B", "C"):
        inputs[name] = inputs[name].astype(np.float32)
    y = run("selective_scan", **inputs)
    assert y.dtype == np.float64
    wide = {name: x.astype(np.float64) if name in floating(inputs) else x for name, x in inputs.items()}
    np.testing.assert_array_equal(y, run("selective_scan", **wide))
    gradients = run.vjp("selective_scan", {"y": y}, ("delta", "z", "B", "C"), **inputs)
    assert {x.dtype for x in gradients.values()} == {np.dtype(np.float32)}
