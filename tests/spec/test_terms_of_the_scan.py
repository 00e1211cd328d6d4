"""Terms of the scan's forward bound, one by one: an honest evaluation that spends what the term allows.

Where a function's own error is spent, it is declared as 64 units, ten times what anything else takes:
still so few that its square is far below one unit. The function is as wrong as that, and the rest exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic
from ssm_spec._functions import sigmoid

U = 2.0**-24
ETA = 2.0**-126
COARSE = 64
EXACT = {"k_exp": 0, "k_log": 0, "k_div": 0, "k_scale": 0}
"""For functions that the test takes without error."""


def channel(**given: Any) -> dict[str, Any]:
    """One channel and one mode; each stream a list, of numbers of float32, or one number for all times."""
    length = max(np.size(value) for value in given.values())
    inputs: dict[str, Any] = {"delta_softplus": False, "b_discretization": "euler"}
    for name in ("u", "delta", "B", "C", "z"):
        if name in given or name != "z":
            inputs[name] = np.array(np.broadcast_to(given.pop(name, 1.0), (1, 1, length)), np.float32)
    inputs["A"] = np.full((1, 1), given.pop("A"), np.float32)
    if "initial_state" in given:
        inputs["initial_state"] = np.full((1, 1, 1), given.pop("initial_state"), np.float32)
    if "delta_bias" in given:
        inputs["delta_bias"] = np.full(1, given.pop("delta_bias"), np.float32)
    return inputs | given


def share(found: float, inputs: dict[str, Any], arithmetic: Arithmetic, name: str = "y") -> float:
    """What part of its bound the error of the last y takes, or of the last state."""
    bounded = ssm_spec.selective_scan_bounds(arithmetic=arithmetic, **inputs)[name]
    assert bounded.judged.all()
    return float(abs(found - bounded.value[0, 0, -1]) / bounded.bound[0, 0, -1])


def sequential(**units: float) -> Arithmetic:
    return Arithmetic(evaluation="sequential", decayed_state="direct", **(EXACT | units))


def scan(**units: float) -> Arithmetic:
    return Arithmetic(evaluation="scan", **(EXACT | units))


def chunk(q: int, **units: float) -> Arithmetic:
    return Arithmetic(evaluation="chunk", chunk=q, decayed_state="direct", **(EXACT | units))


def held_slope(p: float, grown: float) -> float:
    """ψ = (p eᵖ − expm1 p)/p² where exp has the argument `grown`."""
    return float((p * np.exp(grown) - np.expm1(grown)) / p**2)


def test_softplus_loses_a_sum_and_a_prescaled_argument() -> None:
    """x and x log₂e both lose nearly half a unit in the last place, and log₂e is not a number of float32.

    exp2 and log1p are to nearest, one unit each. Of the multiples of 2⁻²⁰ below −44.36, where x log₂e is
    just above 64, it is the one that loses most.
    """
    bias = np.float32(-44.0)
    delta = (-0.375 - np.arange(2**16) * 2.0**-20).astype(np.float32)
    x = delta + bias
    p = x * np.float32(np.log2(np.e))
    step = np.log1p(np.exp2(p.astype(np.float64)).astype(np.float32).astype(np.float64)).astype(np.float32)
    assert x.dtype == p.dtype == np.float32
    exact = np.exp(delta.astype(np.float64) + float(bias))  # softplus(x), but for its square
    worst = int(np.argmax(np.abs(step / exact - 1)))
    inputs = channel(A=0.0, delta=delta[worst], delta_bias=bias, delta_softplus=True)
    assert 0.6 < share(step[worst], inputs, sequential(k_exp=1, k_log=1)) <= 1


def test_a_rate_may_be_read_as_zero() -> None:
    """A is subnormal, and Δ so large that it matters: the decay is 1 instead of 1/e."""
    inputs = channel(A=-0.99 * ETA, delta=1 / ETA, u=0.0, initial_state=100.0)
    assert 0.9 < share(100.0, inputs, sequential()) <= 1


def test_the_hold_takes_a_prescaled_argument() -> None:
    """expm1(p)/A, p wrong by 64 units, and by so much to the side where expm1 is larger."""
    inputs = channel(A=-1.0, b_discretization="zoh")
    assert 0.8 < share(-np.expm1(-1 - COARSE * U), inputs, sequential(k_scale=COARSE)) <= 1


@pytest.mark.parametrize("unit", ["k_exp", "k_div"])
def test_the_hold_takes_an_exponential_and_a_division(unit: str) -> None:
    inputs = channel(A=-1.0, b_discretization="zoh")
    assert 0.9 < share(-np.expm1(-1) * (1 + COARSE * U), inputs, sequential(**{unit: COARSE})) <= 1


def slope_share(sigma: float, z: np.float32, arithmetic: Arithmetic) -> float:
    """What part of the bound of dz = silu'(z) = σ(1 + z(1 − σ)) the error takes, σ and 1 − σ being given."""
    inputs = channel(A=0.0, z=z)
    one = np.ones((1, 1, 1), np.float32)
    dz = ssm_spec.selective_scan_vjp_bounds({"y": one}, ["z"], arithmetic=arithmetic, **inputs)["z"]
    found = np.float32(sigma) * (1 + z * (1 - np.float32(sigma)))
    assert found.dtype == np.float32
    return float(abs(found - dz.value[0, 0, 0]) / dz.bound[0, 0, 0])


