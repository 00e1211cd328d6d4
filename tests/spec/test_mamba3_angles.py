"""Angles of Mamba-3 summed in every honest order stay within the bound, which is no wider than they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ssm_spec
from ssm_spec import Arithmetic

Single = NDArray[np.float32]
CIRCLE = np.float32(2 * np.pi)


def in_order(x: Single) -> Single:
    return np.cumsum(x, dtype=np.float32)


def in_a_tree(x: Single) -> Single:
    """Kogge and Stone's prefix sums."""
    sums, span = x.copy(), 1
    while span < len(x):
        sums[span:] = sums[span:] + sums[:-span]
        span *= 2
    return sums


def reduced(x: Single) -> Single:
    """One step after the other, each time modulo 2π."""
    sums, angle = np.empty_like(x), np.float32(0)
    for t, turn in enumerate(x):
        angle = angle + turn
        angle = angle - CIRCLE * np.floor(angle / CIRCLE)
        sums[t] = angle
    return sums


def in_blocks(x: Single) -> Single:
    """A tree in each 64 steps, whose totals are summed in order."""
    sums, before = np.empty_like(x), np.float32(0)
    for start in range(0, len(x), 64):
        sums[start : start + 64] = before + in_a_tree(x[start : start + 64])
        before = sums[min(start + 63, len(x) - 1)]
    return sums


def turning(kind: str, l: int) -> tuple[Single, Single]:
    """Steps and angles, (l,)."""
    rng = np.random.default_rng(l)
    steps, angles = np.full(l, 0.7, np.float32), rng.standard_normal(l).astype(np.float32)
    if kind == "one way":
        angles = np.full(l, 0.3, np.float32)
    if kind == "to and fro":
        angles = np.where(np.arange(l) % 2, -1, 1).astype(np.float32)
    if kind == "late":
        angles[: -l // 8] = 0
    if kind == "steps of all sizes":
        steps = np.exp(2 * rng.standard_normal(l)).astype(np.float32)
    return steps, angles


def bounded(steps: Single, angles: Single) -> Any:
    """The last angle and its bound."""
    l = len(steps)
    nothing = {"q": (1, l, 1, 2), "k": (1, l, 1, 2), "v": (1, l, 1, 1), "adt": (1, 1, l), "trap": (1, 1, l)}
    zeros = {name: np.zeros(shape) for name, shape in nothing.items()}
    inputs = {"dt": steps[None, None], "angles": angles[None, :, None, None]}
    bias = {"q_bias": np.zeros((1, 2)), "k_bias": np.zeros((1, 2))}
    found = ssm_spec.mamba3_siso_bounds(arithmetic=Arithmetic(), **zeros, **inputs, **bias)
    return found["angle_state"]


@pytest.mark.parametrize("kind", ["one way", "to and fro", "at random", "late", "steps of all sizes"])
@pytest.mark.parametrize("order", [in_order, in_a_tree, in_blocks, reduced])
def test_an_honest_sum_lies_within_the_bound(order: Callable[[Single], Single], kind: str) -> None:
    for l in (1, 2, 63, 65, 130, 1000, 4096):
        steps, angles = turning(kind, l)
        turns = steps * np.float32(np.pi) * np.tanh(angles)
        last = bounded(steps, angles)
        away = order(turns)[-1].astype(np.float64) - last.value.item()
        assert abs(np.remainder(away + np.pi, 2 * np.pi) - np.pi) <= last.bound.item()


def test_the_bound_grows_with_the_square_of_the_steps_only_where_a_sum_may() -> None:
    growth = {
        kind: [bounded(*turning(kind, l)).bound.item() for l in (1024, 4096)]
        for kind in ("to and fro", "one way")
    }
    few, many = growth["to and fro"]
    assert many < 4.5 * few
    few, many = growth["one way"]
    assert many > 12 * few
