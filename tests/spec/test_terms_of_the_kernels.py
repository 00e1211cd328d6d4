"""What the terms of a kernel may lose on their way: each by an honest evaluation that loses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_spec import (
    Arithmetic,
    Bounded,
    discretize_bilinear,
    s4_kernel_bounds,
    s4d_kernel_bounds,
    s4d_kernel_vjp_bounds,
    ssm_kernel_bounds,
    ssm_kernel_vjp_bounds,
)

FLOAT32 = Arithmetic()
TINY = np.finfo(np.float32).tiny
LARGE, SMALL = np.float32(1e30), np.float32(1e-20)


def flushed(x: Any) -> np.float32:
    """Return a float32, or zero for a subnormal one."""
    number = np.float32(x)
    return number if abs(number) >= TINY else np.float32(0)


def powers_one_by_one(a: np.complex64, length: int) -> Any:
    """Return a^j, j < length: each power is the last one times a, in float32 that flushes."""
    table, (x, y) = np.zeros(length, np.complex64), (np.float32(1), np.float32(0))
    for j in range(length):
        table[j] = x + 1j * y
        x, y = (
            flushed(flushed(x * a.real) - flushed(y * a.imag)),
            flushed(flushed(x * a.imag) + flushed(y * a.real)),
        )
    return table.astype(np.complex128)


def worst(found: Any, bounded: Bounded) -> float:
    assert bounded.judged.all()
    return float(np.max(np.abs(found - bounded.value) / bounded.bound))


SLOW = np.complex64(0.99 * np.exp(0.01j))
"""A mode that takes a hundred steps to decay and to turn: 8700 until its powers underflow."""


def test_a_component_of_a_power_may_be_flushed_again_and_again() -> None:
    """It is lost a hundred times while the other goes on, and a state that large is seen after C = 10³⁰."""
    one, a = np.ones((1, 1), np.complex64), np.array([SLOW])
    powers = powers_one_by_one(SLOW, 9000)
    given: dict[str, Any] = {"A_bar": a, "B_bar": one, "C": LARGE * one, "length": 9000, "diagonal": True}
    K = ssm_kernel_bounds(arithmetic=FLOAT32, **given)["K"]
    assert worst(2 * float(LARGE) * powers.real, K) < 1
    # Of itself a term is then right to no digit; what a flush at the end loses would be an eighth of that.
    lost = np.abs(2 * float(LARGE) * powers.real - K.value).max()
    assert lost > 6 * 2 * 2**0.5 * 2 * TINY * float(LARGE)
    G = np.zeros((1, 1, 9000), np.float32)
    G[..., 8332] = 1e30
    slopes = ssm_kernel_vjp_bounds({"K": G}, ["B_bar"], arithmetic=FLOAT32, **(given | {"C": one}))
    assert worst(2 * 1e30 * np.conj(powers[8332]), slopes["B_bar"]) < 1


def test_a_component_of_a_power_of_s4d_may_be_flushed_again_and_again() -> None:
    one = np.ones((1, 1), np.complex64)
    decay = np.array([[-0.01 + 0.01j]], np.complex64)
    given: dict[str, Any] = {"delta": np.ones(1, np.float32), "A": decay, "B": one, "C": LARGE * one}
    K = s4d_kernel_bounds(arithmetic=FLOAT32, length=9000, **given)["K"]
    a = np.complex64(np.exp(np.complex128(decay[0, 0])))
    weight = np.expm1(np.complex128(decay[0, 0])) / np.complex128(decay[0, 0])
    assert worst(2 * float(LARGE) * (weight * powers_one_by_one(a, 9000)).real, K) < 1


def slope_of_late(powers: Any, step: int, weight: complex, by_quotient: bool, a: complex) -> Any:
    """Return 2 w j a^{j−1} by the power before, or a^j/a, of one late step j alone."""
    power = powers[step] / a if by_quotient else powers[step - 1]
    return step * np.conj(2 * weight * power)


@pytest.mark.parametrize("by_quotient", [False, True])
def test_the_slope_of_a_late_power_is_as_wrong_as_it(by_quotient: bool) -> None:
    """j times what a component, flushed a hundred times, is wrong by, for ssm_kernel and S4D."""
    G, one = np.zeros((1, 1, 9000), np.float32), np.ones((1, 1), np.complex64)
    G[..., 8300] = 1e27
    given: dict[str, Any] = {"B_bar": 100 * one, "C": 100 * one, "length": 9000, "diagonal": True}
    slope = ssm_kernel_vjp_bounds({"K": G}, ["A_bar"], arithmetic=FLOAT32, A_bar=np.array([SLOW]), **given)[
        "A_bar"
    ]
    powers = powers_one_by_one(SLOW, 9000)
    assert worst(slope_of_late(powers, 8300, 1e31, by_quotient, np.complex128(SLOW)), slope) < 1
    rate = np.complex128(np.complex64(-0.01 + 0.01j))
    a, b = np.complex64(np.exp(rate)), 100 * np.expm1(rate) / rate
    given = {"delta": np.ones(1, np.float32), "A": np.array([[rate]], np.complex64), "B": 100 * one}
    slope = s4d_kernel_vjp_bounds({"K": G[0]}, ["A"], arithmetic=FLOAT32, C=100 * one, length=9000, **given)[
        "A"
    ]
    wrong = slope_of_late(powers_one_by_one(a, 9000), 8300, 1e29 * b, by_quotient, np.complex128(a))
    exact = slope_of_late(np.exp(rate * np.arange(9000)), 8300, 1e29 * b, by_quotient, np.exp(rate))
    moved = np.conj(np.exp(rate)) * (wrong - exact)  # dā/dλ; what b̄ has of it is nothing beside
    assert worst(slope.value + moved, slope) < 1


def test_a_channel_is_judged_where_its_slopes_stay_in_range_however_often_they_may_be_flushed() -> None:
    one = np.ones((1, 1), np.complex64)
    G = np.zeros((1, 9000), np.float32)
    G[:, 10] = 1.0
    given: dict[str, Any] = {"delta": np.ones(1, np.float32), "A": (-0.01 + 0.01j) * one, "B": one}
    slopes = s4d_kernel_vjp_bounds(
        {"K": G}, ["B", "C"], arithmetic=FLOAT32, C=LARGE * one, length=9000, **given
    )
    assert slopes["B"].judged.all()
    assert slopes["C"].judged.all()


def s4d(mode: float, B: float, C: float, length: int) -> dict[str, Any]:
    """One real mode, Δ = 1."""
    arrays = {name: np.array([[x]], np.float32) for name, x in (("A", mode), ("B", B), ("C", C))}
    return {"delta": np.ones(1, np.float32), "length": length, **arrays}


def test_what_of_s4d_underflows_may_have_met_a_growing_mode() -> None:
    """C b̄ = 3·10⁻⁴⁰ is flushed, and a³⁹ = 10³⁴ may come after it: all of the term is lost, some 10⁻⁶."""
    given = s4d(2.0, SMALL, SMALL, 40)
    K = s4d_kernel_bounds(arithmetic=FLOAT32, **given)["K"]
    assert K.judged.all()
    assert K.value[0, -1] > 1e-6
    assert (np.abs(K.value) <= K.bound).all()
    # The same term of factors that lose nothing.
    plain = s4d_kernel_bounds(arithmetic=FLOAT32, **s4d(2.0, 1.0, SMALL * SMALL * 1e20, 40))["K"]
    assert plain.bound[0, -1] < 1e-4 * plain.value[0, -1]


@pytest.mark.parametrize("name", ["A", "B", "C", "delta"])
def test_what_of_a_gradient_of_s4d_underflows_may_meet_a_growing_mode(name: str) -> None:
    """10⁻²⁰ of a cotangent and 10⁻²⁰ of C, or of B, are lost before they meet a²⁹ = 10²⁵."""
    given = s4d(2.0, SMALL, 1.0, 30) if name == "C" else s4d(2.0, 1.0, SMALL, 30)
    G = np.zeros((1, 30), np.float32)
    G[0, -1] = SMALL
    found = s4d_kernel_vjp_bounds({"K": G}, [name], arithmetic=FLOAT32, **given)[name]
    assert found.judged.all()
    assert (np.abs(found.value) > 1e-16).all()
    assert (np.abs(found.value) <= found.bound).all()


def test_what_of_s4d_overflows_on_its_way_is_not_judged() -> None:
    """C b̄ = 5·10³⁸ is an infinity in float32, as S4D's own code forms it, however small a³ makes it again."""
    given = s4d(-20.0, 1e20, 1e20, 4)
    K = s4d_kernel_bounds(arithmetic=FLOAT32, **given)["K"]
    assert np.abs(K.value[0, -1]) < 1e13
    assert not K.judged.any()
    inside = s4d_kernel_bounds(arithmetic=FLOAT32, **s4d(-20.0, 1e17, 1e20, 4))["K"]
    assert inside.judged.all()
    # Of the gradient of A and Δ all three are factors, of that of C the cotangent and b̄.
    G = np.full((1, 4), 1e30, np.float32)
    slopes = s4d_kernel_vjp_bounds({"K": G}, arithmetic=FLOAT32, **s4d(-20.0, 1e-5, 1e15, 4))
    assert {name: bool(slope.judged.all()) for name, slope in slopes.items()} == {
        "delta": False, "A": False, "B": False, "C": True
    }  # fmt: skip


