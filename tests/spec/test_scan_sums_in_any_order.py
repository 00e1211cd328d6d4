"""The terms of scans of any algebra and of the Mamba block are one sum in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

from .first_of_many import COUNT, DIAGONAL, LOST, TURNED, Arrays, first, ones, ratio_of_one


def scanned(evaluation: Any, fold_depth: int | None, a: Any, x: Any) -> Bounded:
    arithmetic = Arithmetic(evaluation=evaluation, fold_depth=fold_depth)
    return ssm_spec.ssm_associative_scan_bounds(arithmetic=arithmetic, a=a, x=x)["h"]


def test_a_right_fold_of_matrices_meets_a_sum_at_each_node() -> None:
    x = LOST * ones(1, COUNT)
    x[0, -1] = 1
    found = scanned("right_fold", COUNT - 1, ones(1, 1, COUNT), x)
    assert 0.5 < ratio_of_one(found, (0, -1)) <= 1


def test_what_a_scan_of_matrices_adds_may_be_the_first_term() -> None:
    a = np.zeros((COUNT, COUNT, 2), np.float32)
    a[0] = 1
    x = LOST * ones(COUNT, 2)
    x[:, 1] = np.eye(COUNT)[0]
    assert 0.5 < ratio_of_one(scanned("sequential", None, a, x), (0, -1)) <= 1


def test_the_step_of_a_complex_scan_may_sum_real_parts_of_two_gradients_a_state() -> None:
    """dΔ: 1 of the first state, and four real terms of each other, by way of its source and of its decay."""
    initial = ones(1, 1, COUNT)
    initial[..., 0] = 0
    inputs = {
        "u": ones(1, 1, 1),
        "delta": np.full((1, 1, 1), 1e-12, np.float32),
        "A": np.full((1, COUNT), DIAGONAL),
        "B": first(np.complex64(1), DIAGONAL, 1, COUNT, 1),
        "C": first(np.complex64(0.5), TURNED / np.float32(2), 1, COUNT, 1),
        "initial_state": initial,
    }
    for rule in ("euler", "zoh"):
        found = scan_gradient({"y": ones(1, 1, 1)}, "delta", "sequential", b_discretization=rule, **inputs)
        assert 0.5 < ratio_of_one(found) <= 1


def scan_gradient(cotangents: Arrays, wanted: str, evaluation: Any, **inputs: Any) -> Bounded:
    arithmetic = Arithmetic(evaluation=evaluation)
    return ssm_spec.selective_scan_vjp_bounds(cotangents, [wanted], arithmetic=arithmetic, **inputs)[wanted]


@pytest.mark.parametrize("evaluation", ["sequential", "scan"])
def test_a_sum_over_the_rows_of_a_complex_scan_may_sum_both_parts(evaluation: Any) -> None:
    """dA of one step from a given state: λ times the state's conjugate."""
    inputs = {
        "u": 0 * ones(COUNT, 1, 1),
        "delta": ones(COUNT, 1, 1),
        "A": np.full((1, 1), -1e-12 + 1e-12j, np.complex64),
        "B": ones(COUNT, 1, 1),
        "C": ones(COUNT, 1, 1),
        "initial_state": np.conj(first(1, TURNED, COUNT, 1, 1)),
    }
    cotangents = {"last_state": first(1, DIAGONAL, COUNT, 1, 1)}
    # The imaginary part of 1 is that of A.
    assert 0.4 < ratio_of_one(scan_gradient(cotangents, "A", evaluation, **inputs)) <= 1


def test_a_zero_order_hold_gives_a_mode_two_terms_a_step() -> None:
    """dA: 1 of the first row, and of each other one Δ dp and Δ²ψ uλB, both lost; a small step has ψ = ½."""
    rows = COUNT
    initial, u = ones(rows, 1, 1), 2 * ones(rows, 1, 1)
    u[0] = 0
    inputs = {"u": u, "delta": ones(rows, 1, 1), "A": np.full((1, 1), -1e-12, np.float32)}
    inputs |= {"B": ones(rows, 1, 1), "C": ones(rows, 1, 1), "initial_state": initial}
    cotangents = {"last_state": first(1, LOST, rows, 1, 1)}
    found = scan_gradient(cotangents, "A", "sequential", b_discretization="zoh", **inputs)
    assert 0.5 < ratio_of_one(found) <= 1


