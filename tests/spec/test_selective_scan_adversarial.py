"""Data chosen to bring one term of the bound to the front: without that term honest code would fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from .scan_data import draw, draw_cotangents

torch = pytest.importorskip("torch")
from . import scan_kernels as kernels
from .scan_kernels import Kernel, execute
from .test_selective_scan_honest import bounds, flushing, ratios

SCAN = Arithmetic(evaluation="scan")
THIRD = np.float32(1 / 3)


def alone(l: int, rate: float, drive: float, state: float) -> dict[str, Any]:
    """One channel, one mode, Δ = 1, constant data."""
    full = np.ones((1, 1, l), np.float32)
    return {
        "u": drive * full,
        "delta": full,
        "A": np.full((1, 1), rate, np.float32),
        "B": full,
        "C": full,
        "initial_state": np.full((1, 1, 1), state, np.float32),
        "delta_softplus": False,
        "b_discretization": "euler",
    }


def worst(kernel: Kernel, inputs: dict[str, Any], arithmetic: Arithmetic) -> float:
    cotangents = draw_cotangents(0, inputs)
    return max(ratios(execute(kernel, inputs, cotangents), bounds(inputs, cotangents, arithmetic)).values())


def test_constant_data_sums_with_a_bias_of_its_own() -> None:
    """Every addition of an undamped running sum rounds the same way over long stretches."""
    inputs = alone(2001, 0.0, THIRD, 0.0)
    found = worst(Kernel(), inputs, SCAN)
    assert 1e-2 < found <= 1


def test_a_sum_over_time_may_be_taken_one_by_one() -> None:
    inputs = alone(5003, -1.0, THIRD, 0.0) | {"D": np.ones(1, np.float32)}
    cotangents = {"y": np.full((1, 1, 5003), THIRD)}
    dD = ssm_spec.selective_scan_vjp_bounds(cotangents, ["D"], arithmetic=SCAN, **inputs)["D"]
    terms = cotangents["y"] * inputs["u"]
    one_by_one = np.cumsum(terms.ravel(), dtype=np.float32)[-1]
    error = abs(one_by_one - dD.value[0])
    assert 10 * 2.0**-24 * dD.value[0] < error <= dD.bound[0]  # log₂ k roundings would not do


def test_a_right_fold_rounds_as_many_sums_as_there_are_steps() -> None:
    """From the newest source on each older one is less than half a unit, and lost; decays of ½ forget."""
    inputs = alone(41, np.log(0.5), 0.0, 0.0)
    inputs["u"][0, 0] = 0.99 * 2.0**-24 * 2.0 ** np.arange(40.0, -1.0, -1.0)
    inputs["u"][0, 0, -1] = 1.0
    decay = np.exp(inputs["A"][0, 0])
    y, weight = inputs["u"][0, 0, -1], np.float32(1)
    for source in inputs["u"][0, 0, -2::-1]:
        weight *= decay
        y += weight * source
    assert y.dtype == np.float32
    for evaluation, within in (("right_fold", True), ("scan", False)):
        found = ssm_spec.selective_scan_bounds(
            arithmetic=Arithmetic(evaluation=evaluation, fold_depth=40), **inputs
        )["y"]
        assert (abs(y - found.value[0, 0, -1]) <= found.bound[0, 0, -1]) == within


def test_products_of_decays_may_underflow_where_the_state_does_not() -> None:
    """10⁻²⁰·10⁻²⁰ is subnormal; times a state of 10¹⁰ the digits it lost are seen."""
    inputs = alone(5, -46.0, 0.0, 1e30)
    assert worst(Kernel(kernels.kogge_stone), inputs, SCAN) <= 1
    assert worst(Kernel(kernels.kogge_stone, around=flushing), inputs, SCAN) <= 1


def test_a_state_may_be_flushed_as_it_decays() -> None:
    assert 1e-2 < worst(Kernel(around=flushing), alone(9, -0.7, 0.0, 1e-37), SCAN) <= 1


@pytest.mark.parametrize("q", [4, 16])
def test_a_large_cotangent_of_the_last_state_counts_from_the_end(q: int) -> None:
    for seed in range(4):
        inputs = draw(seed, 1, 4, 13, 2)
        cotangents = draw_cotangents(seed, inputs)
        cotangents["last_state"] *= np.float32(1e4)
        allowed = bounds(inputs, cotangents, Arithmetic(evaluation="chunk", chunk=q))
        found = execute(Kernel(kernels.chunked(q)), inputs, cotangents)
        used = ratios(found, allowed)
        assert all(ratio <= 1 for ratio in used.values()), used
        found = execute(Kernel(kernels.subtractive), inputs, cotangents)
        used = ratios(found, bounds(inputs, cotangents, Arithmetic()))
        assert all(ratio <= 1 for ratio in used.values()), used


def test_the_decayed_state_by_subtraction_needs_its_own_bound() -> None:
    """h − b̄u cancels where little of the old state is left: what a declared direct kernel may not do."""
    inputs = draw(1, 1, 4, 13, 2)
    inputs["A"] = inputs["A"] * 20
    cotangents = draw_cotangents(1, inputs)
    found = execute(Kernel(kernels.subtractive), inputs, cotangents)
    direct = Arithmetic(evaluation="scan", decayed_state="direct")
    assert max(ratios(found, bounds(inputs, cotangents, direct)).values()) > 100
    used = ratios(found, bounds(inputs, cotangents, SCAN))
    assert all(ratio <= 1 for ratio in used.values()), used


def test_what_is_handed_on_reads_the_state_of_a_chunk() -> None:
    """h_4, a weight times b_0, underflows; r_last reads it, and a sum over times brings that to dΔ_3."""
    inputs = alone(5, -28.0, 0.0, 0.0)
    inputs["u"][..., 0] = 4e22
    cotangents = {"y": np.zeros((1, 1, 5), np.float32), "last_state": np.ones((1, 1, 1), np.float32)}
    found = execute(Kernel(kernels.chunked(8)), inputs, cotangents)
    allowed = bounds(inputs, cotangents, Arithmetic(evaluation="chunk", chunk=8))
    assert found["delta"][0, 0, 3] == 0.0 != allowed["delta"].value[0, 0, 3]
    used = ratios(found, allowed)
    assert all(ratio <= 1 for ratio in used.values()), used


def test_a_complex_number_loses_more_than_a_part_of_it() -> None:
    """Both parts of C are subnormal and read as zero, √2 η in all; a large state sees it."""
    part = np.float32(0.999 * 2.0**-126)
    inputs = alone(1, 0.0, 0.0, 0.0)
    inputs |= {name: inputs[name].astype(np.complex64) for name in ("A", "B")}
    inputs["C"] = np.full((1, 1, 1), part + 1j * part, np.complex64)
    inputs["initial_state"] = np.full((1, 1, 1), 1e10 - 1e10j, np.complex64)
    arithmetic = Arithmetic(evaluation="sequential")
    y = ssm_spec.selective_scan_bounds(arithmetic=arithmetic, **inputs)["y"]
    assert 4e10 * part == pytest.approx(y.value[0, 0, 0], rel=1e-6)
    assert y.value[0, 0, 0] <= y.bound[0, 0, 0]


SMALL, GREAT, LARGE = np.float32([1e-20, 1e10, 1e20])
DUAL: dict[str, tuple[dict[str, Any], str]] = {
    "C B of y": ({"B": SMALL, "C": SMALL, "delta": GREAT, "u": GREAT}, "out:y"),
    "C B of dz": ({"B": SMALL, "C": SMALL, "delta": GREAT, "u": GREAT}, "z"),
    "C B of du": ({"B": SMALL, "C": SMALL, "delta": GREAT, "y": GREAT}, "u"),
    "C Δ of dB": ({"delta": SMALL, "C": SMALL, "u": GREAT, "y": GREAT}, "B"),
    "u q of dΔ": ({"u": SMALL, "y": SMALL, "B": GREAT, "C": GREAT}, "delta"),
    "B q of dC": ({"B": SMALL, "y": SMALL, "delta": GREAT, "u": GREAT}, "C"),
}


@pytest.mark.parametrize("name", DUAL)
def test_a_chunk_may_multiply_what_reads_with_what_enters_first(name: str) -> None:
    """Products of matrices: (C_t B_s) w (Δu)_s, the first of which underflows."""
    sizes, result = DUAL[name]
    inputs = alone(1, -1e-12, 1.0, 0.0)
    inputs["z"] = inputs["u"]
    for key in sizes.keys() & inputs.keys():
        inputs[key] = inputs[key] * sizes[key]
    one = np.ones((1, 1, 1), np.float32)
    cotangents = {"y": one * sizes.get("y", np.float32(1)), "last_state": 0 * one}
    for arithmetic, honest in ((Arithmetic(), True), (Arithmetic(evaluation="sequential"), False)):
        allowed = bounds(inputs, cotangents, arithmetic)[result]
        assert allowed.judged.all()
        assert (np.abs(allowed.value) <= allowed.bound).all() == honest


def test_a_chunk_may_multiply_a_weight_with_a_step_first() -> None:
    """w Δ_0 = 10⁻⁴⁰ of h_1 = w Δ_0 u_0 B_0, as where x meets w Δ B."""
    inputs = alone(2, -46.0, 0.0, 0.0)
    inputs["delta"] = np.array([[[SMALL, 1]]], np.float32)
    inputs["u"] = np.array([[[LARGE, 0]]], np.float32)
    inputs["B"] = np.array([[[LARGE, 1]]], np.float32)
    chunk = Arithmetic(evaluation="chunk", chunk=2)
    last = ssm_spec.selective_scan_bounds(arithmetic=chunk, **inputs)["last_state"]
    assert 0.5 < last.value[0, 0, 0] <= last.bound[0, 0, 0]


def test_a_chunk_may_decay_a_cotangent_before_it_meets_what_reads() -> None:
    """a_1 q_1 = 10⁻⁴⁰ of a_1 q_1 C_1, which the chunk of step 1 hands back to that of step 0."""
    inputs = alone(2, np.log(SMALL), 0.0, 0.0)
    inputs["C"] = np.array([[[1, LARGE]]], np.float32)
    cotangents = {"y": np.array([[[0, SMALL]]], np.float32), "last_state": np.zeros((1, 1, 1), np.float32)}
    for evaluation, honest in (("chunk", True), ("sequential", False)):
        du = bounds(inputs, cotangents, Arithmetic(evaluation=evaluation, chunk=1))["u"]
        assert du.judged.all()
        assert (du.value[0, 0, 0] <= du.bound[0, 0, 0]) == honest
