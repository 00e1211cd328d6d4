"""LegS as a memory: compression against balls and projection, reconstruction, and random systems beside."""

from __future__ import annotations

from functools import partial

import flint
import numpy as np
import pytest

import ssm_spec

from . import layer_check as check
from . import lti_exact as exact


def compressed(f, *, n, method, prefixes):
    A, B = (exact.balls(x) for x in ssm_spec.hippo_legs(n))
    rows = []
    for signal in f:
        c = exact.balls(np.zeros(n))
        c[0] = signal[0]
        states = [c]
        for k in range(2, len(signal) + 1):
            if method == "exact":
                step = (flint.acb(k) / (k - 1)).log()
                bars = exact.zoh(A, B, np.asarray(step))
            else:
                bars = exact.bilinear(A, B, np.asarray(flint.acb(1) / (k - 1)), 0.5)
            states.append(bars["A_bar"] @ states[-1] + bars["B_bar"][:, 0] * signal[k - 1])
        rows.append(np.stack(states, axis=-1) if prefixes else states[-1])
    return {"c": np.stack(rows)}


def read_back(c, *, points):
    """By the explicit shifted Legendre polynomials."""
    n = c.shape[-1]
    basis = np.empty((n, len(points)), dtype=object)
    for i in range(n):
        for j, x in enumerate(points):
            y = 2 * flint.arb(float(x)) - 1
            basis[i, j] = flint.acb(y.legendre_p(i) * flint.arb(2 * i + 1).sqrt())
    return {"f": np.stack([row @ basis for row in c])}


@pytest.mark.parametrize("method", ["exact", "bilinear"])
@pytest.mark.parametrize("prefixes", [False, True])
@pytest.mark.parametrize(("n", "length"), [(1, 1), (3, 1), (3, 6)])
def test_compression_lies_within_its_own_bound(method, prefixes, n, length, record_property):
    """(C1), (C2) of hippo_legs_compress."""
    options = {"n": n, "method": method, "prefixes": prefixes}
    f = {"f": np.random.default_rng(n).standard_normal((2, length))}
    ratios = check.within_own("hippo_legs_compress", partial(compressed, **options), f, options)
    record_property("ratios", ratios)


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_reconstruction_lies_within_its_own_bound(n, record_property):
    points = np.array([0.0, 0.123, 0.5, 0.9, 1.0])
    c = {"c": np.random.default_rng(n).standard_normal((2, n))}
    function = partial(read_back, points=points)
    ratios = check.within_own("hippo_legs_reconstruct", function, c, {"points": points})
    record_property("ratios", ratios)


def test_the_basis_is_right_to_its_rounding_at_every_point():
    """Its own bound counts the terms of the sum, not the steps of Bonnet's recurrence."""
    n, points = 64, np.linspace(0.0, 1.0, 23)
    found = ssm_spec.hippo_legs_reconstruct_bounds(arithmetic=check.F64, c=np.eye(n), points=points)["f"]
    assert np.all(found.own <= (n + 8) * 2.0**-53 * np.abs(found.value) + 1e-25)


@pytest.mark.parametrize("length", [1, 2, 37])
def test_exact_compression_is_projection_onto_legendre_polynomials(length):
    """c_n = ∫ f √(2n+1) P_n(2x − 1) dx for the held signal, after every number of samples."""
    n, rng = 8, np.random.default_rng(length)
    f = rng.standard_normal(length)
    c = ssm_spec.hippo_legs_compress(f, n, prefixes=True)
    for k in range(1, length + 1):
        edges = 2 * np.arange(k + 1) / k - 1
        for i in range(n):
            whole = np.polynomial.legendre.Legendre.basis(i).integ()(edges)
            wanted = np.sqrt(2 * i + 1) * np.sum(f[:k] * np.diff(whole)) / 2
            # `wanted` is a plain sum, without a bound of its own: some hundred roundings of values near 1.
            np.testing.assert_allclose(c[i, k - 1], wanted, atol=1e-13)