@pytest.mark.parametrize("evaluation", ["chunk", "matmul_chunk"])
def test_a_chunk_of_a_complex_scan_may_sum_both_parts(evaluation: Any) -> None:
    """The last source is 1. Weights turn by a quarter, and both real products of other sources are lost."""
    steps = 8 * COUNT
    turn = 0.5 * np.pi / steps
    weights = np.exp(1j * turn * np.arange(steps - 1, 0, -1))
    larger = np.maximum(weights.real, weights.imag)
    inputs = {
        "u": ones(1, 1, steps),
        "delta": ones(1, 1, steps),
        "A": np.full((1, 1), 1j * turn, np.complex64),
        "B": np.append(TURNED / larger, 1)[None, None].astype(np.complex64),
        "C": ones(1, 1, steps),
    }
    arithmetic = Arithmetic(evaluation=evaluation, chunk=steps)
    found = ssm_spec.selective_scan_bounds(arithmetic=arithmetic, **inputs, return_last_state=True)[
        "last_state"
    ]
    error = np.abs(1 - found.value.real) / (found.bound + found.own)
    assert 0.4 < error.item() <= 1


def mamba_block(states: int, x_proj: Any, dt_proj: Any, bias: float, D: float) -> Arrays:
    """One step of one channel, whose filter and gate have 1 before their activation; decays are 1."""
    column, row = np.asarray(x_proj, np.float32)[:, None], np.asarray(dt_proj, np.float32)[None]
    found = {"x": ones(1, 1, 1), "in_proj": ones(2, 1), "conv1d_weight": ones(1, 1), "conv1d_bias": None}
    found |= {"x_proj": column, "dt_proj_weight": row, "dt_proj_bias": np.full(1, bias, np.float32)}
    return found | {
        "A_log": np.full((1, states), -30, np.float32),
        "D": np.full(1, D, np.float32),
        "out_proj": ones(1, 1),
    }


SILU_OF_ONE = 1 / (1 + np.exp(-1.0))


def test_the_bias_of_a_blocks_step_may_be_the_first_of_its_terms() -> None:
    """A bias of −8 loses all that is added to it."""
    rank, bias = 512, -8.0
    ranks = np.full(rank, 8 * LOST / SILU_OF_ONE)
    inputs = mamba_block(1, np.ones(rank + 2), -ranks, bias, 0)
    bounded = ssm_spec.mamba_block_bounds(arithmetic=Arithmetic(), **inputs)["y"]
    alone = ssm_spec.mamba_block(**mamba_block(1, np.ones(rank + 2), 0 * ranks, bias, 0))
    assert bounded.judged.all()
    assert 0.5 < np.abs(alone - bounded.value) / (bounded.bound + bounded.own) <= 1


def test_a_blocks_gradient_may_begin_with_the_scans() -> None:
    """The scan hands 1 to its input, by way of D; B and C hand back 128 terms, each of which is lost."""
    hold = np.log(2.0) * SILU_OF_ONE**2
    inputs = mamba_block(
        2 * COUNT, np.append(np.ones(2 * COUNT + 1), np.full(2 * COUNT, LOST / hold)), [0], 0, 1
    )
    inputs["conv1d_bias"] = 0 * ones(1)
    vjp = ssm_spec.mamba_block_vjp_bounds
    found = vjp({"y": ones(1, 1, 1)}, ["conv1d_bias"], arithmetic=Arithmetic(), **inputs)["conv1d_bias"]
    lost = 2 * COUNT * LOST
    begun = found.value * (1 + lost) / (1 + 3 * lost)
    assert found.judged.all()
    assert 0.5 < np.abs(begun - found.value) / (found.bound + found.own) <= 1


@pytest.mark.parametrize("evaluation", ["any", "sequential", "scan"])
def test_a_bias_that_no_softplus_follows_has_the_terms_of_all_states(evaluation: Any) -> None:
    """Over 8 rows and 16 states, or channels: each Δ's terms need not be summed by themselves."""
    inputs = {"u": ones(8, 1, 1), "delta": ones(8, 1, 1), "A": np.full((1, 16), -1e-12, np.float32)}
    inputs |= {"B": ones(8, 16, 1), "C": first(1, LOST, 8, 16, 1), "delta_bias": 0 * ones(1)}
    found = scan_gradient({"y": ones(8, 1, 1)}, "delta_bias", evaluation, **inputs)
    assert 0.3 < ratio_of_one(found) <= 1


@pytest.mark.parametrize("evaluation", ["any", "sequential", "chunk"])
def test_a_bias_of_heads_has_the_terms_of_all_states_and_channels(evaluation: Any) -> None:
    """Over 32 rows and 16 channels of one head."""
    inputs = {"x": ones(32, 1, 1, 16), "dt": ones(32, 1, 1), "A": np.full(1, -1e-12, np.float32)}
    inputs |= {"B": ones(32, 1, 1, 1), "C": ones(32, 1, 1, 1), "dt_bias": 0 * ones(1)}
    arithmetic = Arithmetic(evaluation=evaluation)
    cotangents = {"y": first(1, LOST, 32, 1, 1, 16)}
    found = ssm_spec.ssd_vjp_bounds(cotangents, ["dt_bias"], arithmetic=arithmetic, **inputs)["dt_bias"]
    assert 0.3 < ratio_of_one(found) <= 1