def test_the_slope_of_the_gate_subtracts_a_sigmoid_from_one() -> None:
    """At z = 16.64, e⁻ᶻ is just less than 2⁻²⁴: 1 + e⁻ᶻ is 1, and z(1 − σ) is lost as a whole, 16 units.

    A coarse division is seen as many times over as z is large.
    """
    z = np.float32(16.64)
    assert np.exp(-z) < U
    assert np.float32(1) + np.exp(-z) == 1
    assert 0.15 < slope_share(1.0, z, sequential(k_exp=1, k_div=1)) <= 1
    coarse = float(sigmoid(np.float64(z))) * (1 - COARSE * U)
    assert 0.8 < slope_share(coarse, z, sequential(k_exp=1, k_div=COARSE)) <= 1


@pytest.mark.parametrize("arithmetic", [sequential, scan])
def test_errors_of_decays_multiply(arithmetic: Callable[..., Arithmetic]) -> None:
    """Over 1024 steps an exponential as coarse as any may be, 2⁻¹⁰, is wrong by e − 1, not by 1."""
    inputs = channel(A=-(2.0**-10), u=np.zeros(1024), initial_state=1.0)
    found = (np.exp(-(2.0**-10)) * (1 + 2.0**-10)) ** 1024
    assert 0.9 < share(found, inputs, arithmetic(k_exp=2**14)) <= 1


def test_a_bracket_rounds_a_sum_at_every_step() -> None:
    """One by one, which is a bracketing too: 64 sources of half a unit are all lost."""
    source = np.float32(0.49 * 2 * U)
    state = np.float32(1)
    for _ in range(64):
        state = state + source
    assert state == 1
    inputs = channel(A=0.0, u=np.full(64, source), initial_state=1.0)
    assert 0.15 < share(float(state), inputs, scan()) <= 1


def test_a_weight_of_a_chunk_takes_one_prescaled_argument() -> None:
    """exp(A(S_2 − S_0)), p = −8, wrong by 64 units as a whole."""
    inputs = channel(A=-4.0, u=[1, 0, 0])
    assert 0.8 < share(np.exp(-8 * (1 - COARSE * U)), inputs, chunk(4, k_scale=COARSE)) <= 1


ULP = 2.0**-18
"""The distance of numbers of float32 from 32 to 64."""


def test_a_cumulative_sum_rounds_at_every_step() -> None:
    """Σ Δ, one by one: 63 times less than half a unit is lost, and the decay with it."""
    steps = np.full(64, 0.49 * ULP, np.float32)
    steps[0] = 32
    total = np.cumsum(steps, dtype=np.float32)
    assert total[-1] == 32
    inputs = channel(A=-100.0, delta=steps, u=1.0 * (np.arange(64) == 0), B=1 / 32)
    assert 0.75 < share(np.exp(-100.0 * (total[-1] - total[0])), inputs, chunk(64)) <= 1


