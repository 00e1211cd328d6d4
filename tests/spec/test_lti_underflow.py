"""Where some order of a product underflows on its way, zero is honest in the linear rooms as well."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

TINY = np.finfo(np.float32).tiny
SMALL, LARGE = 1e-20, 1e20
ONE = np.ones((1, 1), np.float32)
"""One mode, one input, one output."""


def one(value: float) -> Any:
    return np.float32(value) * ONE


def mode(value: float) -> Any:
    return np.float32([value])


def modes(op: str, A: float, B: float, delta: float) -> tuple[str, dict[str, Any]]:
    inputs = {"A": mode(A), "B": one(B), "delta": np.float32(delta), "diagonal": True}
    return f"discretize_{op}", inputs


def kernel(a: float, B: float, C: float) -> tuple[str, dict[str, Any]]:
    return "ssm_kernel", {"A_bar": mode(a), "B_bar": one(B), "C": one(C), "length": 2, "diagonal": True}


def second_term(value: float) -> dict[str, Any]:
    return {"K": np.array([[[0, value]]], np.float32)}


def of_input(value: float) -> dict[str, Any]:
    return {"B_bar": one(value)}


Call = tuple[tuple[str, dict[str, Any]], dict[str, Any] | None, str]
LOST: dict[str, Call] = {
    "C B of C B a": (kernel(LARGE, SMALL, SMALL), None, "K"),
    "G B of the kernel's dC": (kernel(LARGE, SMALL, 1), second_term(SMALL), "C"),
    "G C of the kernel's dB": (kernel(LARGE, 1, SMALL), second_term(SMALL), "B_bar"),
    "C B of the kernel's dA": (kernel(0.5, SMALL, SMALL), second_term(LARGE), "A_bar"),
    "a² of a²/a": (kernel(SMALL, 1, 1), {"K": np.array([[[0, 0, 1]]], np.float32)}, "A_bar"),
    "C Ā of a full kernel's dB": (
        ("ssm_kernel", {"A_bar": one(SMALL), "B_bar": ONE, "C": one(SMALL)}),
        second_term(1e30),
        "B_bar",
    ),
    "φ₁ B of Δ φ₁ B": (modes("zoh", -1, SMALL, LARGE), None, "B_bar"),
    "φ₁ G of dB": (modes("zoh", -1, 1, LARGE), of_input(SMALL), "B"),
    "G of φ G, a short step's φ₁ large": (modes("zoh", 4.4e21, 1, 1.946e-20), of_input(1e-42), "B"),
    "Δ² of dA": (modes("zoh", 0, LARGE, SMALL), of_input(1e10), "A"),
    "a G of dΔ": (modes("zoh", -LARGE, 1, 46 * SMALL), {"A_bar": mode(SMALL)}, "delta"),
    "Δ of Δ A": (modes("zoh", -1e37, 1, 1e-38), None, "A_bar"),
    "B / W of Δ B / W": (modes("bilinear", -2, SMALL, LARGE), None, "B_bar"),
    "Ā² of doubling": (
        (
            "ssm_kernel",
            {
                "A_bar": np.full((2, 2), np.sqrt(0.9 * TINY), np.float32),
                "B_bar": np.full((2, 1), 1e15, np.float32),
                "C": np.full((1, 2), 1e15, np.float32),
                "length": 3,
            },
        ),
        None,
        "K",
    ),
}


def allowed(call: Call) -> Bounded:
    (op, inputs), cotangents, name = call
    if op == "ssm_kernel" and cotangents is not None:
        inputs = inputs | {"length": cotangents["K"].shape[-1]}
    arithmetic = Arithmetic()
    reference = ssm_spec.REFERENCES[op]
    if cotangents is None:
        return reference.bounds(arithmetic=arithmetic, **inputs)[name]
    assert reference.vjp_bounds is not None
    return reference.vjp_bounds(cotangents, [name], arithmetic=arithmetic, **inputs)[name]


@pytest.mark.parametrize("name", LOST)
def test_what_underflows_on_its_way_may_be_lost(name: str) -> None:
    found = allowed(LOST[name])
    last = (..., -1) if found.value.ndim else ()
    value, bound = np.abs(found.value[last]), found.bound[last]
    if name == "Δ of Δ A":
        value = 1 - value  # exp(0) instead of exp(−0.1)
    assert np.all(value > TINY)
    assert np.all(value <= bound)
    assert np.all(found.judged)


def test_what_no_order_loses_is_judged() -> None:
    """Of the same size as above, but made of factors of size one."""
    for call in (
        (kernel(1, 1, SMALL), None, "K"),
        (kernel(1, 1, 1), second_term(SMALL), "C"),
        (modes("zoh", -1, 1, 1), of_input(SMALL), "A"),
        (modes("bilinear", -1, 1, 1), of_input(SMALL), "A"),
    ):
        found = allowed(call)
        assert np.all(found.bound < 1e-4 * np.abs(found.value[..., -1]))


def test_products_of_transforms_may_underflow() -> None:
    """What a butterfly loses of a kernel near underflow spreads over the row, also before u began."""
    torch = pytest.importorskip("torch")
    from . import lti_forms as forms

    rng = np.random.default_rng(4)
    u = 1000 * rng.integers(-2, 3, (1, 1, 64)).astype(np.float32)
    K = (rng.standard_normal((1, 64)) * 2e-38).astype(np.float32)
    u[..., :30] = 0
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush subnormals")
    try:
        found = forms.convolution_fft(torch.tensor(u), torch.tensor(K))["y"].numpy()
    finally:
        torch.set_flush_denormal(False)
    y = ssm_spec.causal_convolution_bounds(arithmetic=Arithmetic(evaluation="fft"), u=u, K=K)["y"]
    error = np.abs(found - y.value)
    assert error[..., 0] > 1000 * TINY
    assert np.all(error <= y.bound)


def dense(A: float, B: float, delta: float) -> dict[str, Any]:
    """Full matrices of equal entries."""
    square, column = np.full((2, 2), A, np.float32), np.full((2, 1), B, np.float32)
    return {"A": square, "B": column, "delta": np.float32(delta)}


@pytest.mark.parametrize(("op", "name", "B"), [("zoh", "A_bar", 0.0), ("bilinear", "B_bar", 1.0)])
def test_a_subnormal_entry_of_a_full_matrix_may_be_read_as_zero(op: str, name: str, B: float) -> None:
    """ΔA is 10⁻⁵; without it Ā is the identity and B̄ is ΔB."""
    bounds = ssm_spec.REFERENCES[f"discretize_{op}"].bounds
    found = bounds(arithmetic=Arithmetic(), **dense(1e-39, B, 1e34))[name]
    lost = np.eye(2) if name == "A_bar" else np.full((2, 1), 1e34)
    error, size = np.abs(lost - found.value), np.abs(found.value).max()
    assert (error > 1e-6 * size).all()
    assert (error <= found.bound).all()
    normal = bounds(arithmetic=Arithmetic(), **dense(1e-30, B, 1e25))[name]
    assert (normal.bound < 1e-5 * np.abs(normal.value).max()).all()


@pytest.mark.parametrize("name", ["A", "B"])
def test_what_a_short_step_makes_of_a_dense_gradient_may_be_flushed(name: str) -> None:
    found = ssm_spec.discretize_zoh_vjp_bounds(
        {"A_bar": np.full((2, 2), 1e-3), "B_bar": np.full((2, 1), 1e-3)},
        arithmetic=Arithmetic(),
        **dense(-1.0, 1.0, 1e-37),
    )[name]
    assert (found.value > 0).all()
    assert (found.value <= found.bound).all()
    assert (found.bound < 100 * TINY).all()


SYSTEMS = 150


def by_torch(form: Any, flush: bool, G: Any, *arrays: Any) -> dict[str, Any]:
    """Outputs and gradients of a form in float32, subnormals flushed or not."""
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(flush):
        pytest.skip("this processor does not flush subnormals")
    try:
        leaves = {
            k: torch.tensor(x, requires_grad=True) for k, x in zip(("A", "B", "delta"), arrays, strict=True)
        }
        outputs = form(**leaves)
        slopes = torch.autograd.grad(
            list(outputs.values()), list(leaves.values()), [torch.tensor(g) for g in G]
        )
    finally:
        torch.set_flush_denormal(False)
    found = outputs | {f"d{k}": slope for k, slope in zip(leaves, slopes, strict=True)}
    return {k: x.detach().numpy() for k, x in found.items()}


def wild(rng: Any, complex_: bool, *shape: int) -> Any:
    """Numbers of either sign, of all sizes or of ordinary ones and one that is huge."""

    def real() -> Any:
        if rng.random() < 0.5:
            return rng.choice([-1, 1], shape) * 10 ** rng.uniform(-22, 18, shape)
        x = rng.standard_normal(shape)
        x.flat[rng.integers(x.size)] = 10.0**18
        return x

    return (real() + 1j * real()).astype(np.complex64) if complex_ else real().astype(np.float32)


@pytest.mark.parametrize("complex_", [False, True])
def test_a_badly_scaled_solve_is_within_its_bound_or_not_judged(complex_: bool) -> None:
    torch = pytest.importorskip("torch")
    from . import lti_forms as forms

    rng, judged = np.random.default_rng(11), 0
    for _ in range(SYSTEMS):
        n = int(rng.integers(2, 5))
        A, B = wild(rng, complex_, n, n), wild(rng, complex_, n, 1)
        delta = np.float32(10 ** rng.uniform(-2, 1))
        G = [rng.standard_normal(x.shape).astype(x.dtype) for x in (A, B)]
        given = {"arithmetic": Arithmetic(), "A": A, "B": B, "delta": delta}
        try:
            bounds = ssm_spec.discretize_bilinear_bounds(**given)
            slopes = ssm_spec.discretize_bilinear_vjp_bounds({"A_bar": G[0], "B_bar": G[1]}, **given)
        except ssm_spec.DomainError:
            continue
        expected = bounds | {f"d{k}": x for k, x in slopes.items()}
        judged += sum(bool(np.all(x.judged)) for x in expected.values())
        for form, flush in product((forms.bilinear_solve, forms.bilinear_inverse), (False, True)):
            try:
                found = by_torch(form, flush, G, A, B, delta)
            except torch.linalg.LinAlgError:  # singular, to float32
                assert not any(np.any(x.judged) for x in expected.values())
                continue
            for name, bounded in expected.items():
                error = np.abs(np.where(bounded.judged, found[name] - bounded.value, 0))
                assert np.all(error <= bounded.bound + bounded.own), (form, flush, name, given)
    assert judged > 5 * SYSTEMS / 2  # of two outputs and three gradients
