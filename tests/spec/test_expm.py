"""The double-double exponential keeps its own bound, far below float64, in every entry."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import flint
import numpy as np
import pytest
import scipy.linalg

import ssm_spec
from ssm_spec import ORACLE
from ssm_spec._double_double import two_product
from ssm_spec._expm import complex_form, exponential, reachable, real_form

from . import lti_exact as exact


def matrices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    skew = rng.standard_normal((6, 6))
    return {
        "one": np.array([[-0.7]]),
        "zero": np.zeros((3, 3)),
        "random": rng.standard_normal((7, 7)),
        "stiff": np.triu(rng.standard_normal((7, 7)), 1) - np.diag(np.logspace(-3, 3, 7)),
        "hump": np.array([[-1.0, 1e6], [0.0, -1.0]]),
        "rotating": 20 * (skew - skew.T),
        "long path": np.diag(np.full(39, 2.5), -1),
        "legs": 0.3 * ssm_spec.hippo_legs(23)[0],
    }


@pytest.mark.parametrize("name", matrices())
def test_every_entry_is_within_the_running_bound(name: str) -> None:
    A = matrices()[name]
    X = two_product(np.full_like(A, 1.7), A)
    E = exponential(X)
    with exact.precision(700):
        true = exact.from_matrix(exact.matrix(exact.balls(X.hi) + exact.balls(X.lo)).exp())
        left = true - exact.balls(E.value.lo)
        error = exact.distance(E.value.hi, left)
        size = exact.modulus(true)
    assert np.all(error <= E.error)
    assert np.all(E.value.hi[reachable(A) == 0] == 0)
    seen = size > 1e-290
    assert np.all(E.error[seen] <= 2.0**-60 * size[seen])


def test_each_level_is_the_exponential_of_a_fraction() -> None:
    A = matrices()["random"]
    levels = exponential(two_product(np.ones_like(A), A)).levels
    assert len(levels) > 6
    for i, level in enumerate(levels):
        with exact.precision(300):
            true = exact.from_matrix((exact.matrix(exact.balls(A)) * flint.acb(0.5**i)).exp())
        assert np.all(exact.distance(level, true) <= 2.0**-52 * exact.modulus(true))


def test_a_matrix_is_as_exact_in_any_batch() -> None:
    """A system of long steps beside one of short ones: squared as often, the short one would be lost."""
    A = matrices()["random"] - 6 * np.eye(7)
    steps = np.array([1e-9, 1.0, 1e38, 1e300])[:, None, None]
    together = exponential(two_product(np.broadcast_to(steps, (4, 7, 7)), A))
    for i, step in enumerate(steps[:2]):
        alone = exponential(two_product(np.broadcast_to(step, (7, 7)), A))
        np.testing.assert_array_equal(together.value.hi[i], alone.value.hi)
        assert np.all(together.error[i] <= 2.0**-60 * np.abs(alone.value.hi))


def test_a_norm_beyond_all_numbers_is_one_system_of_a_batch() -> None:
    A, B = np.full((2, 2), -1e299), np.ones((2, 1))
    steps = np.array([1.5e9, 1e-299])
    found = ssm_spec.discretize_zoh_bounds(A=A, B=B, delta=steps, arithmetic=ORACLE)["A_bar"]
    assert not found.judged[0].any()
    assert found.own[1].max() < 1e-15


@pytest.mark.parametrize("name", ["delta", "cotangent"])
def test_what_twice_the_precision_cannot_hold_is_not_judged(name: str) -> None:
    """In the one system that has it; nothing is raised, and no bound is a NaN."""
    given = {"delta": np.ones(2), "cotangent": np.ones((2, 2, 2))}
    given[name][1] *= 1e308
    call = {"A": -np.eye(2) - np.eye(2)[::-1], "B": np.ones((2, 1)), "delta": given["delta"]}
    found = ssm_spec.discretize_zoh_vjp_bounds({"A_bar": given["cotangent"]}, arithmetic=ORACLE, **call)
    if name == "delta":
        found |= ssm_spec.discretize_zoh_bounds(arithmetic=ORACLE, **call)
    assert found.pop("A").judged.sum() == 0  # the gradient of both systems, in one sum
    assert found.pop("B").judged.sum() == 0
    for bounded in found.values():
        assert not np.isnan(bounded.own + bounded.bound).any()
        assert np.isfinite(bounded.own[0]).all()
        assert bounded.judged[0].all()
        assert not bounded.judged[1].any()


def test_a_complex_matrix_and_its_real_form_are_one() -> None:
    rng = np.random.default_rng(1)
    A, B = (rng.standard_normal((2, 3, 3)) + 1j * rng.standard_normal((2, 3, 3)) for _ in range(2))
    np.testing.assert_array_equal(complex_form(real_form(A)), A)
    np.testing.assert_allclose(complex_form(real_form(A) @ real_form(B)), A @ B, rtol=1e-14)  # sums of six


def test_reach_follows_every_path_and_no_other() -> None:
    chain = np.diag(np.ones(6), -1)
    np.testing.assert_array_equal(reachable(chain), np.tril(np.ones((7, 7))))
    np.testing.assert_array_equal(reachable(np.zeros((4, 4))), np.eye(4))


def by_scipy(X: np.ndarray) -> np.ndarray:
    return np.asarray(scipy.linalg.expm(X))


def by_torch(X: np.ndarray) -> np.ndarray:
    """Two at once: of one alone a polynomial in torch.matrix_exp is wrong (docs/verdicts.md)."""
    torch = pytest.importorskip("torch")
    return np.asarray(torch.linalg.matrix_exp(torch.from_numpy(np.stack([X, X]))).numpy()[0])


@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("way", [by_scipy, by_torch])
@pytest.mark.parametrize(("states", "delta"), [(12, 0.25), (20, 0.5), (30, 2.0), (10, 0.01)])
def test_an_entry_far_along_a_chain_is_right_by_norm_alone(way, compute, states: int, delta: float) -> None:
    """A polynomial of degree m has nothing where m + 1 steps lead; the approximants are right by norm."""
    A = np.diag(np.ones(states - 1, compute), -1)
    B, step = np.eye(states, 1, dtype=compute), np.asarray(delta, compute)
    arithmetic = ssm_spec.Arithmetic(compute=compute)
    found = ssm_spec.discretize_zoh_bounds(A=A, B=B, delta=step, arithmetic=arithmetic)["A_bar"]
    assert found.judged.all()
    assert np.all(np.abs(way(step * A) - found.value) <= found.bound + found.own)
    # What one or two steps reach is held as it was.
    assert np.all(
        np.abs(np.diagonal(found.bound, -1)) <= 200 * states * arithmetic.u * delta * np.exp(2 * delta)
    )


@pytest.mark.parametrize("q", [1, 2, 3, 5, 7, 9, 13])
def test_what_a_rational_approximant_leaves_out_is_no_more_than_is_granted(q: int) -> None:
    """Coefficient by coefficient: c z^p e^z / (1 − z/(q + 1)), c and p the first term's."""
    p, terms = 2 * q + 1, 60
    above = [Fraction(factorial(2 * q - j) * factorial(q), factorial(2 * q) * factorial(j) * factorial(q - j))
             for j in range(q + 1)]  # fmt: skip
    found: list[Fraction] = []
    for j in range(terms):
        solved = sum((-above[k] * (-1) ** k * found[j - k] for k in range(1, min(q, j) + 1)), Fraction(0))
        found.append(solved + (above[j] if j <= q else 0))
    c = Fraction(factorial(q) ** 2, factorial(2 * q) * factorial(p))
    granted = Fraction(0)
    for j in range(p, terms):
        granted = granted / (q + 1) + c / factorial(j - p)
        assert abs(found[j] - Fraction(1, factorial(j))) <= granted


