"""Terms of the layers' bounds, one by one, as `test_terms_of_the_scan` has the scan's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from .test_h3_weights_first import call, ratio
from .test_terms_of_the_scan import ETA

SUBNORMAL = 0.999 * ETA


@pytest.mark.parametrize("evaluation", ["any", "sequential", "scan", "chunk"])
def test_what_passes_a_shift_by_may_be_read_as_zero_too(evaluation: Any) -> None:
    """dk = (shift + shift_D) d(key), both subnormal and read as zero, where d(key) = dx v is 10¹⁵."""
    inputs = call(1, 1, q=1, k=1, v=1e15, B=1, C=1, D=0)
    for name in ("shift", "shift_D"):
        inputs[name] = np.full_like(inputs[name], SUBNORMAL)
    one = {"y": np.ones((1, 1, 1), np.float32)}
    slope = ssm_spec.h3_vjp_bounds(one, ["k"], arithmetic=Arithmetic(evaluation=evaluation), **inputs)["k"]
    assert 0.9 < ratio(slope, 0.0) <= 1
