"""Mamba-3's products in any order of their factors: what underflows on its way, and what overflows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_spec import Arithmetic, Bounded, mamba3_siso, mamba3_siso_bounds, mamba3_siso_vjp_bounds

SMALL, LARGE = np.float32([1e-20, 1e20])
SEQUENTIAL = Arithmetic(evaluation="sequential")
CHUNK = Arithmetic(evaluation="chunk", chunk=2)
SHAPES: dict[str, tuple[int, ...]] = {
    "q": (1, 1, 1, 2),
    "k": (1, 1, 1, 2),
    "v": (1, 1, 1, 1),
    "z": (1, 1, 1, 1),
    "adt": (1, 1, 1),
    "dt": (1, 1, 1),
    "trap": (1, 1, 1),
    "q_bias": (1, 2),
    "k_bias": (1, 2),
    "angles": (1, 1, 1, 1),
    "D": (1,),
    "angle_state": (1, 1, 1),
    "ssm_state": (1, 1, 1, 2),
    "k_state": (1, 1, 2),
    "v_state": (1, 1, 1),
}
ZERO = {"adt", "trap", "q_bias", "k_bias", "angles", "angle_state", "ssm_state", "k_state", "v_state", "D"}


def allowed(arithmetic: Arithmetic = SEQUENTIAL, **sizes: Any) -> dict[str, Bounded]:
    """One step of one head; what is not said is 0 or 1; outputs as "out:name", cotangents as "d_name"."""
    inputs = {
        name: np.full(shape, sizes.get(name, 0 if name in ZERO else 1), np.float32)
        for name, shape in SHAPES.items()
    }
    cotangents = {
        "y": np.full(SHAPES["v"], sizes.get("d_y", 0), np.float32),
        "ssm_state": np.full(SHAPES["ssm_state"], sizes.get("d_S", 0), np.float32),
    }
    outputs = mamba3_siso_bounds(arithmetic=arithmetic, **inputs)
    gradients = mamba3_siso_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    return gradients | {f"out:{name}": bounded for name, bounded in outputs.items()}


LOST = {
    "λΔ Λ of dk": ("k", {"dt": SMALL, "d_S": SMALL, "v": LARGE}),
    "(1 − λ)Δα Λ of the first key": ("k_state", {"dt": SMALL, "d_S": SMALL, "v_state": LARGE}),
    "r silu' of dz": ("z", {"d_y": SMALL, "z": -50.0, "D": 1.0, "v": LARGE, "dt": 0.0}),
    "(1 − λ)Δ of a source": (
        "out:ssm_state",
        {"trap": 46.0, "dt": SMALL, "v_state": LARGE, "k_state": 1e10, "v": 0},
    ),
}
"""A product of some factors is 10⁻⁴⁰ and flushed, of all of them it is not."""


@pytest.mark.parametrize("name", LOST)
def test_what_underflows_on_its_way_may_be_lost(name: str) -> None:
    result, sizes = LOST[name]
    found = allowed(**sizes)[result]
    value = np.abs(found.value)
    assert found.judged.all()
    assert (value > 1e-25).all()
    assert (value <= found.bound).all()


OVERFLOW = {
    "v k of a source": ("out:ssm_state", {"dt": SMALL, "v": LARGE, "k": LARGE}),
    "y z of y z σ": ("out:y", {"D": LARGE, "z": -1e30}),
    "r z of r z σ": ("v", {"d_y": LARGE, "z": -1e30, "D": 1.0}),
    "Λ S⁻ of d(adt)": ("adt", {"d_S": LARGE, "ssm_state": LARGE, "adt": -90.0}),
    "Λ v of dk": ("k", {"dt": SMALL, "d_S": LARGE, "v": LARGE}),
}


@pytest.mark.parametrize("name", OVERFLOW)
def test_what_overflows_in_some_order_is_not_judged(name: str) -> None:
    """Of all its factors the product is well in range, of some it is 10⁴⁰ and more."""
    result, sizes = OVERFLOW[name]
    found = allowed(**sizes)
    assert (np.abs(found[result].value) < 1e30).all()
    assert not found[result].judged.any()
    assert found["dt" if result == "out:y" else "out:k_state"].judged.all()


DUAL = {
    "q̃ᵀk̃ of y": ("out:y", {"q": LARGE, "k": LARGE, "v": 1e-30}),
    "q̃ᵀk̃ of dv": ("v", {"q": LARGE, "k": LARGE, "v": 1e-30, "d_y": 1e-30}),
    "g v of dk": ("k", {"d_y": LARGE, "v": LARGE, "q": 1e-30, "k": 1e-30}),
}


@pytest.mark.parametrize("name", DUAL)
def test_in_a_chunk_what_reads_may_meet_what_enters_before_there_is_a_state(name: str) -> None:
    result, sizes = DUAL[name]
    assert allowed(SEQUENTIAL, **sizes)[result].judged.all()
    assert not allowed(CHUNK, **sizes)[result].judged.any()


def test_two_sources_may_be_added_one_after_the_other() -> None:
    """(α S + early) + late, both nearly half a unit of a state just above 1: lost, both of them.

    exp to nearest and α S lose a unit each: of 2¹⁶ draws the one that loses most.
    """
    rng = np.random.default_rng(0)
    adt, state = ((x / 64).astype(np.float32) for x in rng.random((2, 2**16)))
    state = 1 + state
    alpha = np.exp(adt.astype(np.float64)).astype(np.float32)
    early = late = np.float32(0.98 * 2.0**-24)
    found = (alpha * state + early) + late
    assert found.dtype == np.float32
    exact = np.exp(adt.astype(np.float64)) * (state + early.astype(np.float64)) + late
    worst = int(np.argmax(np.abs(found / exact - 1)))
    bounded = allowed(
        Arithmetic(evaluation="sequential", k_exp=1, k_scale=0),
        adt=adt[worst],
        ssm_state=state[worst],
        v_state=2 * early,
        k_state=1,
        v=2 * late,
    )["out:ssm_state"]
    error = abs(found[worst] - bounded.value.flat[0])
    assert bounded.value.flat[0] == pytest.approx(exact[worst], rel=1e-12)
    assert 0.8 * bounded.bound.flat[0] < error <= bounded.bound.flat[0]


def test_a_subnormal_angle_may_be_read_as_zero_before_it_meets_a_large_step() -> None:
    """Δ π tanh(angle) is 3·10⁻⁴ for Δ = 10³⁴, and none of it is left: π is a factor like the others."""
    one = np.ones((1, 1, 1, 1), np.float32)
    key = np.concatenate((0 * one, 1e-20 * one), axis=-1).astype(np.float32)
    nothing = np.zeros((1, 2), np.float32)
    given: dict[str, Any] = {
        "q": key, "k": key, "v": np.float32(1e-10) * one, "adt": -one[0], "dt": np.float32(1e34) * one[0],
        "trap": 0 * one[0], "q_bias": nothing, "k_bias": nothing,
    }  # fmt: skip
    kept = mamba3_siso_bounds(arithmetic=Arithmetic(), angles=np.float32(1.1e-38) * one, **given)
    lost = mamba3_siso(angles=0 * one, return_final_states=True, **given)
    for (name, bounded), found in zip(kept.items(), lost, strict=True):
        assert bounded.judged.all()
        assert (np.abs(found - bounded.value) <= bounded.bound).all(), name
    assert kept["angle_state"].value.item() > 1e-4
