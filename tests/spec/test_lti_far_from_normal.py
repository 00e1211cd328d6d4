"""Where rounding errors are multiplied: full matrices far from normal, modes that turn often in a step."""

from __future__ import annotations

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic


@pytest.mark.parametrize("given", ["A_bar", "A"])
def test_an_error_that_a_full_matrix_multiplies_is_put_back_until_it_grows_no_more(given: str) -> None:
    """Entries of 10⁴ whose eigenvalues are below 1: roundings of 10⁴u move these by as much, and h grows."""
    A_bar = np.array([[-12981.135, 6391.7153], [-26366.607, 12982.5205]], np.float32)
    A = np.array([[11880.118, 11032.699], [-12803.286, -11890.015]], np.float32)
    B, C, third = np.array([1, 0.5], np.float32), np.array([1, 0], np.float32), np.float32(1 / 3)
    u, sequential = np.eye(1, 64, dtype=np.float32), Arithmetic(evaluation="sequential")
    if given == "A_bar":
        bars = A_bar, B
        y = ssm_spec.ssm_recurrence_bounds(
            arithmetic=sequential, A_bar=A_bar, B_bar=B[:, None], C=C[None], u=u[None]
        )["y"]
    else:
        bars = np.eye(2, dtype=np.float32) + third * A, third * B
        system = {"A": A[None], "B": B[None], "C": C[None, None], "delta": third[None]}
        y = ssm_spec.lssl_bounds(arithmetic=sequential, u=u[None], discretization="forward_euler", **system)[
            "y"
        ]
    exact = A_bar if given == "A_bar" else np.eye(2) + np.float64(third) * A.astype(np.float64)
    assert np.abs(np.linalg.eigvals(exact.astype(np.float64))).max() < 1
    h, errors = np.zeros(2, np.float32), []
    for x, value in zip(u[0], y.value.reshape(-1), strict=True):
        h = bars[0] @ h + bars[1] * x
        errors.append(abs(float(C @ h) - value))
    assert np.asarray(errors)[~y.judged.reshape(-1)].max() > 1e6
    assert np.all(np.asarray(errors)[y.judged.reshape(-1)] <= (y.bound + y.own)[y.judged])
    assert y.judged.reshape(-1)[:10].all()


@pytest.mark.parametrize("turns", [1.0, 1e2, 1e4])
def test_a_mode_that_turns_often_in_a_step_is_held_to_what_its_turns_lose(turns: float) -> None:
    """A rounding of p moves φ by about u|Δ|, however large p is."""
    rng = np.random.default_rng(0)
    p = (-rng.random(500) + 1j * turns * (1 + rng.random(500))).astype(np.complex64)
    delta = np.exp(rng.uniform(-3, 0, 500)).astype(np.float32)
    modes = (p / delta).astype(np.complex64)
    one = np.ones((500, 1, 1), np.complex64)
    call = {"A": modes[:, None], "B": one, "delta": delta, "diagonal": True, "arithmetic": Arithmetic()}
    B_bar = ssm_spec.discretize_zoh_bounds(**call)["B_bar"]
    p = delta * modes
    cosine = np.expm1(p.real) * np.cos(p.imag) - 2 * np.sin(p.imag / 2) ** 2
    grown = (cosine + 1j * np.exp(p.real) * np.sin(p.imag)).astype(np.complex64)
    assert p.dtype == grown.dtype == np.complex64
    granted, value = (x.reshape(500) for x in (B_bar.bound + B_bar.own, B_bar.value))
    for honest in (grown / modes, delta * (grown / p)):
        assert np.all(np.abs(honest - value) <= granted)
    # k_p = 3 units of |Δ|(|a| + |φ₁|), no more than 2|Δ| here, and some 24 of the result.
    assert np.all(granted <= 3 * 2.0**-24 * (2 * delta + 10 * np.abs(value)))
