"""Terms of the bounds of the scan's gradients, one by one, as `test_terms_of_the_scan` has the outputs'."""

from __future__ import annotations

from typing import Any

import numpy as np

import ssm_spec
from ssm_spec import Arithmetic

from .test_terms_of_the_scan import (
    COARSE,
    EXACT,
    U,
    channel,
    chunk,
    held_slope,
    just_above_one,
    kogge_stone_sums,
    opposed,
    sequential,
    to_nearest,
)


def share(
    found: float,
    name: str,
    inputs: dict[str, Any],
    cotangent: Any,
    arithmetic: Arithmetic,
    t: int = 0,
    last: Any = 0.0,
) -> float:
    """What part of its bound the error of a gradient takes, at time t if it has one."""
    y = np.array(np.broadcast_to(cotangent, inputs["u"].shape), np.float32)
    given = {"y": y, "last_state": np.full((1, 1, 1), last, np.float32)}
    bounded = ssm_spec.selective_scan_vjp_bounds(given, [name], arithmetic=arithmetic, **inputs)[name]
    assert bounded.judged.all()
    at = (0, 0, t)[: bounded.value.ndim]
    return float(abs(found - bounded.value[at]) / bounded.bound[at])


def only(t: int, length: int) -> Any:
    """One at a time, zero at all others."""
    return 1.0 * (np.arange(length) == t)


def test_a_chunk_hands_back_what_two_weights_leave() -> None:
    """λ_1 = −exp(AΔ_2) + exp(A(Δ_2 + Δ_3)), exponents of −8 wrong by 64 units to either side; λ_2 ≈ 0."""
    inputs = channel(A=-8.0, delta=[1, 2.0**-10, 1, 2.0**-26])
    found = np.exp(-8 * (1 + 2.0**-26) * (1 + COARSE * U)) - np.exp(-8 * (1 - COARSE * U))
    arithmetic = chunk(2, k_scale=COARSE)
    assert 0.8 < share(2.0**-10 * found, "u", inputs, [0, 0, -1, 1], arithmetic, 1) <= 1


def test_a_chunk_may_hand_back_a_difference_of_sums_from_its_end() -> None:
    """exp(A(R_0 − R_1)), where Kogge and Stone's sums from the end are wrong by halves of units: −5 and 4."""
    steps = opposed(5)[::-1]
    sums = kogge_stone_sums(steps[::-1])[::-1]
    assert sums[0] < sums[1]
    found = np.exp(-100.0 * (sums[0] - sums[1]))
    # The chunk before is so short that its own sums lose nothing.
    inputs = channel(A=-100.0, delta=np.concatenate([np.full(32, 2.0**-20, np.float32), steps]))
    assert 0.5 < share(2.0**-20 * found, "u", inputs, only(32, 64), chunk(32), 31) <= 1
    inputs = channel(A=-100.0, delta=steps, initial_state=1.0)
    assert 0.5 < share(found, "initial_state", inputs, only(0, 32), chunk(32)) <= 1


def test_what_a_chunk_is_handed_is_one_of_its_sources() -> None:
    """exp(A(S_31 − S_30)) of what is given last, or handed on: S_31 is too small, S_30 too large by four."""
    steps = opposed(5)
    total = kogge_stone_sums(steps)
    found = np.exp(-100.0 * (total[-1] - total[-2]))
    inputs = channel(A=-100.0, delta=steps, B=1 / steps[30])
    assert 0.78 < share(found, "u", inputs, 0.0, chunk(32), 30, last=1.0) <= 1
    inputs = channel(A=-100.0, delta=np.append(steps, np.float32(2.0**-40)), B=1 / steps[30])
    assert 0.78 < share(found, "u", inputs, only(32, 33), chunk(32), 30) <= 1


def test_the_initial_gradient_may_be_what_two_weights_leave() -> None:
    """exp(AΔ_0) − exp(A(Δ_0 + Δ_1)), exponents of −8 wrong by 64 units to either side; λ_0 is nearly zero."""
    inputs = channel(A=-8.0, delta=[1, 2.0**-26], initial_state=1.0)
    found = np.exp(-8 * (1 - COARSE * U)) - np.exp(-8 * (1 + 2.0**-26) * (1 + COARSE * U))
    assert 0.8 < share(found, "initial_state", inputs, [1, -1], chunk(2, k_scale=COARSE)) <= 1


