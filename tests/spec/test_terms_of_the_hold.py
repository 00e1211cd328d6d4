"""Terms of the bounds of a diagonal hold, one by one, as `test_terms_of_the_scan` has the scan's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

from .test_terms_of_the_scan import COARSE, EXACT, U, held_slope


def mode(rate: float, step: float = 1.0) -> dict[str, Any]:
    """One mode with one input, B = 1."""
    one = np.ones((1, 1), np.float32)
    return {"A": np.float32(rate) * one[0], "B": one, "delta": np.float32(step), "diagonal": True}


def share(found: float, bounded: Bounded) -> float:
    """What part of the bound the error takes."""
    assert bounded.judged.all()
    return float((abs(found - bounded.value) / bounded.bound).squeeze())


def held(inputs: dict[str, Any], **units: float) -> Bounded:
    return ssm_spec.discretize_zoh_bounds(arithmetic=Arithmetic(**(EXACT | units)), **inputs)["B_bar"]


def slope(inputs: dict[str, Any], **units: float) -> Bounded:
    """dA for a cotangent of B̄ alone: Δ²ψ."""
    given = {"A_bar": np.zeros(1, np.float32), "B_bar": np.ones((1, 1), np.float32)}
    arithmetic = Arithmetic(**(EXACT | units))
    return ssm_spec.discretize_zoh_vjp_bounds(given, arithmetic=arithmetic, **inputs)["A"]


def test_a_hold_may_be_flushed_before_it_is_divided() -> None:
    """expm1(p)/λ with p = 2⁻¹³⁰ is 0, and not 2⁻³⁰."""
    assert 0.9 < share(0.0, held(mode(2.0**-100, 2.0**-30))) <= 1


def test_a_hold_takes_a_prescaled_argument_in_its_exponential() -> None:
    """expm1(p)/λ: above zero nearly p times as wrong as p."""
    found = np.expm1(8 * (1 + COARSE * U)) / 8
    assert 0.9 < share(found, held(mode(8.0), k_scale=COARSE)) <= 1


def test_a_hold_takes_a_prescaled_argument_everywhere() -> None:
    """Δφ₁(p): far below zero φ₁ is −1/p, and as wrong as p."""
    wrong = -8 * (1 + COARSE * U)
    assert 0.9 < share(np.expm1(wrong) / wrong, held(mode(-8.0), k_scale=COARSE)) <= 1


@pytest.mark.parametrize("unit", ["k_exp", "k_div"])
def test_a_hold_takes_an_exponential_and_a_division(unit: str) -> None:
    found = np.expm1(-8) / -8 * (1 + COARSE * U)
    assert 0.9 < share(found, held(mode(-8.0), **{unit: COARSE})) <= 1


def test_the_slope_of_a_hold_takes_a_prescaled_argument() -> None:
    wrong = -8 * (1 + COARSE * U)
    assert 0.8 < share(held_slope(wrong, wrong), slope(mode(-8.0), k_scale=COARSE)) <= 1


def test_the_slope_of_a_hold_takes_an_exponential() -> None:
    """(p eᵖ − expm1 p)/p², the functions wrong by 64 units to either side."""
    found = (2 * np.exp(2) * (1 + COARSE * U) - np.expm1(2) * (1 - COARSE * U)) / 4
    assert 0.7 < share(found, slope(mode(2.0), k_exp=COARSE)) <= 1


def test_the_slope_of_a_hold_divides_twice() -> None:
    """(eᵖ − φ₁)/p with φ₁ = expm1(p)/p."""
    wrong = 1 + COARSE * U
    found = (np.exp(-8) - np.expm1(-8) / -8 * wrong) / -8 * wrong
    assert 0.8 < share(found, slope(mode(-8.0), k_div=COARSE)) <= 1
