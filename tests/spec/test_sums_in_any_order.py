"""All terms of a step, or of a gradient that is shared, are one sum in any order, complex parts too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

from .first_of_many import COUNT, DIAGONAL, LOST, TURNED, Arrays, first, ones, ratio_of_one


def last_state(evaluation: Any, A: Any, B: Any, u: Any, initial: Any) -> Bounded:
    inputs = {"A_bar": A, "B_bar": B, "C": ones(1, len(B)), "u": u, "initial_state": initial}
    arithmetic = Arithmetic(evaluation=evaluation)
    return ssm_spec.ssm_recurrence_bounds(arithmetic=arithmetic, **inputs, diagonal=A.ndim == 1)["last_state"]


@pytest.mark.parametrize("evaluation", ["any", "sequential", "scan"])
def test_the_inputs_of_a_step_may_be_added_to_a_decayed_mode(evaluation: Any) -> None:
    found = last_state(evaluation, ones(1), ones(1, COUNT), LOST * ones(1, COUNT, 1), ones(1, 1))
    assert 0.5 < ratio_of_one(found) <= 1


@pytest.mark.parametrize("evaluation", ["any", "sequential"])
def test_the_inputs_of_a_step_may_be_added_to_a_full_matrix_and_it_to_them(evaluation: Any) -> None:
    found = last_state(evaluation, ones(1, 1), ones(1, COUNT), LOST * ones(1, COUNT, 1), ones(1, 1))
    assert 0.5 < ratio_of_one(found) <= 1
    row = np.zeros((COUNT, COUNT), np.float32)
    row[0] = 1
    found = last_state(evaluation, row, np.eye(COUNT, 1), ones(1, 1, 1), LOST * ones(1, COUNT))
    assert 0.5 < ratio_of_one(found, (0, 0)) <= 1


def test_inputs_that_add_next_to_nothing_lose_no_more_than_they_are() -> None:
    """64 of them: what a mode rounds is that of one, and not 64 times."""
    few = last_state("scan", ones(1), ones(1, 1), 1e-20 * ones(1, 1, 9), ones(1, 1))
    many = last_state("scan", ones(1), ones(1, COUNT), 1e-20 * ones(1, COUNT, 9), ones(1, 1))
    assert many.bound <= 1.01 * few.bound


def test_the_last_cotangent_may_be_the_first_term_of_what_reads_the_state() -> None:
    inputs = {"A_bar": ones(1), "B_bar": ones(1, 1), "C": LOST * ones(COUNT, 1), "u": ones(1, 1, 1)}
    cotangents = {"y": ones(1, COUNT, 1), "last_state": ones(1, 1)}
    arithmetic = Arithmetic(evaluation="scan")
    found = ssm_spec.ssm_recurrence_vjp_bounds(
        cotangents, ["u"], arithmetic=arithmetic, **inputs, diagonal=True
    )
    assert 0.25 < ratio_of_one(found["u"]) <= 1


@pytest.mark.parametrize("evaluation", ["any", "sequential"])
def test_a_step_with_a_complex_matrix_may_sum_both_parts(evaluation: Any) -> None:
    row = np.zeros((COUNT, COUNT), np.complex64)
    row[0] = first(1, DIAGONAL, COUNT)
    B = np.zeros((COUNT, 1), np.complex64)
    found = last_state(evaluation, row, B, ones(1, 1, 1), first(1, TURNED, 1, COUNT))
    assert 0.5 < ratio_of_one(found, (0, 0)) <= 1


def test_a_sum_over_rows_of_complex_products_may_sum_both_parts() -> None:
    inputs = {
        "A_bar": np.ones((1, 1), np.complex64),
        "B_bar": np.zeros((1, 1), np.complex64),
        "C": np.ones((1, 1), np.complex64),
        "u": np.zeros((COUNT, 1, 1), np.float32),
        "initial_state": np.conj(first(1, TURNED, COUNT, 1)),
    }
    r = first(1, DIAGONAL, COUNT, 1)
    vjp = ssm_spec.ssm_recurrence_vjp_bounds
    found = vjp({"last_state": r}, ["A_bar"], arithmetic=Arithmetic(), **inputs)["A_bar"]
    assert 0.5 < ratio_of_one(found) <= 1
    found = vjp({"y": r[..., None]}, ["C"], arithmetic=Arithmetic(), **inputs)["C"]
    assert 0.5 < ratio_of_one(found) <= 1
    modes = inputs | {"A_bar": np.ones(1, np.complex64), "diagonal": True}
    found = vjp({"last_state": r}, ["A_bar"], arithmetic=Arithmetic(evaluation="scan"), **modes)["A_bar"]
    assert 0.5 < ratio_of_one(found) <= 1


def test_a_chunk_of_complex_modes_may_sum_both_parts() -> None:
    """The last source is 1. A power of a has both parts or one: all of the real products are lost."""
    steps = 4 * COUNT
    powers = np.exp(0.25j * np.pi * np.arange(steps - 1, 0, -1))
    # One of the inputs of each step meets both parts of the power with the signs that add up.
    u = np.zeros((1, 3, steps), np.float32)
    u[0, 0, -1] = 1
    same = powers.real * powers.imag > -0.1
    u[0, 1, :-1], u[0, 2, :-1] = np.where(same, 1, 0), np.where(same, 0, 1)
    sign = np.sign(powers.real - np.where(same, -1, 1) * powers.imag)
    u[0, 1:, :-1] *= sign / np.maximum(np.abs(powers.real), np.abs(powers.imag))
    inputs = {"A_bar": np.array([np.exp(0.25j * np.pi)], np.complex64), "C": ones(1, 1), "diagonal": True}
    inputs |= {"B_bar": np.array([[1, TURNED, np.conj(TURNED)]]), "u": u}
    arithmetic = Arithmetic(evaluation="chunk", chunk=steps)
    found = ssm_spec.ssm_recurrence_bounds(arithmetic=arithmetic, **inputs)["last_state"]
    lost = abs(1 - found.value.real) / (found.bound + found.own)
    assert 0.4 < lost.item() <= 1


@pytest.mark.parametrize(("outputs", "length"), [(COUNT, 1), (1, COUNT), (16, 16)])
def test_a_gradient_of_a_kernel_of_modes_may_be_one_sum(outputs: int, length: int) -> None:
    """Over outputs and times at once; of the gradient of a mode the first time is no term."""
    inputs = {
        "A_bar": ones(1),
        "B_bar": ones(1, 1),
        "C": ones(outputs, 1),
        "length": length,
        "diagonal": True,
    }
    vjp = ssm_spec.ssm_kernel_vjp_bounds
    found = vjp({"K": first(1, LOST, outputs, 1, length)}, ["B_bar"], arithmetic=Arithmetic(), **inputs)
    assert 0.5 < ratio_of_one(found["B_bar"]) <= 1
    if length > 1:
        times = np.arange(1, length, dtype=np.float32)
        G = np.zeros((outputs, 1, length), np.float32)
        G[..., 1:] = first(1, LOST, outputs, 1, length - 1) / times
        found = vjp({"K": G}, ["A_bar"], arithmetic=Arithmetic(), **inputs)
        assert 0.5 < ratio_of_one(found["A_bar"]) <= 1


def test_rows_may_be_summed_before_they_are_transformed_back() -> None:
    """dK of rows whose input is an impulse: what is lost of their cotangents differs from point to point."""
    rows, length = 1024, 4
    small = np.float32(0.45 * 2.0**-24)
    r, u = np.full((rows, 1, length), 0, np.float32), np.zeros((rows, 1, length), np.float32)
    u[..., 0], r[1:, 0, 0], r[0, 0, 1] = 1, small, 1
    total = np.exp(-1j * np.pi * np.arange(2 * length) / length).astype(np.complex64)
    for _ in range(rows - 1):
        total = total + small
    honest = np.fft.ifft(total.astype(np.complex128)).real[:length]
    vjp = ssm_spec.causal_convolution_vjp_bounds
    arithmetic = Arithmetic(evaluation="fft")
    found = vjp({"y": r}, ["K"], arithmetic=arithmetic, u=u, K=ones(1, length))["K"]
    assert found.judged.all()
    assert 0.1 < np.max(np.abs(honest - found.value) / (found.bound + found.own)) <= 1


@pytest.mark.parametrize("op", ["discretize_zoh", "discretize_bilinear"])
def test_the_slope_of_a_step_that_modes_share_may_be_one_sum(op: str) -> None:
    """dΔ of modes, so small a step that Ā is 1 + ΔA: a term of each A and B, all lost but the first."""
    inputs = {"A": -ones(COUNT), "B": ones(COUNT, 8), "delta": np.float32(1e-12), "diagonal": True}
    cotangents = {"A_bar": -first(1, LOST, COUNT), "B_bar": np.full((COUNT, 8), LOST)}
    cotangents["B_bar"][0] = 0
    vjp = ssm_spec.REFERENCES[op].vjp_bounds
    assert vjp is not None
    found = vjp(cotangents, ["delta"], arithmetic=Arithmetic(), **inputs)["delta"]
    assert 0.5 < ratio_of_one(found) <= 1


@pytest.mark.parametrize("diagonal", [True, False], ids=["modes", "full"])
def test_the_slope_of_a_complex_step_may_sum_both_parts(diagonal: bool) -> None:
    """The bilinear rule's, whose own rounding is small beside that of 2304 terms, or of 192 modes."""
    shape = (192,) if diagonal else (48, 48)
    A, G = first(np.complex64(1), DIAGONAL, *shape), first(np.complex64(1), np.conj(TURNED), *shape)
    inputs = {"A": A, "B": np.zeros((len(A), 1), np.complex64), "delta": np.float32(1e-12)}
    vjp = ssm_spec.discretize_bilinear_vjp_bounds
    found = vjp({"A_bar": G}, ["delta"], arithmetic=Arithmetic(), **inputs, diagonal=diagonal)["delta"]
    # Modes are granted their terms of B too, of which there are none here.
    assert 0.3 < ratio_of_one(found) <= 1


