"""Terms of SSD's bounds, one by one, as `test_terms_of_the_scan` has the scan's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from .test_terms_of_the_scan import ETA, channel, chunk, share

Inputs = dict[str, Any]


def head(**given: Any) -> Inputs:
    """One head of one channel and one mode; each stream a list of numbers of float32, or one number."""
    length = max(np.size(value) for value in given.values())
    shapes = {"x": (1, length, 1, 1), "dt": (1, length, 1), "B": (1, length, 1, 1), "C": (1, length, 1, 1)}
    shapes |= {"A": (1,), "D": (1,), "dt_bias": (1,), "z": (1, length, 1, 1), "initial_states": (1, 1, 1, 1)}
    for name in ("x", "dt", "B", "C"):
        given.setdefault(name, 1.0)
    return {
        name: value
        if name in ("dt_softplus", "dt_limit")
        else np.resize(np.asarray(value, np.float32), shapes[name])
        for name, value in given.items()
    }


def part(found: float, inputs: Inputs, arithmetic: Arithmetic, name: str = "y") -> float:
    """What part of its bound the error of the last y takes, or of the final state."""
    bounded = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)[name]
    assert bounded.judged.all()
    return float(abs(found - bounded.value[0, -1, 0, 0]) / bounded.bound[0, -1, 0, 0])


def part_of_gradient(found: float, name: str, inputs: Inputs, y: Any, arithmetic: Arithmetic) -> float:
    """What part of its bound the error of a gradient takes, of its first element."""
    given = {"y": np.resize(np.asarray(y, np.float32), inputs["x"].shape)}
    bounded = ssm_spec.ssd_vjp_bounds(given, [name], arithmetic=arithmetic, **inputs)[name]
    assert bounded.judged.all()
    return float(abs(found - bounded.value.flat[0]) / bounded.bound.flat[0])


@pytest.mark.parametrize("length", [1, 3])
def test_a_rate_may_be_read_as_zero_in_chunks_too(length: int) -> None:
    """A is subnormal and Δ so large that it matters: every decay of the chunk is 1 instead of 1/e."""
    given = {"A": -0.99 * ETA, "C": np.ones(length)}
    inputs = head(dt=1 / ETA, x=0.0, initial_states=100.0, **given)
    assert 0.7 < part(100.0, inputs, chunk(4)) <= 1
    inputs = channel(delta=1 / ETA, u=0.0, initial_state=100.0, **given)
    assert 0.7 < share(100.0, inputs, chunk(4)) <= 1
