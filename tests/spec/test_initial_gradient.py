"""d(initial) is one decay more than the adjoint has: by products of decays, or out of a chunk's sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_spec import (
    Arithmetic,
    Bounded,
    mamba3_siso_vjp_bounds,
    s4d_vjp_bounds,
    selective_scan_vjp_bounds,
    ssd_vjp_bounds,
    ssm_recurrence_vjp_bounds,
)

LARGE = np.float32(1e30)
SMALL = np.float32(1e-20)
"""SMALL² is subnormal: two decays that are multiplied before they meet LARGE lose all that they hold."""
CLASSES = ("any", "scan", "chunk")


def ratio(found: Any, allowed: Bounded) -> float:
    """The worst err / (bound + own)."""
    assert allowed.judged.all()
    error = np.abs(np.asarray(found, np.float64) - allowed.value)
    return float(np.max(error / (allowed.bound + allowed.own)))


def flushed(x: np.float32) -> np.float32:
    """x, or zero where it is subnormal."""
    return x if abs(x) >= np.finfo(np.float32).tiny else np.float32(0)


def scan_allowed(evaluation: Any) -> Bounded:
    """Two steps of one mode; the second output alone has a cotangent."""
    one, r = np.ones((1, 1, 2), np.float32), np.array([[[0, LARGE]]], np.float32)
    A = np.log(SMALL).reshape(1, 1)
    state = np.zeros((1, 1, 1), np.float32)
    inputs = {"u": one, "delta": one, "A": A, "B": one, "C": one, "initial_state": state}
    arithmetic = Arithmetic(evaluation=evaluation)
    return selective_scan_vjp_bounds({"y": r}, arithmetic=arithmetic, **inputs)["initial_state"]


def ssd_allowed(evaluation: Any) -> Bounded:
    one, r = np.ones((1, 2, 1, 1), np.float32), np.array([0, LARGE]).reshape(1, 2, 1, 1)
    A = np.log(SMALL).reshape(1)
    inputs = {"x": one, "dt": one[..., 0], "A": A, "B": one, "C": one, "initial_states": 0 * one[:, :1]}
    arithmetic = Arithmetic(evaluation=evaluation)
    return ssd_vjp_bounds({"y": r}, arithmetic=arithmetic, **inputs)["initial_states"]


def mamba3_allowed(evaluation: Any) -> Bounded:
    heads, r = np.ones((1, 2, 1, 2), np.float32), np.array([0, LARGE]).reshape(1, 2, 1, 1)
    per_step, angle = np.ones((1, 1, 2), np.float32), np.zeros((1, 2, 1, 1), np.float32)
    inputs = {
        "q": heads,
        "k": heads,
        "v": heads[..., :1],
        "adt": np.log(SMALL) * per_step,
        "dt": per_step,
        "trap": per_step,
        "q_bias": 0 * heads[0, 0],
        "k_bias": 0 * heads[0, 0],
        "angles": angle,
        "angle_state": angle[:, 0],
        "ssm_state": np.zeros((1, 1, 1, 2), np.float32),
        "k_state": 0 * heads[:, 0],
        "v_state": 0 * heads[:, 0, :, :1],
    }
    arithmetic = Arithmetic(evaluation=evaluation)
    return mamba3_siso_vjp_bounds({"y": r}, arithmetic=arithmetic, **inputs)["ssm_state"]


def recurrence_allowed(evaluation: Any) -> Bounded:
    one, r = np.ones((1, 1), np.float32), np.array([[[0, LARGE]]], np.float32)
    inputs: dict[str, Any] = {
        "A_bar": np.array([SMALL]),
        "B_bar": one,
        "C": one,
        "u": 0 * r,
        "initial_state": one,
        "diagonal": True,
    }
    arithmetic = Arithmetic(evaluation=evaluation)
    return ssm_recurrence_vjp_bounds({"y": r}, arithmetic=arithmetic, **inputs)["initial_state"]


def s4d_allowed(evaluation: Any) -> Bounded:
    one, r = np.ones((1, 1), np.float32), np.array([[[0, LARGE]]], np.float32)
    inputs = {
        "u": 0 * r,
        "delta": one[0],
        "A": np.log(SMALL).reshape(1, 1),
        "B": one,
        "C": one,
        "initial_state": one[None],
    }
    arithmetic = Arithmetic(evaluation=evaluation)
    return s4d_vjp_bounds({"y": r}, arithmetic=arithmetic, **inputs)["initial_state"]


RECURRENCES = (scan_allowed, ssd_allowed, mamba3_allowed, recurrence_allowed, s4d_allowed)


@pytest.mark.parametrize("evaluation", CLASSES)
@pytest.mark.parametrize("allowed", RECURRENCES)
def test_decays_may_be_multiplied_before_they_meet_a_cotangent(allowed: Any, evaluation: Any) -> None:
    product = flushed(SMALL * SMALL) * LARGE
    assert product == 0.0
    assert ratio(product, allowed(evaluation)) <= 1


@pytest.mark.parametrize("allowed", RECURRENCES[:3])
def test_in_order_no_product_of_decays_is_formed(allowed: Any) -> None:
    assert ratio(0.0, allowed("sequential")) > 1e3


def test_a_sequence_that_begins_in_a_chunk_has_its_first_decay_from_a_difference_of_sums() -> None:
    """exp(A(S_t − S_{t−1})): S is long by then, and wrong by as much as it rounds."""
    delta = np.array([[[333.1, 333.1, 333.1, 0.1]]], np.float32)
    one = np.ones_like(delta)
    inputs = {
        "u": 0 * one,
        "delta": delta,
        "A": -one[0, :, :1],
        "B": one,
        "C": one,
        "cu_seqlens": np.array([0, 3, 4], np.int32),
        "initial_state": np.zeros((2, 1, 1), np.float32),
    }
    sums = np.cumsum(delta[0, 0], dtype=np.float32)
    found = np.zeros((2, 1, 1), np.float32)
    found[1] = np.exp(sums[2] - sums[3])
    cotangents = {"y": np.array([[[0, 0, 0, 1]]], np.float32)}
    chunks, scan = Arithmetic(evaluation="chunk", chunk=4), Arithmetic(evaluation="scan")
    for arithmetic, least, most in ((chunks, 0.01, 1.0), (scan, 10.0, np.inf)):
        allowed = selective_scan_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)["initial_state"]
        assert least < ratio(found, allowed) <= most