def s4(P: float, Q: float, B: float, C: float) -> dict[str, Any]:
    """Two modes, all entries of P alike, and so of the others."""
    vectors = {name: np.full((1, 2), x, np.complex64) for name, x in (("P", P), ("Q", Q), ("B", B), ("C", C))}
    modes = np.array([[-0.5 + 1j, -0.5 - 2j]], np.complex64)
    return {"delta": np.array([0.1], np.float32), "Lambda": modes, "length": 8, **vectors}


def without_low_rank(P: Any, Q: Any, B: Any, C: Any, Lambda: Any, delta: Any, length: int) -> Any:
    """The kernel by the generating function, of which C̃ P has been flushed: Δ Σ C̃ B/D at the roots."""
    A = np.diag(Lambda[0]) - np.outer(P[0].astype(np.complex128), np.conj(Q[0]))
    A_bar, _ = discretize_bilinear(A=A, B=B[0][:, None], delta=delta[0])
    truncated = C[0] @ (np.eye(2) - np.linalg.matrix_power(A_bar, length))
    omega = np.exp(-2j * np.pi * np.arange(length) / length)[:, None]
    D = 1 - omega - 0.5 * delta[0] * (1 + omega) * Lambda
    return np.fft.ifft(delta[0] * np.sum(truncated * B / D, axis=-1))


