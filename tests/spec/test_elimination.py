"""What is granted to a solve or an inverse: honest roundings stay within it, and come near."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic
from ssm_spec._bilinear_errors import Solve, _ways, factorings, factors_of
from ssm_spec._elimination_errors import Triangles, factoring

U32 = 2.0**-24
SYSTEMS = 300
Form = Callable[[Any, Any], Any]


def given(bounds: dict[str, ssm_spec.Bounded]) -> tuple[Any, Any]:
    """Ā and B̄ side by side, and their bound."""
    bars = bounds["A_bar"], bounds["B_bar"]
    assert all(np.all(x.judged) for x in bars)
    return np.hstack([x.value for x in bars]), np.hstack([x.bound + x.own for x in bars])


def posed(A: Any, B: Any, delta: Any) -> tuple[Any, Any]:
    """W and R in A's own precision."""
    eye, half = np.eye(len(A), dtype=A.dtype), delta * A / 2
    return eye - half, np.hstack((eye + half, delta * B)).astype(A.dtype)


def by_solving(W: Any, R: Any) -> Any:
    return np.linalg.solve(W, R)


def by_rows(W: Any, R: Any) -> Any:
    """Factors of Wᵀ, as who stores rows has them."""
    from scipy.linalg import lu_factor, lu_solve

    return lu_solve(lu_factor(W.T.copy()), R, trans=1)


def by_columns_of_an_inverse(W: Any, R: Any) -> Any:
    return np.linalg.inv(W) @ R


def by_rows_of_an_inverse(W: Any, R: Any) -> Any:
    return np.linalg.inv(W.T.copy()).T @ R


def by_getri(W: Any, R: Any) -> Any:
    """LAPACK's inverse: U⁻¹, then X L = U⁻¹."""
    from scipy.linalg import lapack, lu_factor

    getri = lapack.cgetri if np.iscomplexobj(W) else lapack.sgetri
    return getri(*lu_factor(W))[0] @ R


def by_both_inverses(W: Any, R: Any) -> Any:
    from scipy.linalg import lu, solve_triangular

    P, L, U = lu(W)
    eye = np.eye(len(W), dtype=W.dtype)
    M = solve_triangular(L, eye, lower=True, unit_diagonal=True)
    return solve_triangular(U, eye) @ (M @ (P.T.astype(W.dtype) @ R))


def by_twice_an_inverse(W: Any, R: Any) -> Any:
    """Ā = 2W⁻¹ − I, which needs no I + ½ΔA."""
    inverse, n = np.linalg.inv(W), len(W)
    return np.hstack((2 * inverse - np.eye(n, dtype=W.dtype), inverse @ R[:, n:]))


def by_woodbury(Lambda: Any, P: Any, Q: Any, delta: Any, R: Any) -> Any:
    """W⁻¹ = D − D p q* D / (1 + q* D p), p = ½ΔP: no elimination, and no bound of its own."""
    half = delta / 2
    D = (1 / (1 - half * Lambda)).astype(R.dtype)
    p, q = (D * half * P).astype(R.dtype), Q.conj() * D
    s = 1 + np.sum(q / D * p, dtype=R.dtype)
    return (np.diag(D) - np.outer(p, q) / s).astype(R.dtype) @ R


FORMS = (
    by_solving,
    by_rows,
    by_columns_of_an_inverse,
    by_rows_of_an_inverse,
    by_getri,
    by_both_inverses,
    by_twice_an_inverse,
)