@pytest.mark.parametrize("evaluation", ["any", "sequential", "scan"])
def test_a_gradient_that_systems_share_may_be_one_sum(evaluation: Any) -> None:
    """dB̄ over 16 systems and 16 times: 1 of the first, and 255 terms that are lost."""
    u = first(1, LOST, 1, 16, 1, 16)
    inputs = {"A_bar": 0 * ones(16, 1), "B_bar": ones(1, 1), "C": ones(16, 1, 1), "u": u, "diagonal": True}
    vjp = ssm_spec.ssm_recurrence_vjp_bounds
    found = vjp({"y": ones(1, 16, 1, 16)}, ["B_bar"], arithmetic=Arithmetic(evaluation=evaluation), **inputs)
    assert 0.5 < ratio_of_one(found["B_bar"]) <= 1


def test_a_gradient_of_a_kernel_that_systems_share_may_be_one_sum() -> None:
    inputs = {"A_bar": ones(16, 1), "B_bar": ones(1, 1), "C": ones(16, 1, 1), "length": 16, "diagonal": True}
    vjp = ssm_spec.ssm_kernel_vjp_bounds
    found = vjp({"K": first(1, LOST, 16, 1, 1, 16)}, ["B_bar"], arithmetic=Arithmetic(), **inputs)["B_bar"]
    assert 0.5 < ratio_of_one(found) <= 1


