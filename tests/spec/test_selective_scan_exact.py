"""The oracle against balls of 300 bits: every value and gradient lies within the oracle's own bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flint
import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from . import scan_exact
from .scan_data import VARIANTS, draw, draw_cotangents

WORST: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def precision() -> Iterator[None]:
    """Work with 300 bits, and print the worst |error| / own of each array; shown with -s."""
    before = flint.ctx.prec
    flint.ctx.prec = 300
    yield
    flint.ctx.prec = before
    for name, ratio in sorted(WORST.items()):
        print(f"{name:16} {ratio:.2g}")


def check(name: str, found: ssm_spec.Bounded, exact: Any) -> None:
    error = scan_exact.distance(found.value, exact, real=not np.iscomplexobj(found.value))
    ratio = np.where(error == 0, 0, error / found.own)
    WORST[name] = max(WORST.get(name, 0.0), float(ratio.max(initial=0)))
    assert ratio.max(initial=0) <= 1, f"{name}: {ratio.max()} of its own bound"


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_and_gradients_lie_within_the_oracles_own_bound(variant: str, wild: bool) -> None:
    inputs = draw(3, 2, 6, 7, 2, wild=wild, **VARIANTS[variant])
    cotangents = draw_cotangents(3, inputs)
    leaves, y, last = scan_exact.evaluate(inputs)
    arithmetic = Arithmetic()
    bounds = ssm_spec.selective_scan_bounds(arithmetic=arithmetic, **inputs)
    check("y", bounds["y"], scan_exact.values(y))
    check("last_state", bounds["last_state"], scan_exact.values(last))
    exact = scan_exact.differentiate(leaves, [(y, cotangents["y"]), (last, cotangents["last_state"])])
    found = ssm_spec.selective_scan_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    assert set(found) == set(exact)
    for name, bounded in found.items():
        check(name, bounded, exact[name])
        np.testing.assert_array_equal(bounded.value, ssm_spec.selective_scan_vjp(cotangents, **inputs)[name])


def test_the_own_bound_is_a_few_hundred_roundings_not_a_licence() -> None:
    inputs = draw(3, 2, 6, 7, 2)
    y = ssm_spec.selective_scan_bounds(arithmetic=Arithmetic(), **inputs)["y"]
    assert (y.own < 1000 * 2.0**-53 * np.abs(y.value).max()).all()
