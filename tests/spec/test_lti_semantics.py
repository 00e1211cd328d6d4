"""What the linear rooms mean at their edges: limits, empty sizes, broadcasting, range, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DomainError, DTypeError, ShapeError

F32, F64 = Arithmetic(compute="float32"), Arithmetic(compute="float64")
RULES = ["discretize_zoh", "discretize_bilinear"]


def within(found: Any, a: ssm_spec.Bounded, b: ssm_spec.Bounded) -> None:
    """Hold `found` to |a's value − b's value| <= both own bounds."""
    assert np.all(np.abs(found) <= a.own + b.own)


def test_singular_and_zero_matrices_are_held_like_any_other() -> None:
    A, B = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0], [1.0]])
    A_bar, B_bar = ssm_spec.discretize_zoh(A, B, 0.5)
    np.testing.assert_array_equal(A_bar, [[1.0, 0.5], [0.0, 1.0]])
    np.testing.assert_array_equal(B_bar, [[0.125], [0.5]])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("diagonal", [False, True])
def test_no_time_leaves_the_state_as_it_is(rule: str, diagonal: bool) -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((3,) if diagonal else (3, 3))
    A_bar, B_bar = getattr(ssm_spec, rule)(A, np.ones((3, 2)), 0.0, diagonal=diagonal)
    np.testing.assert_array_equal(A_bar, np.ones(3) if diagonal else np.eye(3))
    np.testing.assert_array_equal(B_bar, np.zeros((3, 2)))
    inputs = {"A": A, "B": np.ones((3, 2)), "delta": np.array(0.0), "diagonal": diagonal}
    slope = ssm_spec.REFERENCES[rule].vjp({"B_bar": np.ones((3, 2))}, **inputs)
    np.testing.assert_array_equal(slope["delta"], 6.0)
    np.testing.assert_array_equal(slope["A"], np.zeros_like(A))


def test_a_mode_at_zero_has_its_limits() -> None:
    inputs = {"A": np.array([0.0, 1e-12, -1e-300]), "B": np.ones((3, 1)), "delta": np.array(0.25)}
    _, B_bar = ssm_spec.discretize_zoh(**inputs, diagonal=True)
    np.testing.assert_allclose(
        B_bar[:, 0], [0.25, 0.25 * (1 + 0.125e-12), 0.25], rtol=4e-16
    )  # two units in the last place
    slope = ssm_spec.discretize_zoh_vjp({"B_bar": np.ones((3, 1))}, ["A"], **inputs, diagonal=True)["A"]
    np.testing.assert_allclose(slope, 0.25**2 / 2, rtol=1e-12)  # A = 1e-12 moves the limit by 1e-13


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("diagonal", [False, True])
def test_a_singular_implicit_step_is_an_error_that_names_its_size(alpha: float, diagonal: bool) -> None:
    A = np.array([1.0, 1.0 / alpha]) if diagonal else np.array([[1.0, 0.3], [0.0, 1.0 / alpha]])
    with pytest.raises(DomainError, match="`delta` must leave I - alpha delta A nonsingular"):
        ssm_spec.discretize_bilinear(A, np.ones((2, 1)), 1.0, alpha, diagonal=diagonal)


def test_a_singular_step_of_a_kernel_names_an_argument_of_it() -> None:
    poles, ones = np.array([[1.0, 3.0]]), np.ones((1, 2))
    with pytest.raises(DomainError, match="`delta` must leave"):
        ssm_spec.s4_kernel(np.array([2.0]), poles, 0 * ones, 0 * ones, ones, ones, 3)


@pytest.mark.parametrize("size", [1.0, 1e20])
def test_no_scale_makes_a_singular_implicit_step_a_regular_one(size: float) -> None:
    """W = [[1, 2s], [1, 2s]], of which forward and backward errors of float64 make anything."""
    W = np.array([[1.0, 2 * size], [1.0, 2 * size]])
    with pytest.raises(DomainError, match="singular to working precision"):
        ssm_spec.discretize_bilinear(np.eye(2) - W, np.ones((2, 1)), 1.0, 1.0)


@pytest.mark.parametrize("rule", RULES)
def test_triangles_stay_triangles(rule: str) -> None:
    rng = np.random.default_rng(1)
    for tri, other in ((np.tril, np.triu), (np.triu, np.tril)):
        A = tri(rng.standard_normal((9, 9)) + 1j * rng.standard_normal((9, 9)))
        found = ssm_spec.REFERENCES[rule].bounds(arithmetic=F32, A=A, B=np.ones((9, 1)), delta=0.3)["A_bar"]
        outside = ~tri(np.ones((9, 9), dtype=bool))
        assert not np.any(found.value[outside])
        assert not np.any(found.own[outside])
        assert np.all(np.diagonal(other(found.value)) != 0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("complex_", [False, True])
def test_modes_are_a_diagonal_matrix(rule: str, complex_: bool) -> None:
    rng = np.random.default_rng(2)
    A = rng.standard_normal(5) + (1j * rng.standard_normal(5) if complex_ else 0)
    B, reference = rng.standard_normal((5, 2)), ssm_spec.REFERENCES[rule]
    modes = reference.bounds(arithmetic=F64, A=A, B=B, delta=0.7, diagonal=True)
    full = reference.bounds(arithmetic=F64, A=np.diag(A), B=B, delta=0.7)
    within(modes["B_bar"].value - full["B_bar"].value, modes["B_bar"], full["B_bar"])
    assert np.all(
        np.abs(modes["A_bar"].value - np.diagonal(full["A_bar"].value))
        <= modes["A_bar"].own + np.diagonal(full["A_bar"].own)
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("diagonal", [False, True])
def test_systems_broadcast_and_their_gradients_come_back(rule: str, diagonal: bool) -> None:
    rng = np.random.default_rng(3)
    A = rng.standard_normal((2, 1, 4) if diagonal else (2, 1, 4, 4))
    B, delta = rng.standard_normal((4, 3)), rng.uniform(0.1, 1, (1, 5))
    reference = ssm_spec.REFERENCES[rule]
    inputs = {"A": A, "B": B, "delta": delta, "diagonal": diagonal}
    whole = reference.bounds(arithmetic=F64, **inputs)
    assert whole["B_bar"].value.shape == (2, 5, 4, 3)
    G = {k: rng.standard_normal(v.value.shape) for k, v in whole.items()}
    slopes = reference.vjp_bounds(G, arithmetic=F64, **inputs)
    total = np.zeros(B.shape)
    for i, j in np.ndindex(2, 5):
        one = {"A": A[i, 0], "B": B, "delta": delta[0, j], "diagonal": diagonal}
        alone = reference.bounds(arithmetic=F64, **one)
        for name, bounded in alone.items():
            assert np.all(np.abs(whole[name].value[i, j] - bounded.value) <= 2 * bounded.own)
        total += reference.vjp({k: v[i, j] for k, v in G.items()}, **one)["B"]
    assert np.all(np.abs(total - slopes["B"].value) <= 2 * slopes["B"].own)
    assert [slopes[k].value.shape for k in ("A", "B", "delta")] == [A.shape, B.shape, delta.shape]


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("length", [1, 41])
def test_the_recurrence_is_its_kernel_and_its_initial_state(
    diagonal: bool, complex_: bool, length: int
) -> None:
    rng = np.random.default_rng(length)
    n, b, d = 4, 2, 3

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if complex_ else 0)

    A = draw(d, n) / 3 if diagonal else draw(d, n, n) / 6
    B, C, D, u, h = draw(d, n, 1), draw(d, 1, n), rng.standard_normal((d, 1, 1)), None, draw(b, d, n)
    u = rng.standard_normal((b, d, 1, length))
    paired, run = diagonal and complex_, ssm_spec.ssm_recurrence_bounds
    y = run(arithmetic=F64, A_bar=A, B_bar=B, C=C, u=u, D=D, initial_state=h, diagonal=diagonal)["y"]
    K = ssm_spec.ssm_kernel_bounds(arithmetic=F64, A_bar=A, B_bar=B, C=C, length=length, diagonal=diagonal)[
        "K"
    ]
    parts = [K.value.real, K.value.imag] if np.iscomplexobj(K.value) else [K.value]
    convolved = [ssm_spec.causal_convolution(u[:, :, 0], part[:, 0, 0]) for part in parts]
    decayed = np.empty((b, d, length), dtype=h.dtype)
    state = h
    for k in range(length):
        state = A * state if diagonal else np.einsum("dij,bdj->bdi", A, state)
        decayed[..., k] = np.einsum("dn,bdn->bd", C[:, 0], state)
    free = 2 * decayed.real if paired else decayed
    through = convolved[0] + 1j * convolved[1] if len(convolved) > 1 else convolved[0]
    rebuilt = through + free + D[None, :, 0] * u[:, :, 0]
    spread = ssm_spec.causal_convolution(np.abs(u[:, :, 0]), K.own[:, 0, 0])
    assert np.all(np.abs(rebuilt - y.value[:, :, 0]) <= 3 * y.own[:, :, 0] + 2 * spread)


def test_empty_sizes_are_values() -> None:
    A, B, C = np.full((2, 3), 0.5), np.ones((2, 3, 1)), np.ones((2, 1, 3))
    h = np.arange(6.0).reshape(1, 2, 3)
    y, last = ssm_spec.ssm_recurrence(
        A, B, C, np.zeros((1, 2, 1, 0)), None, h, return_last_state=True, diagonal=True
    )
    assert y.shape == (1, 2, 1, 0)
    np.testing.assert_array_equal(last, h)
    inputs = {
        "A_bar": A,
        "B_bar": B,
        "C": C,
        "u": np.zeros((1, 2, 1, 0)),
        "initial_state": h,
        "diagonal": True,
    }
    slopes = ssm_spec.ssm_recurrence_vjp({"last_state": 2 * h}, **inputs)
    np.testing.assert_array_equal(slopes["initial_state"], 2 * h)
    assert not np.any(slopes["A_bar"])
    ssm_spec.ssm_recurrence_vjp_bounds({"last_state": h}, arithmetic=F32, **inputs)
    assert ssm_spec.ssm_kernel(A, B, C, 0, diagonal=True).shape == (2, 1, 1, 0)
    assert ssm_spec.ssm_kernel(np.zeros((0, 3, 3)), B[:0], C[:0], 4).shape == (0, 1, 1, 4)
    bounds = ssm_spec.ssm_kernel_bounds(
        arithmetic=F32, A_bar=np.zeros((0, 3, 3)), B_bar=B[:0], C=C[:0], length=4
    )
    assert bounds["K"].bound.shape == (0, 1, 1, 4)
    assert ssm_spec.causal_convolution(np.zeros((0, 2, 5)), np.ones((2, 3))).shape == (0, 2, 5)
    assert ssm_spec.causal_convolution(np.zeros((1, 2, 0)), np.ones((2, 3))).shape == (1, 2, 0)
    for rule in RULES:
        A_bar, B_bar = getattr(ssm_spec, rule)(np.zeros((0, 3, 3)), np.ones((3, 1)), 1.0)
        assert (A_bar.shape, B_bar.shape) == ((0, 3, 3), (0, 3, 1))
        for diagonal, shape in ((False, (0, 3, 3)), (True, (0, 3))):
            empty = {"A": np.zeros(shape), "B": np.ones((3, 1)), "delta": np.array(1.0), "diagonal": diagonal}
            slopes = ssm_spec.REFERENCES[rule].vjp_bounds({}, arithmetic=F32, **empty)
            np.testing.assert_array_equal(slopes["B"].value, np.zeros((3, 1)))


def test_the_future_reaches_nothing() -> None:
    rng = np.random.default_rng(4)
    u, K = rng.standard_normal((1, 1, 9)), rng.standard_normal((1, 4))
    poisoned = u.copy()
    poisoned[..., 5] = np.nan
    clean, found = (ssm_spec.causal_convolution(x, K) for x in (u, poisoned))
    np.testing.assert_array_equal(np.isnan(found[0, 0]), [0, 0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(clean[..., :5], found[..., :5])
    y = [ssm_spec.ssm_recurrence(np.eye(2), np.ones((2, 1)), np.ones((1, 2)), x) for x in (u, poisoned)]
    np.testing.assert_array_equal(y[0][..., :5], y[1][..., :5])


def test_what_overflows_is_not_judged() -> None:
    hot = ssm_spec.discretize_zoh_bounds(arithmetic=F32, A=np.eye(2) * 100, B=np.ones((2, 1)), delta=1.0)
    assert not np.any(hot["A_bar"].judged)
    mode = {"A": np.array([100.0, -1.0]), "B": np.ones((2, 1)), "delta": 1.0, "diagonal": True}
    np.testing.assert_array_equal(
        ssm_spec.discretize_zoh_bounds(arithmetic=F32, **mode)["A_bar"].judged, [False, True]
    )
    growing = {"A_bar": np.array([2.0]), "B_bar": np.ones((1, 1)), "C": np.ones((1, 1)), "diagonal": True}
    y = ssm_spec.ssm_recurrence_bounds(arithmetic=F32, u=np.ones((1, 1, 200)), **growing)["y"]
    assert 120 < np.count_nonzero(y.judged) < 129
    assert np.all(np.diff(y.judged[0, 0].astype(int)) <= 0)
    K = ssm_spec.ssm_kernel_bounds(arithmetic=F32, length=200, **growing)["K"]
    assert 120 < np.count_nonzero(K.judged) < 129


def test_a_system_that_is_not_finite_spoils_no_other() -> None:
    A = np.stack((np.full((2, 2), np.nan), -np.eye(2)))
    for rule in RULES:
        found = ssm_spec.REFERENCES[rule].bounds(arithmetic=F32, A=A, B=np.ones((2, 1)), delta=0.1)["A_bar"]
        assert np.all(np.isnan(found.value[0]))
        assert not np.any(found.judged[0])
        assert np.all(found.judged[1])


def test_legs_is_correctly_rounded() -> None:
    A, B = ssm_spec.hippo_legs(5)
    assert A[3, 1] == -(21.0**0.5)
    assert A[4, 4] == -5.0
    assert B[2, 0] == 5.0**0.5
    assert not np.any(np.signbit(np.triu(A, 1)))
    found = ssm_spec.hippo_legs_bounds(arithmetic=F32, n=5)["A"]
    assert not np.any(np.triu(found.bound, 1))
    naive = np.sqrt(np.float32(7)) * np.sqrt(np.float32(3))
    assert abs(naive + found.value[3, 1]) <= found.bound[3, 1]
    assert abs(21.0**0.5 * (1 + 1e-6) + found.value[3, 1]) > found.bound[3, 1]


ONE = np.ones((1, 1))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ShapeError, r"`A` must have shape \(\*s, n, n\).*got \(2, 3\)",
         lambda: ssm_spec.discretize_zoh(np.ones((2, 3)), ONE, 1.0)),
        (ShapeError, r"`B` must have shape \(\*s, n, m\) with n = 2, from `A`; got \(3, 1\)",
         lambda: ssm_spec.discretize_zoh(np.ones((2, 2)), np.ones((3, 1)), 1.0)),
        (ShapeError, r"`delta` must have shape \(\*s\) with \*s broadcasting against \(2,\).*got \(3,\)",
         lambda: ssm_spec.discretize_zoh(np.ones((2, 1, 1)), ONE, np.ones(3))),
        (ShapeError, r"`A` must have shape \(\*s, n\) with n >= 1; got \(0,\)",
         lambda: ssm_spec.discretize_zoh(np.ones(0), ONE, 1.0, diagonal=True)),
        (DTypeError, "`A` must hold floating-point",
         lambda: ssm_spec.discretize_zoh(np.ones((1, 1), dtype=int), ONE, 1.0)),
        (DTypeError, "`B` must be real where the state matrix is real",
         lambda: ssm_spec.discretize_zoh(ONE, ONE * 1j, 1.0)),
        (DTypeError, "`delta` must be real",
         lambda: ssm_spec.discretize_zoh(ONE, ONE, 1j)),
        (DomainError, r"`alpha` must lie in \[0, 1\]; got 1.5",
         lambda: ssm_spec.discretize_bilinear(ONE, ONE, 1.0, 1.5)),
        (DTypeError, "`alpha` must be a real number; got True",
         lambda: ssm_spec.discretize_bilinear(ONE, ONE, 1.0, True)),
        (ShapeError, r"`u` must have shape \(b, \*s, m, l\) = \(b, 2, m = 1, l\); got \(1, 1, 5\)",
         lambda: ssm_spec.ssm_recurrence(np.ones((2, 1, 1)), ONE, ONE, np.ones((1, 1, 5)))),
        (ShapeError, r"`initial_state` must have shape \(b, \*s, n\) = \(4, 1\); got \(1, 1\)",
         lambda: ssm_spec.ssm_recurrence(ONE, ONE, ONE, np.ones((4, 1, 5)), None, ONE)),
        (DTypeError, "`D` must be real",
         lambda: ssm_spec.ssm_recurrence(ONE * 1j, ONE, ONE, np.ones((1, 1, 5)), ONE * 1j)),
        (DomainError, "`length` must be >= 0; got -1",
         lambda: ssm_spec.ssm_kernel(ONE, ONE, ONE, -1)),
        (DTypeError, "`length` must be an integer; got 2.0",
         lambda: ssm_spec.ssm_kernel(ONE, ONE, ONE, 2.0)),
        (ShapeError, r"`K` must have k >= 1",
         lambda: ssm_spec.causal_convolution(np.ones((1, 1, 3)), np.ones((1, 0)))),
        (ShapeError, r"`K` must have shape \(d, k\) with d = 2, from `u`; got \(3, 1\)",
         lambda: ssm_spec.causal_convolution(np.ones((1, 2, 3)), np.ones((3, 1)))),
        (DomainError, "`n` must lie in 1", lambda: ssm_spec.hippo_legs(0)),
        (DTypeError, "`dtype` must be one of", lambda: ssm_spec.hippo_legs(2, dtype="int8")),
        (DomainError, "`cotangents` must be named after the outputs",
         lambda: ssm_spec.ssm_kernel_vjp({"y": ONE}, A_bar=ONE, B_bar=ONE, C=ONE, length=1)),
        (DomainError, "`wrt` must name differentiable inputs",
         lambda: ssm_spec.discretize_zoh_vjp({}, ["alpha"], A=ONE, B=ONE, delta=1.0)),
        (ShapeError, r"`cotangents\['K'\]` must have shape \(1, 1, 2\)",
         lambda: ssm_spec.ssm_kernel_vjp({"K": ONE}, A_bar=ONE, B_bar=ONE, C=ONE, length=2)),
        (DomainError, "`arithmetic.evaluation` must be an order of the recurrence",
         lambda: ssm_spec.ssm_recurrence_bounds(
             arithmetic=Arithmetic(evaluation="fft"), A_bar=ONE, B_bar=ONE, C=ONE, u=np.ones((1, 1, 2)))),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_that_names_the_argument(
    error: type[Exception], message: str, call: Any
) -> None:
    with pytest.raises(error, match=message):
        call()