def numbers(rng: np.random.Generator, complex_: bool, *shape: int, wild: bool = False) -> Any:
    """Of sizes around 1, or wild ones: 40 decades, either part apart."""

    def real() -> Any:
        if wild and rng.integers(2):
            return rng.choice([-1, 1], shape) * 10 ** rng.uniform(-22, 18, shape)
        return rng.standard_normal(shape) * 10 ** rng.uniform(-2, 2, shape)

    return (real() + 1j * real()).astype("complex64") if complex_ else real().astype("float32")


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_elimination_of_any_kind_stays_within(form: Form, complex_: bool) -> None:
    rng, judged = np.random.default_rng(2), 0
    for k in range(SYSTEMS):
        n = int(rng.integers(2, 7))
        A, B = (numbers(rng, complex_, n, m, wild=k % 2 == 0) for m in (n, 2))
        delta = np.float32(10 ** rng.uniform(-2, 0))
        try:
            bars = ssm_spec.discretize_bilinear_bounds(arithmetic=Arithmetic(), A=A, B=B, delta=delta)
        except ssm_spec.DomainError:
            continue
        if all(np.all(x.judged) for x in bars.values()):
            value, bound = given(bars)
            assert np.all(np.abs(form(*posed(A, B, delta)) - value) <= bound)
            judged += 1
    assert judged > SYSTEMS / 2


@pytest.mark.parametrize("delta", [0.001, 0.1])
def test_legs_in_the_basis_of_its_modes_stays_within(delta: float) -> None:
    """By elimination of seven kinds, and by Woodbury's identity, which S4 uses."""
    Lambda, P, B, _ = (x.astype("complex64") for x in ssm_spec.hippo_legs_nplr(64))
    A = np.diag(Lambda) - np.outer(P, P.conj())
    step, B = np.float32(delta), B[:, None]
    value, bound = given(ssm_spec.discretize_bilinear_bounds(arithmetic=Arithmetic(), A=A, B=B, delta=step))
    W, R = posed(A, B, step)
    for found in (*(form(W, R) for form in FORMS), by_woodbury(Lambda, P, P, step, R)):
        assert np.all(np.abs(found - value) <= bound)


def test_twice_an_inverse_is_wrong_where_little_is_left_of_it() -> None:
    """Of modes near Δλ = −2, where I + ½ΔA is near zero: 2/(1 − ½Δλ) − 1, the quotient off by 2.5 ulp."""
    A = np.linspace(-2.1, -1.9, 4001, dtype=np.float32)
    given = {"A": A, "B": np.ones((4001, 1), np.float32), "delta": np.float32(1), "diagonal": True}
    bar = ssm_spec.discretize_bilinear_bounds(arithmetic=Arithmetic(), **given)["A_bar"]
    quotient = (1 / (1 - A / 2)).astype(np.float64) * (1 + 5 * U32)
    ratio = np.abs(2 * quotient - 1 - bar.value) / bar.bound
    assert 0.6 < ratio.max() <= 1
    # It is so by the rule of one half alone.
    other = ssm_spec.discretize_bilinear_bounds(arithmetic=Arithmetic(), alpha=0.25, **given)["A_bar"]
    assert other.bound.max() < 7 * U32


def one_way(W: Any, R: Any, inverse: bool) -> Any:
    """Gaussian elimination of an M-matrix, every rounding u and all to one side: none of its sums cancels."""
    W, R = W.copy(), R.copy()
    n, up, down = len(W), 1 + U32, 1 - U32
    for k in range(n - 1):
        for i in range(k + 1, n):
            W[i, k] = W[i, k] / W[k, k] * up
            rest = W[i, k + 1 :] - W[i, k] * W[k, k + 1 :] * up
            W[i, k + 1 :] = rest * np.where(np.arange(k + 1, n) == i, down, up)
    X = np.eye(n) if inverse else R
    for i in range(n):
        for k in range(i):
            X[i] = (X[i] - W[i, k] * X[k] * up) * np.where(X[k] == 0, 1, up)
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            X[i] = (X[i] - W[i, k] * X[k] * up) * up
        X[i] = X[i] / W[i, i] * up
    if not inverse:
        return X
    total = np.zeros_like(R)
    for k in range(n):
        total = (total + np.outer(X[:, k], R[k]) * up) * up
    return total


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("n", [4, 24, 64])
def test_what_is_granted_to_elimination_is_nearly_reached(
    n: int, inverse: bool, record_property: Any
) -> None:
    """Roundings of u that all add up spend a fifth of the bound and more, whatever the size."""
    rng = np.random.default_rng(n)
    A = rng.uniform(0.5, 1.0, (n, n)) * 1.8 / n
    B = rng.uniform(0.5, 1.0, (n, 1))
    value, bound = given(ssm_spec.discretize_bilinear_bounds(arithmetic=Arithmetic(), A=A, B=B, delta=1.0))
    reached = np.max(np.abs(one_way(*posed(A, B, 1.0), inverse) - value) / bound)
    record_property("share of the bound", float(reached))
    assert 0.2 <= reached <= 1