@pytest.mark.parametrize("power", [-960, -40, 40, 900])
def test_a_hold_s_gradient_and_its_bound_are_linear_in_the_cotangent(power: int) -> None:
    """Whatever its size; its underflow alone stays where it is."""
    rng = np.random.default_rng(0)
    A, B, delta = rng.standard_normal((3, 5, 5)), rng.standard_normal((3, 5, 2)), rng.random(3)
    cotangents = {"A_bar": rng.standard_normal(A.shape), "B_bar": rng.standard_normal(B.shape)}
    arithmetic = ssm_spec.Arithmetic(compute="float64", io="float64")

    def gradients(scale: float) -> dict[str, ssm_spec.Bounded]:
        scaled = {name: scale * G for name, G in cotangents.items()}
        return ssm_spec.discretize_zoh_vjp_bounds(scaled, arithmetic=arithmetic, A=A, B=B, delta=delta)

    scale = 2.0**power
    for name, one in gradients(1.0).items():
        found = gradients(scale)[name]
        assert found.judged.all()
        assert np.array_equal(found.value, scale * one.value)
        assert np.all(found.bound <= 1.001 * scale * one.bound + 2.0**-1000)


def test_no_cotangent_and_hardly_any_leave_no_gradient_unjudged() -> None:
    given = {"A": np.full((2, 3, 3), -0.1), "B": np.ones((2, 3, 1)), "delta": np.ones(2)}
    for size in (0.0, 5e-324, 1e-307):
        cotangents = {"A_bar": np.full((2, 3, 3), size), "B_bar": np.full((2, 3, 1), size)}
        for compute in ("float32", "float64"):
            arithmetic = ssm_spec.Arithmetic(compute=compute)
            found = ssm_spec.discretize_zoh_vjp_bounds(cotangents, arithmetic=arithmetic, **given)
            assert all(x.judged.all() and (x.bound < 1e-30).all() for x in found.values())