@pytest.mark.parametrize("diagonal", [True, False], ids=["modes", "full"])
@pytest.mark.parametrize("op", ["discretize_zoh", "discretize_bilinear"])
def test_the_slope_of_a_step_that_systems_share_may_be_one_sum(op: str, diagonal: bool) -> None:
    """dΔ over 16 systems of 16 modes, or of 4 states."""
    shape = (16, 16) if diagonal else (16, 4, 4)
    inputs = {
        "A": ones(*shape),
        "B": 0 * ones(*shape[:2], 1),
        "delta": np.float32(1e-12),
        "diagonal": diagonal,
    }
    vjp = ssm_spec.REFERENCES[op].vjp_bounds
    assert vjp is not None
    found = vjp({"A_bar": first(1, LOST, *shape)}, ["delta"], arithmetic=Arithmetic(), **inputs)["delta"]
    assert 0.3 < ratio_of_one(found) <= 1


@pytest.mark.parametrize("wanted", ["B", "C"])
def test_a_gradient_that_systems_in_continuous_time_share_may_be_one_sum(wanted: str) -> None:
    """Nothing is left of a state. Of 16 systems and 16 times all terms but one are lost."""
    inputs = {
        "A": -128 * ones(1),
        "B": 128 * ones(1, 1),
        "C": ones(1, 1),
        "delta": ones(16),
        "diagonal": True,
    }
    inputs["u"] = first(1, LOST, 1, 16, 1, 16)
    vjp = ssm_spec.continuous_response_vjp_bounds
    found = vjp({"y": ones(1, 16, 1, 16)}, [wanted], arithmetic=Arithmetic(), **inputs)[wanted]
    assert found.judged.all()
    honest = found.value / (1 + 255 * float(LOST))
    assert 0.5 < np.abs(honest - found.value) / (found.bound + found.own) <= 1


LARGEST = np.finfo(np.float32).max


def parts_of_the_largest(*shares: float) -> Any:
    return (np.array(shares) * LARGEST).astype(np.float32)


@pytest.mark.parametrize("evaluation", ["any", "sequential"])
def test_the_terms_of_a_step_stay_in_range_before_they_cancel(evaluation: Any) -> None:
    """0.9 and 0.5 of the largest number, less 0.45 of it: in this order infinite."""
    u, initial = parts_of_the_largest(0.5, -0.45).reshape(1, 2, 1), parts_of_the_largest(0.9)[None]
    for A in (ones(1), ones(1, 1)):
        assert not last_state(evaluation, A, ones(1, 2), u, initial).judged.any()
        assert last_state(evaluation, A, ones(1, 2), u / 2, initial / 2).judged.all()


