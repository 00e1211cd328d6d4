"""In the linear rooms too: where some order of a product or a sum overflows, none is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded, selective_scan_bounds

LARGEST = np.finfo(np.float32).max
Call = tuple[str, dict[str, Any], dict[str, Any] | None, str]


def array(*rows: Any) -> Any:
    return np.array(rows, np.float32)


def recurrence(**given: Any) -> dict[str, Any]:
    """Two modes, two inputs, two outputs, two steps, all of size one if not said."""
    inputs: dict[str, Any] = {
        "A_bar": array(0.5, 0.5),
        "B_bar": np.ones((2, 2), np.float32),
        "C": np.ones((2, 2), np.float32),
        "u": np.ones((1, 2, 2), np.float32),
        "D": np.ones((2, 2), np.float32),
        "initial_state": np.ones((1, 2), np.float32),
        "diagonal": True,
    }
    return inputs | given


def kernel(a: float, B: float, C: float, *, diagonal: bool = True) -> dict[str, Any]:
    A = array(a) if diagonal else array([a])
    return {"A_bar": A, "B_bar": array([B]), "C": array([C]), "length": 2, "diagonal": diagonal}


def modes(**given: Any) -> dict[str, Any]:
    """One mode that hardly decays, eight steps."""
    inputs = {
        "u": np.ones((1, 1, 8), np.float32),
        "delta": array(1.0),
        "A": array([-0.01]),
        "B": array([1.0]),
        "C": array([1.0]),
    }
    return inputs | given


ONES = {"y": np.ones((1, 2, 2), np.float32), "last_state": np.ones((1, 2), np.float32)}
OPPOSED = array([[3e38, -3e38], [1, 1]])
NEAR: dict[str, Call] = {
    "C h that cancels": (
        "ssm_recurrence",
        recurrence(C=array([1e9, -1e9], [1e9, -1e9]), initial_state=array([1e30, 1e30])),
        None,
        "y",
    ),
    "D u that cancels": (
        "ssm_recurrence",
        recurrence(u=OPPOSED * 0 + 3e38, D=array([2, -2], [2, -2]), B_bar=np.zeros((2, 2), np.float32)),
        None,
        "y",
    ),
    "B u that cancels": (
        "ssm_recurrence",
        recurrence(u=OPPOSED * 0 + 3e38, B_bar=array([1, -1], [1, -1])),
        None,
        "last_state",
    ),
    "a h⁻ that B u cancels": (
        "ssm_recurrence",
        recurrence(A_bar=array(2, 2), initial_state=array([2e38, 2e38]), u=array([[-2e38, 1], [-2e38, 1]])),
        None,
        "last_state",
    ),
    "r u of dD": ("ssm_recurrence", recurrence(u=OPPOSED * array([[1, 1], [1, 1]])), ONES, "D"),
    "D r of du": ("ssm_recurrence", recurrence(D=array([3e38, 1], [-3e38, 1])), ONES, "u"),
    "r h of dC": (
        "ssm_recurrence",
        recurrence(initial_state=array([1e30, 1e30])),
        {"y": 1e10 * array([[1, -2], [1, -2]])},
        "C",
    ),
    "λ h⁻ of dA": (
        "ssm_recurrence",
        recurrence(initial_state=array([1e20, 1e20])),
        {"last_state": array([1e20, 1e20]), "y": -5e19 * array([[1, 0], [1, 0]])},
        "A_bar",
    ),
    "C B of C B a": ("ssm_kernel", kernel(1e-20, 1e20, 1e20), None, "K"),
    "C B of dA": ("ssm_kernel", kernel(0.5, 1e20, 1e20), {"K": array([[0, 1e-20]])}, "A_bar"),
    "G B of dC": ("ssm_kernel", kernel(1e-20, 1e20, 1), {"K": array([[0, 1e20]])}, "C"),
    "G C of dB": ("ssm_kernel", kernel(1e-20, 1, 1e20), {"K": array([[0, 1e20]])}, "B_bar"),
    "C Ā of C Ā B": ("ssm_kernel", kernel(1e20, 1e-20, 1e20, diagonal=False), None, "K"),
    "N terms of a transform": (
        "causal_convolution",
        {"u": np.full((1, 1, 8), 1e37, np.float32), "K": array([1.0])},
        None,
        "y",
    ),
    "N terms of a layer's transform": ("s4d", modes(u=np.full((1, 1, 8), 1e37, np.float32)), None, "y"),
    "N terms of a cotangent's transform": (
        "s4d",
        modes(),
        {"y": np.full((1, 1, 8), 1e37, np.float32)},
        "u",
    ),
    "r u by transforms, before B and C": (
        "s4d",
        modes(u=np.full((1, 1, 8), 1e20, np.float32), B=array([1e-20])),
        {"y": np.full((1, 1, 8), 1e20, np.float32)},
        "C",
    ),
    "a sum over time before B": (
        "s4d",
        modes(u=np.full((1, 1, 8), 1e38, np.float32), B=array([1e-3])),
        None,
        "last_state",
    ),
    "a gradient that is too large": (
        "discretize_zoh",
        {"A": array(-1.0), "B": array([1e30]), "delta": np.float32(1), "diagonal": True},
        {"B_bar": array([1e30])},
        "delta",
    ),
}


def found(call: Call, evaluation: Any = "any") -> Bounded:
    op, inputs, cotangents, name = call
    arithmetic, reference = Arithmetic(evaluation=evaluation), ssm_spec.REFERENCES[op]
    if cotangents is None:
        return reference.bounds(arithmetic=arithmetic, **inputs)[name]
    assert reference.vjp_bounds is not None
    return reference.vjp_bounds(cotangents, [name], arithmetic=arithmetic, **inputs)[name]


@pytest.mark.parametrize("name", NEAR)
def test_what_may_overflow_on_its_way_is_not_judged(name: str) -> None:
    result = found(NEAR[name], "fft" if "transform" in name else "any")
    in_range = np.abs(result.value) + result.bound < (1e80 if "too large" in name else LARGEST)
    assert np.any(in_range & ~result.judged)


def tame(call: Call) -> Call:
    """The same with all numbers' hundredth root."""

    def root(x: Any) -> Any:
        return np.sign(x) * np.abs(x) ** 0.01 if isinstance(x, np.ndarray | np.float32) else x

    op, inputs, cotangents, name = call
    inputs = {
        key: np.asarray(root(x), np.float32) if isinstance(x, np.ndarray) else x for key, x in inputs.items()
    }
    return op, inputs, cotangents and {key: root(x) for key, x in cotangents.items()}, name