def test_a_product_of_the_generating_function_may_underflow() -> None:
    """C̃ P is 10⁻⁴⁰, and meets Q̄ B = 10³¹; the terms that it is lost from are 10⁻⁹."""
    transforms = Arithmetic(evaluation="fft")
    given = s4(1e-18, 1e18, 1e13, 1e-22)
    K = s4_kernel_bounds(arithmetic=transforms, **given)["K"]
    lost = np.abs(without_low_rank(**given) - K.value)
    assert (lost.max() > 0.01 * np.abs(K.value)).all()
    assert K.judged.all()
    assert (lost <= K.bound).all()
    plain = s4_kernel_bounds(arithmetic=transforms, **s4(1.0, 1.0, 1.0, 1e-9))["K"]
    assert (plain.bound < 1e-3 * np.abs(plain.value).max()).all()


def test_a_product_of_the_generating_function_may_overflow() -> None:
    """Q̄ B is 10⁴⁰, whatever C̃ P makes of it."""
    transforms = Arithmetic(evaluation="fft")
    assert not s4_kernel_bounds(arithmetic=transforms, **s4(1e-15, 1e15, 1e25, 1e-25))["K"].judged.any()
    assert s4_kernel_bounds(arithmetic=transforms, **s4(1e-3, 1e3, 1e6, 1e-6))["K"].judged.all()


@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_a_mode_that_is_over_after_one_step_does_not_blur_the_others(discretization: str) -> None:
    """|ā| = 4·10⁻⁴⁸ of a hold, or 0 of the bilinear rule, may be wrong by more than itself at each step."""
    arrays = {name: np.ones((1, 2), np.complex64) for name in ("B", "C")}
    fast = -20.0 if discretization == "bilinear" else -1090.0
    given: dict[str, Any] = {"delta": np.float32([0.1]), "A": np.complex64([[-0.5 + 1j, fast]]), **arrays}
    more = {"arithmetic": FLOAT32, "length": 4000, "discretization": discretization}
    K = s4d_kernel_bounds(**given, **more)["K"]
    assert K.judged.all()
    assert K.bound.max() < 1e-4 * np.abs(K.value).max()
    G = np.exp(-0.05 * np.arange(4000, dtype=np.float32))[None]
    for name, slope in s4d_kernel_vjp_bounds({"K": G}, **given, **more).items():
        assert slope.judged.all(), name
        # The terms of 4000 times add up to some 10, each rounded 2√2·4000 times: 10⁻³ of them.
        assert slope.bound.flat[0] < 0.05, name


def by_doubling(A: Any, B: Any, C: Any, length: int) -> Any:
    """(B, ĀB), then Ā² of both, and so on."""
    columns = B
    with np.errstate(all="ignore"):
        while columns.shape[-1] < length:
            columns, A = np.concatenate((columns, A @ columns), axis=-1), A @ A
    return (C @ columns[:, :length])[None]


@pytest.mark.parametrize("growth", [4.0, 20.0, 1000.0])
def test_repeated_doubling_meets_what_neither_side_sees(growth: float) -> None:
    """A state that nothing enters and nothing reads grows until 0 · ∞ is a NaN, and nothing is judged."""
    A, column = np.diag(np.float32([0.5, growth])), np.float32([[1], [0]])
    given: dict[str, Any] = {"A_bar": A, "B_bar": column, "C": column.T}
    found = by_doubling(A, column, column.T, 200)
    K = ssm_kernel_bounds(arithmetic=FLOAT32, length=200, **given)["K"]
    assert np.isnan(found).any()
    assert (np.abs(found - K.value) <= K.bound)[K.judged].all()
    # Up to the last power that is finite all is.
    assert K.judged[..., :8].all()
    grows_not = ssm_kernel_bounds(
        arithmetic=FLOAT32, length=200, **(given | {"A_bar": A / np.float32(growth)})
    )
    assert grows_not["K"].judged.all()