@pytest.mark.parametrize("shares", [(0.6, 0.6), (0.6, 0.6, -0.6)])
def test_a_gradient_that_systems_share_stays_in_range_before_it_cancels(shares: tuple[float, ...]) -> None:
    inputs = {"A": -128 * ones(1), "B": 128 * ones(1, 1), "C": ones(1, 1), "delta": ones(len(shares))}
    u, r = parts_of_the_largest(*shares).reshape(1, -1, 1, 1), ones(1, len(shares), 1, 1)
    vjp = ssm_spec.continuous_response_vjp_bounds
    for scale, within in ((1, False), (np.float32(0.25), True)):
        found = vjp({"y": r}, ["C"], arithmetic=Arithmetic(), **inputs, u=scale * u, diagonal=True)["C"]
        assert found.judged.all() == within


@pytest.mark.parametrize("method", ["exact", "bilinear"])
def test_a_cotangent_of_the_memory_may_be_the_first_term_of_its_adjoint(method: str) -> None:
    """df₁ is r₁ + (Ā₂ᵀ r₂)₀: here 1, and a term of each coefficient, all of which are lost."""
    n = 16
    only = {"f": np.zeros(2), "n": n, "method": method, "prefixes": True}
    column = np.zeros(n)
    for i in range(n):
        r = np.zeros((n, 2))
        r[i, 1] = 1
        column[i] = ssm_spec.hippo_legs_compress_vjp({"c": r}, **only)["f"][0]
    r = np.zeros((n, 2), np.float32)
    there = np.abs(column) > 1e-3
    r[0, 0], r[there, 1] = 1, LOST / column[there]
    found = ssm_spec.hippo_legs_compress_vjp_bounds({"c": r}, arithmetic=Arithmetic(), **only)["f"]
    assert found.judged.all()
    assert 0.3 < (np.abs(1 - found.value) / (found.bound + found.own))[0] <= 1


def slope_of_mode(cotangents: Arrays, A: Any, B: Any) -> Bounded:
    inputs = {"A": A, "B": B, "delta": np.float32(1), "diagonal": True}
    return ssm_spec.discretize_zoh_vjp_bounds(cotangents, ["A"], arithmetic=Arithmetic(), **inputs)["A"]


def test_a_slope_of_a_mode_may_begin_with_the_part_of_its_decay() -> None:
    """1 by way of ā; of each input ψ B G, ψ = ½, which is lost."""
    cotangents = {"A_bar": ones(1), "B_bar": np.full((1, COUNT), 2 * LOST)}
    found = slope_of_mode(cotangents, -1e-12 * ones(1), ones(1, COUNT))
    assert 0.5 < ratio_of_one(found) <= 1


def test_a_slope_of_a_complex_mode_may_sum_both_parts_over_inputs() -> None:
    inputs = 4 * COUNT
    cotangents = {"B_bar": 2 * first(np.complex64(1), np.conj(TURNED), 1, inputs)}
    B = first(np.complex64(1), DIAGONAL, 1, inputs)
    found = slope_of_mode(cotangents, np.full(1, -1e-12 + 1e-13j, np.complex64), B)
    assert 0.3 < ratio_of_one(found) <= 1


@pytest.mark.parametrize("evaluation", ["any", "sequential"])
def test_the_slope_of_a_step_in_continuous_time_may_be_one_sum_over_systems(evaluation: Any) -> None:
    """16 systems of 16 modes, each of which hands on a state of 1; Δ is so small that Ā is 1 + ΔA."""
    shape = (16, 16)
    inputs = {"A": -ones(*shape), "B": 0 * ones(*shape, 1), "C": ones(16, 1, 16), "delta": np.float32(1e-12)}
    inputs |= {"u": 0 * ones(1, 16, 1, 1), "initial_state": ones(1, *shape), "diagonal": True}
    cotangents = {"last_state": -first(1, LOST, 1, *shape)}
    vjp = ssm_spec.continuous_response_vjp_bounds
    found = vjp(cotangents, ["delta"], arithmetic=Arithmetic(evaluation=evaluation), **inputs)["delta"]
    assert 0.3 < ratio_of_one(found) <= 1


def test_a_gradient_of_a_response_may_be_one_sum_over_times_and_inputs() -> None:
    """dC of exp(tA) B, which is 1 at each of 16 times for each of 16 inputs."""
    inputs = {"A": -1e-12 * ones(1), "B": ones(1, 16), "C": ones(1, 1), "times": ones(16), "diagonal": True}
    vjp = ssm_spec.impulse_response_vjp_bounds
    found = vjp({"g": first(1, LOST, 1, 16, 16)}, ["C"], arithmetic=Arithmetic(), **inputs)["C"]
    assert 0.5 < ratio_of_one(found) <= 1