def opposed(levels: int) -> Any:
    """2^levels steps, the first 32, of which Kogge and Stone's sum of all rounds down at every level.

    That of all but the last rounds up: 32 meets Δ_1, Δ_2 + Δ_3, Δ_4 … Δ_7, of 0.49 units each, in the
    former, and Δ_1 + Δ_2, Δ_3 … Δ_6, of 0.51 units each, in the latter.
    """
    steps = np.zeros(2**levels)
    for level in range(levels):
        steps[2 ** (level + 1) - 2] = 0.02 * level
        steps[2 ** (level + 1) - 1] = 0.49 - 0.02 * level
    steps *= ULP
    steps[0] = 32
    return steps.astype(np.float32)


def kogge_stone_sums(steps: Any) -> Any:
    total, k = steps, 1
    while k < len(steps):
        total = np.concatenate([total[:k], total[k:] + total[:-k]])
        k *= 2
    assert total.dtype == np.float32
    return total


def test_a_cumulative_sum_in_another_order_is_wrong_at_either_end() -> None:
    """exp(A(S_31 − S_30)), S_31 five halves of a unit too small and S_30 four too large."""
    steps = opposed(5)
    total = kogge_stone_sums(steps)
    assert total[-1] < total[-2]
    inputs = channel(A=-100.0, delta=steps, u=1.0 * (np.arange(32) == 30), B=1 / steps[30])
    assert 0.78 < share(np.exp(-100.0 * (total[-1] - total[-2])), inputs, chunk(32)) <= 1


def test_errors_of_steps_multiply_in_a_chunk() -> None:
    """60 steps of 1, each wrong by 2⁻¹⁰: e^60 is wrong by e^0.0586 − 1, three hundredths more than 0.0586."""
    x = np.float32(np.log(np.e - 1))
    step = np.log1p(np.exp(float(x)))
    inputs = channel(A=1.0, delta=np.full(60, x), u=0.0, initial_state=1.0, delta_softplus=True)
    assert 0.98 < share(np.exp(60 * step * (1 + 2.0**-10)), inputs, chunk(4, k_log=2**14)) <= 1


def just_above_one(rng: np.random.Generator, draws: int = 2**16) -> Any:
    """Numbers whose roundings are whole units, as nowhere else in their binade; so are those of products."""
    return (1 + rng.random(draws) / 64).astype(np.float32)


def to_nearest(x: Any) -> Any:
    return np.exp(x.astype(np.float64)).astype(np.float32)


def test_a_weight_its_product_and_a_sum_are_three_roundings() -> None:
    """Chunks of one step: the state is a h + b. Of 2¹⁶ draws the one that loses most; Δ/1024 is exact."""
    rng = np.random.default_rng(0)
    delta, before = just_above_one(rng), just_above_one(rng)
    a = to_nearest(delta / 1024)
    source = delta * np.float32(0.98 * U)
    found = a * before + source
    assert found.dtype == np.float32
    exact = np.exp(delta / 1024.0) * before + delta.astype(np.float64) * np.float32(0.98 * U)
    k = int(np.argmax(np.abs(found / exact - 1)))
    inputs = channel(A=1 / 1024, delta=delta[k], B=np.float32(0.98 * U), initial_state=before[k])
    assert 0.3 < share(found[k], inputs, chunk(1, k_exp=1), "last_state") <= 1


def test_an_initial_state_may_be_cancelled_at_once() -> None:
    """a h + b, and nothing remains but what exp, a h and the two products of b lost, each nearly a unit."""
    rng = np.random.default_rng(0)
    delta, u, B = (just_above_one(rng) for _ in range(3))
    source, a = -delta * u * B, to_nearest(delta / 1024)
    before = -source / a
    found = a * before + source
    assert found.dtype == np.float32
    exact = np.exp(delta / 1024.0) * before - delta.astype(np.float64) * u * B
    k = int(np.argmax(np.abs(found - exact)))
    inputs = channel(A=1 / 1024, delta=delta[k], u=-u[k], B=B[k], initial_state=before[k])
    assert 0.3 < share(found[k], inputs, scan(k_exp=1), "last_state") <= 1