@pytest.mark.parametrize("name", NEAR)
def test_what_is_far_from_overflow_is_judged(name: str) -> None:
    result = found(tame(NEAR[name]), "fft" if "transform" in name else "any")
    assert np.all(result.judged)


def test_a_product_of_decays_may_meet_a_state_that_one_step_cancels() -> None:
    """a₁h₀ + b₁ = 0 and all that follows is small; (a₂a₁)h₀ overflows, as does a₂b₁."""
    rate = np.log(np.float32(1e10))
    one = np.ones((1, 1, 2), np.float32)
    state = np.full((1, 1, 1), 1e20, np.float32)
    a = np.exp(rate)
    inputs = {
        "u": np.array([[[-(a * state[0, 0, 0]), 0]]], np.float32),
        "delta": one,
        "A": np.full((1, 1), rate, np.float32),
        "B": one,
        "C": one,
        "initial_state": state,
    }
    with np.errstate(over="ignore"):
        assert np.isinf((a * a) * state).all()
    for arithmetic, judged in (
        (Arithmetic(evaluation="scan"), False),
        (Arithmetic(evaluation="sequential"), True),
    ):
        y = selective_scan_bounds(arithmetic=arithmetic, **inputs)["y"]
        assert np.abs(y.value[..., 1]) + y.bound[..., 1] < LARGEST
        assert y.judged[..., 1] == judged


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_gradient_that_is_itself_beyond_the_range_is_not_judged(diagonal: bool) -> None:
    """At A = 0, dA = ½Δ²B dB̄: with dX = ½ΔB dB̄ of 10²⁸ in range, and Δ dX of 10⁴¹ not."""
    A = np.zeros(1 if diagonal else (1, 1), np.float32)
    for B, judged in ((1e5, True), (1e15, False)):
        found = ssm_spec.discretize_bilinear_vjp_bounds(
            {"B_bar": np.ones((1, 1))},
            ["A"],
            arithmetic=Arithmetic(),
            diagonal=diagonal,
            A=A,
            B=np.full((1, 1), B, np.float32),
            delta=np.float32(1e13),
        )["A"]
        assert (found.bound < np.abs(found.value)).all()
        assert found.judged.all() == judged


def test_the_terms_of_a_substitution_may_overflow_before_they_cancel() -> None:
    """Wᴴ x = G, x₂ = (G₂ + ½λ x₁)/(1 + ½λ): for λ = 10⁸ and G₁ = 10³², λx₁ overflows and x₂ does not."""
    A = np.float32([[-1, 1e8], [0, -1e8]])
    for size, judged in ((1e20, True), (1e32, False)):
        found = ssm_spec.discretize_bilinear_vjp_bounds(
            {"B_bar": np.float32([[size], [0]])},
            ["B"],
            arithmetic=Arithmetic(),
            A=A,
            B=np.ones((2, 1), np.float32),
            delta=np.float32(1.0),
        )["B"]
        assert (np.abs(found.value) + found.bound < 10 * size).all()
        assert found.judged.all() == judged


def test_a_gradient_taken_backwards_through_squarings_may_overflow_on_its_way() -> None:
    """A mode that decays by e^−1000 asks for 12 squarings: 2¹² times the gradient of one beside it."""
    torch = pytest.importorskip("torch")
    from . import lti_forms as forms

    B, delta, G = (torch.tensor(x) for x in ([[0.0], [0.0]], 1.0, [[0.0, 0.0], [0.0, 1.0]]))
    for growth, judged in ((40.0, True), (82.0, False)):
        A = torch.tensor([[-1000.0, 0.0], [0.0, growth]], requires_grad=True)
        (slope,) = torch.autograd.grad(forms.zoh_taylor(A, B, delta, norm=0.25)["A_bar"], A, G)
        given = {"A": A.detach().numpy(), "B": B.numpy(), "delta": delta.numpy()}
        found = ssm_spec.discretize_zoh_vjp_bounds(
            {"A_bar": G.numpy()}, ["A"], arithmetic=Arithmetic(), **given
        )["A"]
        assert np.all(np.abs(found.value) + found.bound < LARGEST)
        assert bool(slope.isfinite().all()) == judged
        assert found.judged.all() == judged