def smooth(rng, length):
    times = (np.arange(length) + 0.5) / length
    waves = rng.standard_normal(6) @ np.sin(
        np.pi * np.arange(1, 7)[:, None] * times + rng.uniform(0, 6, (6, 1))
    )
    return times, waves


@pytest.mark.parametrize("method", ["exact", "bilinear"])
def test_more_coefficients_remember_better(method, record_property):
    """The error of reconstruction falls with the size of the state, down to the held signal's steps."""
    times, f = smooth(np.random.default_rng(0), 250)
    errors = {}
    for n in (2, 4, 8, 16, 32):
        c = ssm_spec.hippo_legs_compress(f, n, method=method)
        back = ssm_spec.hippo_legs_reconstruct(c, times)
        errors[n] = float(np.sqrt(np.mean((back - f) ** 2) / np.mean(f**2)))
    record_property("relative error by state size", errors)
    assert errors[2] > 2 * errors[8] > 4 * errors[16]
    assert errors[32] < 0.02


def test_legs_remembers_more_than_random_systems_do(record_property):
    """The best linear reading of the state, for smooth signals: LegS against stable random A of its size."""
    n, length, rng = 12, 80, np.random.default_rng(3)
    times = np.arange(length) / length
    covariance = np.exp(-0.5 * ((times[:, None] - times) / 0.1) ** 2)

    def left_over(memory):
        seen = memory @ covariance @ memory.T
        read = covariance @ memory.T @ np.linalg.pinv(seen, rcond=1e-10)
        return float(np.sqrt(np.trace(covariance - read @ memory @ covariance) / np.trace(covariance)))

    legs = ssm_spec.hippo_legs_compress(np.eye(length), n).T
    errors = {"LegS": left_over(legs)}
    steps = np.log1p(1 / np.arange(1.0, length))
    for trial in range(4):
        A = rng.standard_normal((n, n))
        A -= (np.max(np.linalg.eigvals(A).real) + 0.5) * np.eye(n)
        B, c = rng.standard_normal((n, 1)), np.zeros((n, length))
        c[:, 0] = B[:, 0]
        for k, A_bar, B_bar in zip(range(1, length), *ssm_spec.discretize_zoh(A, B, steps), strict=True):
            c = A_bar @ c
            c[:, k] += B_bar[:, 0]
        errors[f"random {trial}"] = left_over(c)
    record_property("relative error", errors)
    assert all(errors["LegS"] < 0.7 * error for name, error in errors.items() if name != "LegS")


