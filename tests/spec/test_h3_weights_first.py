"""H3's q may meet C and D before any sum, and all terms of a channel may be summed at once; likewise v and B.

Σ_i q_i (Σ_n C_n h_in + D x_i) is Σ_i (q_i D) x_i + Σ_in (q_i C_n) h_in: here with all terms of D first. There
is one step, from no state: h = B̄ x, x = k v, and what a gradient sums has the same form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

Arrays = dict[str, Any]
WIDTH = 8
SLIGHT = np.float32(0.9 * 2.0**-24 * WIDTH)
"""0.9 of a half of an ulp of WIDTH."""
ORDERS = ("any", "sequential", "scan", "chunk", "fft")


def call(width: int, n: int, q: float, k: float, v: float, B: float, C: float, D: float) -> Arrays:
    """One head of one step, all of whose numbers are the same; its keys are k."""
    channels = {name: np.full((1, width, 1), x, np.float32) for name, x in (("q", q), ("k", k), ("v", v))}
    modes = {name: np.full((1, n), x, np.float32) for name, x in (("A", -1e-12), ("B", B), ("C", C))}
    shift = {"shift": np.zeros((width, 1), np.float32), "shift_D": np.ones(width, np.float32)}
    return channels | modes | shift | {"delta": np.ones(1, np.float32), "D": np.full(1, D, np.float32)}


def weights_first(
    weight: float, read: float, state: float, passing: float, x: float, width: int, n: int
) -> Any:
    """Σ (w D) x and then Σ (w C) h in float32, one term after the other; subnormal numbers are zero."""
    w, c, h, d, x = (np.float32(number) for number in (weight, read, state, passing, x))
    total = np.float32(0)
    for product, factor, terms in ((w * d, x, width), (w * c, h, width * n)):
        kept = product if abs(product) >= np.finfo(np.float32).tiny else np.float32(0)
        for _ in range(terms):
            total = total + kept * factor
    return total


def ratio(bounded: Bounded, honest: Any) -> float:
    assert bounded.judged.all()
    return float(np.max(np.abs(bounded.value - honest) / (bounded.bound + bounded.own)))


@pytest.mark.parametrize("evaluation", ORDERS)
def test_the_terms_of_a_whole_channel_may_be_one_sum(evaluation: Any) -> None:
    arithmetic = Arithmetic(evaluation=evaluation)
    inputs = call(WIDTH, WIDTH, q=1, k=1, v=1, B=1, C=SLIGHT, D=1)
    honest = weights_first(1, SLIGHT, 1, 1, 1, WIDTH, WIDTH)
    assert honest == WIDTH
    assert 0.5 < ratio(ssm_spec.h3_bounds(arithmetic=arithmetic, **inputs)["y"], honest) <= 1
    cotangents = {"y": np.ones((1, WIDTH, 1), np.float32)}
    slopes = ssm_spec.h3_vjp_bounds(cotangents, ["q", "k", "v"], arithmetic=arithmetic, **inputs)
    for name, slope in slopes.items():
        assert 0.5 < ratio(slope, honest) <= 1, name


@pytest.mark.parametrize("evaluation", ORDERS)
def test_the_product_of_a_weight_and_what_reads_may_underflow(evaluation: Any) -> None:
    """q C = 10⁻⁴⁰ meets a state of 10³⁷, and its product with it is no small number."""
    arithmetic = Arithmetic(evaluation=evaluation)
    inputs = call(1, 1, q=1e-20, k=1e4, v=1e3, B=1e30, C=1e-20, D=0)
    with np.errstate(under="ignore"):
        honest = weights_first(1e-20, 1e-20, 1e37, 0, 1e7, 1, 1)
    assert honest == 0
    found = ssm_spec.h3_bounds(arithmetic=arithmetic, **inputs)["y"]
    assert found.value > 5e-4
    assert ratio(found, honest) <= 1


def test_the_same_product_may_underflow_before_it_meets_a_cotangent() -> None:
    """Then no adjoint is left: of what the system is, and of what enters it, the gradients are zero."""
    inputs = call(1, 1, q=1e-20, k=1e4, v=1e-3, B=1, C=1e-20, D=0)
    cotangents = {"y": np.full((1, 1, 1), 1e30, np.float32)}
    names = ["k", "v", "shift", "shift_D", "delta", "A", "B"]
    for name, slope in ssm_spec.h3_vjp_bounds(cotangents, names, arithmetic=Arithmetic(), **inputs).items():
        assert np.abs(slope.value).max() > 1e-14, name
        assert ratio(slope, 0.0) <= 1, name


def test_a_product_of_weights_and_what_reads_that_overflows_is_not_judged() -> None:
    """q C = 10⁴⁰, or v B, is infinite; the state is small."""
    inputs = call(1, 1, q=1e20, k=1e-10, v=1, B=1e-20, C=1e20, D=0)
    assert not ssm_spec.h3_bounds(arithmetic=Arithmetic(), **inputs)["y"].judged.any()
    inputs = call(1, 1, q=1e-20, k=1e-20, v=1e20, B=1e20, C=1e-10, D=0)
    cotangents = {"y": np.full((1, 1, 1), 1e-5, np.float32)}
    slopes = ssm_spec.h3_vjp_bounds(cotangents, ["k"], arithmetic=Arithmetic(), **inputs)
    assert not slopes["k"].judged.any()