@pytest.mark.parametrize("complex_", [False, True])
def test_a_solve_is_granted_what_moves_it_most(complex_: bool) -> None:
    """δL and δU of the largest moduli, with the phases that move one entry of Z = W⁻¹R furthest."""
    rng = np.random.default_rng(4)
    W, R = (numbers(rng, complex_, 6, m).astype(complex if complex_ else float) for m in (6, 1))
    inverse = np.linalg.inv(W)
    Z = inverse @ R
    for rows in (False, True):
        found = factors_of((W.T if rows else W)[None].copy())
        ways = found.substitutions_of_transpose if rows else found.substitutions
        way = ways(np.abs(inverse)[None], Arithmetic())
        y, back = ((found.back[0].T @ R, found.forth[0].T) if rows else
                   (found.forth[0] @ R, found.back[0]))  # fmt: skip
        # An identity in float64, through two inverses.
        np.testing.assert_allclose(back @ y, Z, rtol=1e-9)
        moved = np.abs(inverse @ way.P[0]) @ way.forward()[0] @ np.abs(y)
        moved = moved + np.abs(back) @ way.back()[0] @ np.abs(way.Q[0].T @ Z)
        granted = way.substituted(*(np.abs(x)[None] for x in (y, Z, R)))[0]
        assert np.all(moved <= granted * (1 + 1e-12))


def test_a_triangular_system_may_be_solved_with_as_it_is() -> None:
    """Beside factors of W and of Wᵀ, in which rows are exchanged: W itself, by row i a sum of i terms."""
    W = np.array([[[1.0, 0.0], [9.0, 2.0]]])
    inverse, one, nothing = np.abs(np.linalg.inv(W)), np.ones((1, 2, 1)), np.zeros((1, 2, 2))
    solve = Solve(W, W, inverse, nothing, nothing, np.ones((1, 1, 1)), np.ones((1, 2, 3)), 0.5)
    found = factorings(solve, Arithmetic())
    *_, (way, y, which) = _ways(solve, found, one, inverse @ one, Arithmetic())
    assert which.all()
    np.testing.assert_array_equal(way.L, W)
    np.testing.assert_array_equal(y, inverse @ one)
    np.testing.assert_array_equal(way.forward()[0], [[6, 0], [18, 14]])


def test_factors_are_granted_as_many_roundings_as_their_entries_have() -> None:
    """Of L and U of ones entry (i, j) sums min(i, j) terms; below the diagonal it is divided as well."""
    L, U = np.tril(np.ones((1, 3, 3))), np.triu(np.ones((1, 3, 3)))
    one = np.eye(3)[None]
    real = Triangles(
        one, L, one, U, one, one, one, factors_of(one).substitutions(one, Arithmetic()).counts, True
    )
    # s(s − 1) + (s − 1) of s terms, and 6 for a quotient of 5 that may be a reciprocal and a product.
    np.testing.assert_array_equal(factoring(L, U, real.counts)[0], [[0, 0, 0], [6, 3, 3], [6, 9, 8]])
    np.testing.assert_array_equal(real.forward()[0], [[0, 0, 0], [2, 1, 0], [3, 3, 2]])
    np.testing.assert_array_equal(real.back()[0], [[8, 3, 3], [0, 7, 2], [0, 0, 6]])