def in_float32(f, n, method):
    A, B = (x.astype(np.float32) for x in ssm_spec.hippo_legs(n))
    eye, c = np.eye(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    c[0] = f[0]
    for k in range(2, len(f) + 1):
        X = A / np.float32(k - 1)
        c = np.linalg.solve(eye - X / 2, (eye + X / 2) @ c + B[:, 0] / np.float32(k - 1) * f[k - 1])
    return c


def test_an_honest_compression_in_float32_stays_within(record_property):
    f = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    found = ssm_spec.hippo_legs_compress_bounds(arithmetic=check.F32, f=f, n=16, method="bilinear")
    ratios = check.worst(found, {"c": in_float32(f, 16, "bilinear")})
    record_property("ratios", ratios)
    assert ratios["c"] <= 1.0


@pytest.mark.parametrize("method", ["exact", "bilinear"])
def test_the_own_bound_is_a_few_roundings_a_step(method):
    """However many coefficients there are: sums are taken in twice the precision."""
    f = np.random.default_rng(0).standard_normal(60)
    found = ssm_spec.hippo_legs_compress_bounds(arithmetic=check.F32, f=f, n=24, method=method, prefixes=True)
    longest = np.max(np.linalg.norm(found["c"].value, axis=0))
    assert np.all(found["c"].own <= 8 * 60 * 2.0**-53 * longest)


def test_a_signal_near_the_ends_of_the_range_is_the_same_signal():
    f = np.random.default_rng(0).standard_normal(9)
    whole = ssm_spec.hippo_legs_compress_bounds(arithmetic=check.F64, f=f, n=5)["c"]
    for scale in (2.0**1015, 2.0**-900):
        scaled = ssm_spec.hippo_legs_compress_bounds(arithmetic=check.F64, f=scale * f, n=5)["c"]
        assert np.all(np.abs(scaled.value / scale - whole.value) <= whole.own + scaled.own / scale)
        np.testing.assert_allclose(scaled.bound / scale, whole.bound, rtol=1e-6)  # linear, whatever the size
    f[4] = np.inf
    c = ssm_spec.hippo_legs_compress(f, 5, prefixes=True)
    assert np.all(np.isfinite(c[:, :4]))
    assert not np.any(np.isfinite(c[:, 4:]))


def test_slips_leave_the_bound():
    """The other rule, τ = k, the sign of LegS, a start from zero, and the past read backwards."""
    f = np.random.default_rng(0).standard_normal(50)
    found = ssm_spec.hippo_legs_compress_bounds(arithmetic=check.F32, f=f, n=8)["c"]
    late = ssm_spec.hippo_legs_compress(np.concatenate(([0.0], f)), 8)
    for wrong in (
        ssm_spec.hippo_legs_compress(f, 8, method="bilinear"),
        late,
        found.value * (-1) ** np.arange(8),
    ):
        assert np.any(np.abs(wrong - found.value) > found.bound)
    points = np.array([0.1, 0.7])
    back = ssm_spec.hippo_legs_reconstruct_bounds(arithmetic=check.F32, c=found.value, points=points)["f"]
    assert np.all(np.abs(ssm_spec.hippo_legs_reconstruct(found.value, 1 - points) - back.value) > back.bound)


def test_nothing_is_remembered_of_nothing():
    """(C3)."""
    np.testing.assert_array_equal(ssm_spec.hippo_legs_compress(np.zeros((2, 0)), 3), np.zeros((2, 3)))
    assert ssm_spec.hippo_legs_compress(np.zeros((2, 0)), 3, prefixes=True).shape == (2, 3, 0)
    found = ssm_spec.hippo_legs_compress_bounds(arithmetic=check.F32, f=np.zeros((2, 0)), n=3)
    np.testing.assert_array_equal(found["c"].bound, np.zeros((2, 3)))
    slopes = ssm_spec.hippo_legs_compress_vjp({"c": np.ones((2, 3))}, f=np.zeros((2, 0)), n=3)
    assert slopes["f"].shape == (2, 0)


@pytest.mark.parametrize(
    ("op", "arguments", "error", "message"),
    [
        ("hippo_legs_compress", {"f": 1.0, "n": 3}, ssm_spec.ShapeError, r"`f` must have shape \(\*s, l\)"),
        ("hippo_legs_compress", {"f": [1], "n": 3}, ssm_spec.DTypeError, "`f` must hold floating-point"),
        ("hippo_legs_compress", {"f": [1.0], "n": 0}, ssm_spec.DomainError, "`n` must lie in"),
        (
            "hippo_legs_compress",
            {"f": [1.0], "n": 3, "method": "euler"},
            ssm_spec.DomainError,
            "`method` must be one of",
        ),
        ("hippo_legs_reconstruct", {"c": 1.0, "points": [0.5]}, ssm_spec.ShapeError, "`c` must have shape"),
        (
            "hippo_legs_reconstruct",
            {"c": np.ones((2, 0)), "points": [0.5]},
            ssm_spec.ShapeError,
            r"`c` must have shape \(\*s, n\) with n >= 1; got \(2, 0\)",
        ),
        (
            "hippo_legs_reconstruct",
            {"c": [1.0], "points": 0.5},
            ssm_spec.ShapeError,
            "`points` must have shape",
        ),
        (
            "hippo_legs_reconstruct",
            {"c": [1.0], "points": [0.5, 1.5]},
            ssm_spec.DomainError,
            r"`points` must lie in \[0, 1\]; got 1.5",
        ),
        (
            "hippo_legs_reconstruct",
            {"c": [1.0], "points": [np.nan]},
            ssm_spec.DomainError,
            r"`points` must lie in \[0, 1\]; got nan",
        ),
    ],
)
def test_bad_arguments_are_named(op, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(ssm_spec, op)(**arguments)
