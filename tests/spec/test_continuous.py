"""The continuous system in balls, one exponential a time; and the three forms of one system beside it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from . import layer_check as check
from . import lti_exact as exact

KINDS = [(False, False), (False, True), (True, False), (True, True)]


def responses(A, B, C, time, paired):
    """C exp(tA) B and C ∫ exp(sA) ds B, by one exponential."""
    bars = exact.zoh(A, B, np.asarray(time))
    real = np.vectorize(lambda x: exact.flint.acb(2 * x.real), otypes=[object])
    both = [C @ (exact.full(bars["A_bar"]) @ B), C @ bars["B_bar"]]
    return [real(x) if paired else x for x in both]


def superposed(A, B, C, u, delta, D, initial_state, *, paired):
    """y(kΔ) = C exp(kΔA) h₀ + Σ_j [step((k − j + 1)Δ) − step((k − j)Δ)] u_j + D u_k: no recurrence."""
    length, none = u.shape[-1], exact.balls(np.zeros((len(C), B.shape[1])))
    steps = [none] + [responses(A, B, C, k * delta, paired)[1] for k in range(1, length + 1)]
    y = np.empty((len(u), len(C), length), dtype=object)
    for k in range(1, length + 1):
        total = (D @ u[..., k - 1].T).T
        free = [responses(A, h[:, None], C, k * delta, paired)[0][:, 0] for h in initial_state]
        for j in range(1, k + 1):
            total = total + ((steps[k - j + 1] - steps[k - j]) @ u[..., j - 1].T).T
        y[..., k - 1] = total + np.stack(free)
    identity, nothing = exact.balls(np.eye(len(B))), exact.balls(np.zeros((len(B), B.shape[1])))
    hold = [nothing] + [responses(A, B, identity, k * delta, False)[1] for k in range(1, length + 1)]
    last = []
    for i, h in enumerate(initial_state):
        state = responses(A, h[:, None], identity, length * delta, False)[0][:, 0]
        for j in range(1, length + 1):
            state = state + (hold[length - j + 1] - hold[length - j]) @ u[i, :, j - 1]
        last.append(state)
    return {"y": y, "last_state": np.stack(last)}


def system(rng: np.random.Generator, diagonal: bool, complex_: bool, length: int) -> dict[str, Any]:
    n, m, p, b = 2, 2, 1, 2
    return {
        "A": check.numbers(rng, complex_, *((n,) if diagonal else (n, n))),
        "B": check.numbers(rng, complex_, n, m),
        "C": check.numbers(rng, complex_, p, n),
        "u": rng.standard_normal((b, m, length)),
        "delta": np.array(0.3),
        "D": rng.standard_normal((p, m)),
        "initial_state": check.numbers(rng, complex_, b, n),
    }


@pytest.mark.parametrize(("diagonal", "complex_"), KINDS)
@pytest.mark.parametrize("length", [1, 4])
def test_the_response_lies_within_its_own_bound(diagonal, complex_, length, record_property):
    """(C1), (C2), (C4) of continuous_response, against superposition at absolute times."""
    arrays = system(np.random.default_rng(length), diagonal, complex_, length)
    function = partial(superposed, paired=diagonal and complex_)
    ratios = check.within_own("continuous_response", function, arrays, {"diagonal": diagonal})
    record_property("ratios", ratios)


@pytest.mark.parametrize(("diagonal", "complex_"), KINDS)
@pytest.mark.parametrize("op", ["impulse_response", "step_response"])
def test_impulse_and_step_lie_within_their_own_bounds(op, diagonal, complex_, record_property):
    times = np.array([0.0, 0.4, 2.0])
    arrays = system(np.random.default_rng(1), diagonal, complex_, 1)
    arrays = {name: arrays[name] for name in ("A", "B", "C", "D") if (op, name) != ("impulse_response", "D")}

    def function(A, B, C, D=None):
        both = [responses(A, B, C, exact.flint.acb(float(t)), diagonal and complex_) for t in times]
        g = [x[0] if D is None else x[1] + D for x in both]
        return {"g": np.stack(g, axis=-1)}

    record_property("ratios", check.within_own(op, function, arrays, {"diagonal": diagonal, "times": times}))


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("length", [1, 64, 300])
def test_the_forms_of_one_system_agree(diagonal, length, record_property):
    """Recurrence, kernel with direct and fast convolution, continuous response: in units of the bound.

    Each is held to what it loses: the kernel's own error, weighted by the input, and the convolution's.
    """
    rng = np.random.default_rng(length)
    n, delta = 8, 0.05
    A, B = ssm_spec.s4d_inv(2 * n) if diagonal else ssm_spec.hippo_legs(n)
    B, C, D = B.reshape(n, 1), check.numbers(rng, diagonal, 1, n), rng.standard_normal((1, 1))
    u = rng.standard_normal((2, 1, length))
    bars = ssm_spec.discretize_zoh(A, B, delta, diagonal=diagonal)
    kind: dict[str, Any] = {"arithmetic": check.F64, "diagonal": diagonal}
    whole = ssm_spec.continuous_response_bounds(A=A, B=B, C=C, u=u, delta=delta, D=D, **kind)["y"]
    stepped = ssm_spec.ssm_recurrence_bounds(A_bar=bars[0], B_bar=bars[1], C=C, u=u, D=D, **kind)["y"]
    kernel = ssm_spec.ssm_kernel_bounds(A_bar=bars[0], B_bar=bars[1], C=C, length=length, **kind)["K"]
    K, e_K = kernel.value[0], kernel.own[0]
    fft = Arithmetic(compute="float64", evaluation="fft")
    direct, fast = (ssm_spec.causal_convolution_bounds(arithmetic=a, u=u, K=K)["y"] for a in (check.F64, fft))
    of_kernel = ssm_spec.causal_convolution(np.abs(u), e_K) + 2.0**-52 * (
        np.abs(direct.value) + np.abs(D * u)
    )
    transformed = np.fft.irfft(np.fft.rfft(K, 2 * length) * np.fft.rfft(u, 2 * length), 2 * length)
    forms = {
        "recurrence": (stepped.value, stepped.own),
        "direct convolution": (direct.value + D * u, stepped.own + direct.bound + of_kernel),
        "fast convolution": (transformed[..., :length] + D * u, stepped.own + fast.bound + of_kernel),
    }
    for name, (y, loses) in forms.items():
        units = float(np.max(np.abs(y - whole.value) / (whole.own + loses)))
        record_property(name, units)
        assert units <= 1.0


def test_initial_states_agree_between_the_forms(record_property):
    """An initial state adds C Ā^{k+1} h₋₁ to y_k."""
    rng = np.random.default_rng(0)
    A, B = ssm_spec.hippo_legs(6)
    C, h = rng.standard_normal((1, 6)), rng.standard_normal((1, 6))
    found = ssm_spec.continuous_response_bounds(
        arithmetic=check.F64, A=A, B=B, C=C, u=np.zeros((1, 1, 50)), delta=0.1, initial_state=h
    )["y"]
    A_bar, _ = ssm_spec.discretize_zoh(A, B, 0.1)
    free = ssm_spec.ssm_kernel(A_bar, A_bar @ h.T, C, 50)[0]
    units = float(np.max(np.abs(free - found.value[:, 0]) / (found.bound + found.own)[:, 0]))
    record_property("units of the bound", units)
    assert units <= 1.0


def test_singular_systems_and_no_time_are_no_exceptions():
    """(C3): an integrator counts, and nothing happens in no time."""
    A, B, C = np.zeros((1, 1)), np.ones((1, 1)), np.ones((1, 1))
    y = ssm_spec.continuous_response(A, B, C, np.ones((1, 1, 5)), 0.5)
    np.testing.assert_array_equal(y, 0.5 * np.arange(1.0, 6.0).reshape(1, 1, 5))
    still = ssm_spec.continuous_response(A, B, C, np.ones((1, 1, 5)), 0.0, initial_state=np.array([[3.0]]))
    np.testing.assert_array_equal(still, np.full((1, 1, 5), 3.0))
    np.testing.assert_array_equal(ssm_spec.step_response(A, B, C, np.array([0.0, 2.0])), [[[0.0, 2.0]]])


def test_systems_broadcast_and_gradients_come_back():
    """One A for three steps Δ: the gradient of A is the sum of three."""
    rng = np.random.default_rng(0)
    A, B, C = rng.standard_normal((2, 2)), rng.standard_normal((2, 1)), rng.standard_normal((1, 2))
    u, delta = rng.standard_normal((2, 3, 1, 4)), np.array([0.1, 0.2, 0.3])
    y = ssm_spec.continuous_response(A, B, C, u, delta)
    r = rng.standard_normal(y.shape)
    together = ssm_spec.continuous_response_vjp({"y": r}, A=A, B=B, C=C, u=u, delta=delta)
    apart = [
        ssm_spec.continuous_response_vjp({"y": r[:, i]}, A=A, B=B, C=C, u=u[:, i], delta=delta[i])
        for i in range(3)
    ]
    # The same operations, summed over three systems in another order.
    for name in ("A", "B", "C"):
        np.testing.assert_allclose(together[name], sum(x[name] for x in apart), rtol=1e-13)
    np.testing.assert_allclose(together["delta"], [x["delta"] for x in apart], rtol=1e-13)


def test_slips_leave_the_bound():
    """A bilinear step, a sample late by one, the hold over the next step."""
    arrays = system(np.random.default_rng(4), False, False, 12)
    found = ssm_spec.continuous_response_bounds(arithmetic=check.F32, **arrays)["y"]
    A_bar, B_bar = ssm_spec.discretize_bilinear(arrays["A"], arrays["B"], 0.3)
    rest = {name: arrays[name] for name in ("C", "u", "D", "initial_state")}
    early = {**arrays, "u": np.roll(arrays["u"], 1, axis=-1)}
    for wrong in (
        ssm_spec.ssm_recurrence(A_bar, B_bar, **rest),
        np.roll(found.value, 1, axis=-1),
        ssm_spec.continuous_response(**early),
    ):
        assert np.any(np.abs(wrong - found.value) > found.bound)


@pytest.mark.parametrize(
    ("op", "change", "error", "message"),
    [
        ("continuous_response", {"u": np.zeros((2, 3, 4))}, ssm_spec.ShapeError, "`u` must have shape"),
        ("continuous_response", {"delta": np.zeros(2)}, ssm_spec.ShapeError, "`u` must have shape"),
        ("continuous_response", {"initial_state": np.zeros((2, 3))}, ssm_spec.ShapeError, "`initial_state`"),
        ("continuous_response", {"B": np.zeros((2, 2), complex)}, ssm_spec.DTypeError, "`B` must be real"),
        ("step_response", {"times": np.array([1.0, -2.0])}, ssm_spec.DomainError, "`times`.*; got -2.0"),
        ("step_response", {"times": 1.0}, ssm_spec.ShapeError, r"`times` must have shape \(q,\)"),
        ("impulse_response", {"times": np.array([1])}, ssm_spec.DTypeError, "`times` must hold floating"),
    ],
)
def test_bad_arguments_are_named(op, change, error, message):
    arrays = system(np.random.default_rng(4), False, False, 4)
    if op != "continuous_response":
        arrays = {name: arrays[name] for name in ("A", "B", "C")}
    with pytest.raises(error, match=message):
        ssm_spec.REFERENCES[op].value(**{**arrays, **change})