def test_a_source_may_be_subtracted_that_is_wrong_the_other_way() -> None:
    """φ, anew on the way back, is 64 units too small where it was 64 too large: dΔ = u λ a + A λ(h − b)."""
    inputs = channel(A=-1.0, initial_state=2.0**-10, b_discretization="zoh")
    exact = -np.expm1(-1)
    decayed = np.exp(-1) * 2.0**-10 + exact * (1 + COARSE * U) - exact * (1 - COARSE * U)
    arithmetic = Arithmetic(evaluation="sequential", **(EXACT | {"k_div": COARSE}))
    assert 0.8 < share(np.exp(-1) - decayed, "delta", inputs, 1.0, arithmetic) <= 1


def worst_of(found: Any, exact: Any) -> int:
    """Which draw loses most of its size."""
    assert found.dtype == np.float32
    return int(np.argmax(np.abs(found / exact - 1)))


FAR_LESS = np.float32(0.98 * U)
"""The last state's cotangent: so small that all it does to λ, about 1, is a rounding."""
MANY = 2**20
"""Draws among which six roundings all are nearly a unit, to one side."""


def test_a_product_of_four_factors_and_an_exponential() -> None:
    """dA = λ h a Δ, λ = q C + r: of many draws the one that loses most. Δ/1024 is exact; exp to nearest."""
    rng = np.random.default_rng(0)
    delta, before, C, q = (just_above_one(rng, MANY) for _ in range(4))
    found = (q * C + FAR_LESS) * before * to_nearest(delta / 1024) * delta
    exact = (q.astype(np.float64) * C + FAR_LESS) * before * np.exp(delta / 1024.0) * delta
    k = worst_of(found, exact)
    inputs = channel(A=1 / 1024, delta=delta[k], u=0.0, C=C[k], initial_state=before[k])
    assert 0.7 < share(found[k], "A", inputs, q[k], sequential(k_exp=1), last=FAR_LESS) <= 1


def test_a_gradient_of_a_step_is_a_product_of_four_factors() -> None:
    """dΔ = λ B u, λ = q C + r, of the first step from nothing."""
    rng = np.random.default_rng(0)
    u, B, C, q = (just_above_one(rng) for _ in range(4))
    found = (q * C + FAR_LESS) * B * u
    k = worst_of(found, (q.astype(np.float64) * C + FAR_LESS) * B * u)
    inputs = channel(A=0.0, u=u[k], B=B[k], C=C[k])
    assert 0.5 < share(found[k], "delta", inputs, q[k], sequential(), last=FAR_LESS) <= 1


def test_the_slope_of_the_hold_takes_a_prescaled_argument_everywhere() -> None:
    """dA = Δ²ψ(p): far below zero ψ is p⁻², and moves twice as much as p."""
    inputs = channel(A=-8.0, b_discretization="zoh")
    wrong = -8 * (1 + COARSE * U)
    assert 0.8 < share(held_slope(wrong, wrong), "A", inputs, 1.0, sequential(k_scale=COARSE)) <= 1


def test_the_slope_of_the_hold_takes_a_prescaled_argument_in_its_exponential() -> None:
    """Above zero eᵖ/p is most of ψ."""
    inputs = channel(A=8.0, b_discretization="zoh")
    found = held_slope(8.0, 8 * (1 + COARSE * U))
    assert 0.6 < share(found, "A", inputs, 1.0, sequential(k_scale=COARSE)) <= 1


def test_the_slope_of_the_hold_divides_twice() -> None:
    """(Δa − φ)/A with φ = expm1(p)/A."""
    inputs = channel(A=-8.0, b_discretization="zoh")
    wrong = 1 + COARSE * U
    found = (np.exp(-8) - np.expm1(-8) / -8 * wrong) / -8 * wrong
    assert 0.9 < share(found, "A", inputs, 1.0, sequential(k_div=COARSE)) <= 1


def test_the_slope_of_the_hold_takes_an_exponential() -> None:
    inputs = channel(A=-8.0, b_discretization="zoh")
    found = (np.exp(-8) * (1 - COARSE * U) - np.expm1(-8) / -8 * (1 + COARSE * U)) / -8
    assert 0.8 < share(found, "A", inputs, 1.0, sequential(k_exp=COARSE)) <= 1
