"""What H3 may lose and reach between its systems: keys, gates, projection, and what transforms spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ssm_spec import Arithmetic, Bounded, h3_bounds, h3_vjp_bounds
from ssm_spec._layer_bounds import finish

Array = Any
F32 = Arithmetic()
LARGEST = float(np.finfo(np.float32).max)


def call(l: int = 2, **changed: Any) -> dict[str, Array]:
    """One head of two channels, all ones, one mode; float32."""
    inputs = {name: np.ones((1, 2, l)) for name in ("q", "k", "v")}
    inputs |= {"shift": np.ones((2, 1)), "shift_D": np.zeros(2), "delta": np.ones(1), "A": -np.ones((1, 1))}
    inputs |= {"B": np.ones((1, 1)), "C": np.ones((1, 1))}
    shapes = {name: x.shape for name, x in inputs.items()} | {"out_proj": (1, 2)}
    inputs |= {name: np.broadcast_to(value, shapes[name]) for name, value in changed.items()}
    return {name: x.astype(np.complex64 if np.iscomplexobj(x) else np.float32) for name, x in inputs.items()}


def exact(inputs: dict[str, Array], arithmetic: Arithmetic = F32, r: float = 1.0) -> dict[str, Bounded]:
    """The output and, as "d name", the gradients for a constant cotangent."""
    y = h3_bounds(arithmetic=arithmetic, **inputs)["y"]
    slopes = h3_vjp_bounds({"y": np.full(y.value.shape, r)}, arithmetic=arithmetic, **inputs)
    return {"y": y} | {f"d {name}": slope for name, slope in slopes.items()}


def not_judged(found: dict[str, Bounded]) -> set[str]:
    return {name for name, bounded in found.items() if not bounded.judged.all()}


def test_a_key_may_be_read_as_zero_where_its_feedthrough_is_large() -> None:
    given = call(k=1e-39, shift=0.0, shift_D=1e18)
    found = h3_bounds(arithmetic=F32, **given)["y"]
    assert (found.value > 1e-22).all()
    assert (found.value <= found.bound).all()
    normal = h3_bounds(arithmetic=F32, **given | {"k": np.float32(1e-3) * np.ones_like(given["k"])})["y"]
    assert (normal.bound < 1e-4 * normal.value).all()


def test_transforms_spread_what_is_wrong_of_a_key_over_all_times() -> None:
    """A key that is 0 comes out of a transform as some rounding of the others, and meets a large value."""
    given = call(8)
    given["k"][...] = [1e10, 0, 0, 0, 0, 0, 0, 0]
    given["k"][..., 5] = 3.1e9
    given["v"][...] = [1e-20, 1, 1, 1e15, 1, 1, 1, 1]
    keys = by_transform(torch.tensor(given["k"]), torch.tensor(given["shift"]))
    kernel = torch.tensor(np.exp(-np.arange(8.0))[None].astype(np.float32)) * (1 - np.exp(-1))
    s = by_transform(keys[:, :1] * torch.tensor(given["v"][:, :1]), kernel)
    found = h3_bounds(arithmetic=Arithmetic(evaluation="fft"), **given)["y"]
    error = np.abs(2 * s.numpy()[:, 0] - found.value[:, 0])
    assert (error > 1e-6 * np.abs(found.value[:, 0])).any()
    assert (error <= found.bound[:, 0]).all()


def by_transform(u: torch.Tensor, K: torch.Tensor) -> torch.Tensor:
    """The causal convolution in float32."""
    n = 2 * u.shape[-1]
    y: torch.Tensor = torch.fft.irfft(torch.fft.rfft(u, n) * torch.fft.rfft(K, n), n)[..., : u.shape[-1]]
    return y


@pytest.mark.parametrize("word", ["any", "fft"])
def test_a_key_beyond_the_range_is_so_in_what_comes_after_it(word: Any) -> None:
    """k' = 10⁴⁰ is infinite in float32, though k'v is 1; transforms bring it to every time."""
    given = call(3, k=1e20, v=1.0, shift=1e-20)
    given["k"][..., 1], given["v"][..., 1], given["shift"][...] = 1e20, 1e-38, 1e20
    given["k"][..., 0] = given["k"][..., 2] = 1e-20
    found = exact(given, Arithmetic(evaluation=word))
    assert (np.abs(found["y"].value) + found["y"].bound < LARGEST)[..., 0].all()
    assert found["y"].judged[0, 0].tolist() == ([True, False, False] if word == "any" else [False] * 3)
    assert {"d C", "d A", "d delta", "d B"} <= not_judged(found)


def test_a_sum_over_keys_may_overflow_before_it_cancels() -> None:
    """y = q₁s₁ + q₂s₂ with q₁ = −q₂ of 10³⁸ and more."""
    given = call(1, q=2e20, v=1e15, k=1e4)
    given["q"][0, 1] *= -1
    found = exact(given)
    assert (found["y"].value == 0).all()
    assert "y" in not_judged(found)
    assert "y" not in not_judged(exact(call(1, q=2e10, v=1e15, k=1e4)))


def test_a_projection_may_overflow_before_it_cancels() -> None:
    given = call(1, q=1e20, out_proj=2e18)
    given["out_proj"][0, 1] *= -1
    found = exact(given)
    assert (found["y"].value == 0).all()
    assert "y" in not_judged(found)
    assert "y" not in not_judged(exact(given | {"out_proj": given["out_proj"] / 10}))


def test_a_gradient_may_overflow_before_it_cancels() -> None:
    """dq_i = Σ_j s_ij dy_j: s has the signs of v."""
    given = call(1, v=4e20, k=1.0)
    given["v"][0, 1] *= -1
    assert (exact(given, r=1e18)["d q"].value == 0).all()
    assert "d q" in not_judged(exact(given, r=1e18))
    assert "d q" not in not_judged(exact(given, r=1e16))


def test_a_bound_beyond_the_range_judges_nothing() -> None:
    bound, one = np.array([1e38, 1e39]), np.ones(2)
    assert finish(one, bound, one, one > 0, F32).judged.tolist() == [True, False]


def test_coefficients_beyond_the_range_feed_the_gradient_of_the_output_matrix() -> None:
    """ΔA is infinite; exp of it is a NaN where A is complex."""
    for A, judged in ((-1 - 1e10j, True), (-1 - 1e30j, False)):
        given = call(1, delta=1e10, A=A, B=1 + 0j, C=1 + 0j)
        assert ("d C" not in not_judged(exact(given))) == judged
        assert ("d k" not in not_judged(exact(given))) == judged


@pytest.mark.parametrize("rule", ["zoh", "bilinear", "backward_euler"])
def test_a_step_of_nothing_may_meet_what_has_overflowed(rule: str) -> None:
    """dA = Δ²ψ B dB̄, and the like: B dB̄ is infinite, and 0 · ∞ a NaN."""
    for B, judged in ((1e10, True), (1e30, False)):
        given = call(1, delta=0.0, B=B, C=1e10)
        found = h3_vjp_bounds({"y": np.full((1, 2, 1), 1e5)}, arithmetic=F32, discretization=rule, **given)
        assert found["A"].judged.all() == judged
