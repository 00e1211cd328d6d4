"""The LegS memory at the sizes in use: honest orders stay within what is granted, and that is not much."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.linalg
import torch

import ssm_spec
from ssm_spec._norm import longest

from . import layer_check as check

LENGTH = 24


def system(n, dtype):
    A, B = (x.astype(dtype) for x in ssm_spec.hippo_legs(n))
    return A, B, np.eye(n, dtype=dtype)


def augmented(n, k, dtype):
    A, B, _ = system(n, dtype)
    rows = np.block([[np.zeros((1, n + 1), dtype)], [B, A]])
    return rows * np.log1p(dtype(1) / dtype(k - 1))


def by_pade(n, k, dtype):
    return scipy.linalg.expm(augmented(n, k, dtype))[1:]


def by_torch(n, k, dtype):
    """Two at once: of one alone a polynomial in torch.matrix_exp is wrong (docs/verdicts.md)."""
    return torch.linalg.matrix_exp(torch.from_numpy(np.stack([augmented(n, k, dtype)] * 2))).numpy()[0, 1:]


def by_taylor(n, k, dtype, *, norm):
    """Scaling and squaring: the series at an argument of this 1-norm or less."""
    X = augmented(n, k, dtype)
    squarings = max(0, int(np.ceil(np.log2(np.max(np.sum(np.abs(X), axis=0)) / norm))))
    X = X / dtype(2**squarings)
    T = term = np.eye(n + 1, dtype=dtype)
    for j in range(1, 40):
        term = term @ X / dtype(j)
        T = T + term
    for _ in range(squarings):
        T = T @ T
    return T[1:]


def by_inverse(n, k, dtype):
    """B̄ = A⁻¹(Ā − I)B, as HiPPO's authors have it."""
    A, B, eye = system(n, dtype)
    A_bar = scipy.linalg.expm(A * np.log1p(dtype(1) / dtype(k - 1)))
    return np.hstack((scipy.linalg.solve_triangular(A, (A_bar - eye) @ B, lower=True), A_bar))


def tustin(n, k, dtype, *, solve):
    A, B, eye = system(n, dtype)
    X, Y = A / dtype(k - 1), B / dtype(k - 1)
    return solve(eye - X / 2, np.hstack((Y, eye + X / 2)))


def inverse_then_product(W, R):
    return np.linalg.inv(W) @ R


def triangle_inverse_then_product(W, R):
    return scipy.linalg.solve_triangular(W, np.eye(len(W), dtype=W.dtype), lower=True) @ R


ORDERS = {
    "Padé": ("exact", by_pade),
    "torch": ("exact", by_torch),
    "Taylor at 4": ("exact", functools.partial(by_taylor, norm=4.0)),
    "Taylor at 1/4": ("exact", functools.partial(by_taylor, norm=0.25)),
    "inverse of A": ("exact", by_inverse),
    "solve": ("bilinear", functools.partial(tustin, solve=np.linalg.solve)),
    "substitution": (
        "bilinear",
        functools.partial(tustin, solve=functools.partial(scipy.linalg.solve_triangular, lower=True)),
    ),
    "inverse": ("bilinear", functools.partial(tustin, solve=inverse_then_product)),
    "inverse by substitution": ("bilinear", functools.partial(tustin, solve=triangle_inverse_then_product)),
}


@functools.cache
def matrices(order, n, dtype):
    """[B̄, Ā] (l − 1, n, n + 1) for k = 2 … l."""
    return np.stack([ORDERS[order][1](n, k, np.dtype(dtype).type) for k in range(2, LENGTH + 1)])


def signals(dtype):
    """Noise, signs, a constant, alternation, one sample first or last, and growth."""
    rng, k = np.random.default_rng(0), np.arange(LENGTH)
    rows = (
        rng.standard_normal(LENGTH),
        rng.choice([-1.0, 1.0], LENGTH),
        np.ones(LENGTH),
        (-1.0) ** k,
        k == 0,
        k == LENGTH - 1,
        1000.0 ** (k / LENGTH),
    )
    return np.stack(rows).astype(dtype)


def compressed(f, both):
    c = np.zeros((len(f), both.shape[-2]), f.dtype)
    c[:, 0] = f[:, 0]
    for k, step in enumerate(both, 1):
        c = np.column_stack((f[:, k], c)) @ step.T
    return c


def pulled_back(r, both):
    lam, df = r, np.zeros((len(r), len(both) + 1), r.dtype)
    for k in range(len(both), 0, -1):
        found = lam @ both[k - 1]
        df[:, k], lam = found[:, 0], found[:, 1:]
    df[:, 0] = lam[:, 0]
    return df


@functools.cache
def granted(method, n, dtype):
    arithmetic = check.F32 if dtype == "float32" else check.F64
    f, r = signals(dtype), np.random.default_rng(1).standard_normal((7, n)).astype(dtype)
    call = {"arithmetic": arithmetic, "f": f, "n": n, "method": method}
    found = ssm_spec.hippo_legs_compress_bounds(**call)
    return f, r, found, ssm_spec.hippo_legs_compress_vjp_bounds({"c": r}, **call)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 4, 16, 64])
@pytest.mark.parametrize("order", ORDERS)
def test_honest_orders_stay_within_the_bound_and_not_far_below(order, n, dtype, record_property):
    """For none of the signals: by entry what was granted of 64 coefficients was 10²⁷ times their length."""
    f, r, found, slopes = granted(ORDERS[order][0], n, dtype)
    both = matrices(order, n, dtype)
    value = np.max(np.abs(compressed(f, both) - found["c"].value) / found["c"].bound, axis=-1)
    slope = check.worst(slopes, {"f": pulled_back(r, both)})["f"]
    record_property("ratios", {"c": value.tolist(), "f": slope})
    assert np.max(value) <= 1.0
    assert slope <= 1.0
    # n² errors of any sign sum to some n times less than the worst, and so again over a chain of squarings.
    assert np.all(value > 1e-8) or n == 1


@pytest.mark.parametrize(
    ("n", "method", "share"),
    [(16, "exact", 0.02), (64, "exact", 0.2), (16, "bilinear", 0.03), (32, "bilinear", 0.1)],
)
def test_what_is_granted_is_a_part_of_the_signal(n, method, share):
    """Of every signal: less than its coefficients' norm, so that its loss is seen."""
    _, _, found, _ = granted(method, n, "float32")
    lengths = np.linalg.norm(found["c"].value, axis=-1)
    assert np.all(found["c"].bound[:, 0] < share * lengths)


def test_a_tile_that_forgets_the_others_leaves_the_bound():
    """Of 64 coefficients the last 32 read the first 32 no more."""
    f, _, found, _ = granted("exact", 64, "float32")
    both = matrices("Padé", 64, "float64").copy()
    both[:, 32:, 1:33] = 0.0
    assert check.worst(found, {"c": compressed(f.astype("float64"), both)})["c"] > 2.0


def test_the_norm_of_moduli_is_close_and_never_too_small():
    rng = np.random.default_rng(0)
    for shape in ((3, 5, 5), (2, 7, 4), (1, 1, 1)):
        M = np.abs(rng.standard_normal(shape)) * (rng.random(shape) < 0.7)
        exact = np.linalg.norm(M, 2, axis=(-2, -1))
        assert np.all(longest(M) >= exact)
        assert np.all(longest(M) <= 1.05 * exact)
    legs = np.abs(ssm_spec.hippo_legs(64)[0])
    assert np.linalg.norm(legs, 2) <= longest(legs) <= 1.001 * np.linalg.norm(legs, 2)
    np.testing.assert_array_equal(longest(np.zeros((2, 3, 3))), 0.0)
