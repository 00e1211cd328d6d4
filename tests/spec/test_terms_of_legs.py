"""Terms of the bounds of LegS's memory and its reconstruction, and their range, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from .test_terms_of_the_scan import ETA

F32 = Arithmetic()
LARGE = np.float32(3.3e38)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("method", ["exact", "bilinear"])
def test_what_a_memory_copies_may_be_subnormal(n: int, method: Any) -> None:
    """c₁ = f₁ e₀ and df₁ = (λ₁)₀ are copies, of which processors that flush make zero."""
    given = {"arithmetic": F32, "f": np.full(1, 0.99 * ETA, np.float32), "n": n, "method": method}
    c = ssm_spec.hippo_legs_compress_bounds(**given)["c"]
    df = ssm_spec.hippo_legs_compress_vjp_bounds({"c": np.full(n, 0.99 * ETA, np.float32)}, **given)["f"]
    for found in (c, df):
        assert 0.9 < np.max(np.abs(found.value) / found.bound) <= 1


def test_a_memory_that_has_left_the_range_is_not_judged_when_it_is_back() -> None:
    """Tustin's rule: c of f, −f reaches 3.8·10³⁸, and of f, −f, f no 10³⁸; ∞ − ∞ comes in between."""
    given: dict[str, Any] = {"arithmetic": F32, "f": LARGE * np.float32([1, -1, 1]), "n": 2}
    found = ssm_spec.hippo_legs_compress_bounds(**given, method="bilinear", prefixes=True)["c"]
    assert np.abs(found.value[1, 1]) > F32.largest
    assert np.abs(found.value[:, 2]).max() < 1e38
    np.testing.assert_array_equal(found.judged, [[True, False, False]] * 2)


def test_an_adjoint_that_has_left_the_range_is_not_judged_when_it_is_back() -> None:
    """Three coefficients: the sums for df₂ reach 4.6·10³⁸, and λ₁ is of the same product, 1.3·10³⁸."""
    given: dict[str, Any] = {"arithmetic": F32, "f": np.ones(2, np.float32), "n": 3, "method": "bilinear"}
    found = ssm_spec.hippo_legs_compress_vjp_bounds({"c": np.full(3, LARGE)}, **given)["f"]
    assert abs(found.value[0]) < 2e38 < F32.largest < found.value[1]
    assert not found.judged.any()


def test_a_signal_is_read_back_from_terms_that_may_overflow() -> None:
    """c₀ − √3 c₁ at x = 0: √3 · 2·10³⁸ is no number of float32, though the sum is −1.5·10³⁸."""
    c, points = np.full(2, 2e38, np.float32), np.array([0, 0.5], np.float32)
    found = ssm_spec.hippo_legs_reconstruct_bounds(arithmetic=F32, c=c, points=points)["f"]
    assert np.isfinite(found.value).all()
    np.testing.assert_array_equal(found.judged, [False, True])
