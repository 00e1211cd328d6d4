"""What honest arithmetic may overflow on its way is not asked to be finite; what it may not, is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from ssm_spec import (
    Arithmetic,
    Bounded,
    discretize_zoh_bounds,
    selective_scan_bounds,
    selective_scan_vjp_bounds,
    selective_state_update_bounds,
    selective_state_update_vjp_bounds,
)
from ssm_spec._selective_scan._local_errors import reached

from .range_kernel import Array, Product, Scan, ends, largest_first, left, right

ORDERS = (left, right, ends, largest_first)
CLASSES = ("any", "sequential", "scan")
SHAPES: dict[str, tuple[int, ...]] = {
    "u": (1, 1, 1),
    "delta": (1, 1, 1),
    "z": (1, 1, 1),
    "A": (1, 2),
    "B": (1, 2, 1),
    "C": (1, 2, 1),
    "D": (1,),
    "initial_state": (1, 1, 2),
}
"""One channel with two states, one step."""
FROM_STATE = "y, last_state, d z, d C, d delta, d A"
FROM_COTANGENT = "d u, d delta, d z, d A, d B, d C, d D, d initial_state"


@dataclass(frozen=True)
class Near:
    """Data near overflow, and the results in which some order may overflow, gradients as "d name"."""

    excused: str
    inputs: Mapping[str, Any]
    y: float = 1.0
    last_state: float = 1.0
    zoh: bool = False

    @property
    def names(self) -> set[str]:
        return set(self.excused.split(", "))


def near(excused: str, *, y: float = 1.0, last_state: float = 1.0, zoh: bool = False, **inputs: Any) -> Near:
    """What is not said is 1; the rates −1."""
    return Near(excused, {"A": -1.0} | inputs, y, last_state, zoh)


NEAR = {
    "u B of ΔuB": near(FROM_STATE, delta=1e-10, u=1e25, B=1e15, C=1e-5, D=0.0),
    "φ of φuB": near(
        f"{FROM_STATE}, d u, d B", zoh=True, A=1e-3, delta=85e3, u=1e-10, C=1e-5, initial_state=0.0, D=1e10
    ),
    "a h⁻ that φuB cancels": near(
        FROM_STATE, A=1.0, initial_state=2e38, u=-3e38, C=1e-30, D=1e-30, last_state=0.0
    ),
    "C h that cancels": near("y, d z, d delta, d A", C=(1e9, -1e9), initial_state=1e30, A=0.0),
    "D u that C h cancels": near(
        "y, d z", D=3.6e19, u=1e19, C=-1.1e19, initial_state=1e19, delta=1e-30, B=1e-30
    ),
    "v z of v z σ": near("y, d z", D=1e10, z=-1e30),
    "v (1 + z) of dz": near("y, d z", y=1e-5, D=1e37, z=-60.0),
    "r z of r z σ": near(FROM_COTANGENT, y=1e10, z=-1e30),
    "u λ of dB and of dΔ": near(
        "d delta, d B, d D", delta=1e-20, u=1e25, B=1e-20, D=1e-20, y=1e20, last_state=1e20
    ),
    "B λ of du": near("d u, d delta", delta=1e-20, u=1e-20, B=1e25, y=1e20, last_state=1e20),
    "a λ of λ a h⁻": near(
        "d delta, d A, d initial_state", A=46.0, initial_state=1e-20, y=1e20, last_state=1e20
    ),
    "a of a λ": near(
        f"{FROM_STATE}, d initial_state", A=90.0, initial_state=1e-30, y=1e-10, last_state=1e-10
    ),
    "u B λ of dA": near(FROM_STATE, zoh=True, A=-1e11, delta=1e-10, u=1e25, B=1e20, C=0.0),
}


def call(case: Near) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments and the cotangents, float32."""
    inputs: dict[str, Any] = {
        name: filled(case.inputs.get(name, 1.0), shape) for name, shape in SHAPES.items()
    }
    inputs["b_discretization"] = "zoh" if case.zoh else "euler"
    cotangents = {"y": filled(case.y, (1, 1, 1)), "last_state": filled(case.last_state, (1, 1, 2))}
    return inputs, cotangents


def filled(value: Any, shape: tuple[int, ...]) -> Array:
    """One number everywhere, or one for each state."""
    numbers = np.reshape(value, shape) if np.ndim(value) else np.full(shape, value)
    return numbers.astype(np.float32)


def exact(inputs: dict[str, Any], cotangents: dict[str, Any], arithmetic: Arithmetic) -> dict[str, Bounded]:
    """Outputs and, as "d name", gradients."""
    outputs = selective_scan_bounds(arithmetic=arithmetic, **inputs)
    gradients = selective_scan_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    return outputs | {f"d {name}": bounded for name, bounded in gradients.items()}


def evaluate(inputs: dict[str, Any], cotangents: dict[str, Any], product: Product, **more: Any) -> Any:
    """The same by the kernel."""
    scan = Scan(inputs, cotangents, product, **more)
    return scan.outputs() | {f"d {name}": found for name, found in scan.gradients().items()}


def rejected(found: Mapping[str, Array], allowed: Mapping[str, Bounded]) -> set[str]:
    """The results of which some judged element is outside its bound; NaN is."""
    wrong = set()
    for name, bounded in allowed.items():
        with np.errstate(all="ignore"):
            error = np.abs(found[name].astype(np.float64) - bounded.value)
        if not (error <= bounded.bound + bounded.own)[bounded.judged].all():
            wrong.add(name)
    return wrong


def not_judged(allowed: Mapping[str, Bounded]) -> set[str]:
    """The results of which some element is not judged."""
    return {name for name, bounded in allowed.items() if not bounded.judged.all()}


def not_finite(found: Mapping[str, Array]) -> set[str]:
    return {name for name, array in found.items() if not np.isfinite(array).all()}


@pytest.mark.parametrize("word", CLASSES)
@pytest.mark.parametrize("name", NEAR)
def test_a_product_may_be_taken_in_any_order(name: str, word: Any) -> None:
    case = NEAR[name]
    inputs, cotangents = call(case)
    allowed = exact(inputs, cotangents, Arithmetic(evaluation=word))
    overflowed = set()
    for product in ORDERS:
        found = evaluate(inputs, cotangents, product)
        assert rejected(found, allowed) == set(), product
        overflowed |= not_finite(found)
    assert overflowed
    assert overflowed <= not_judged(allowed) <= case.names


@pytest.mark.parametrize("name", NEAR)
def test_what_no_order_may_overflow_is_judged(name: str) -> None:
    case = NEAR[name]
    inputs, cotangents = call(case)
    allowed = exact(inputs, cotangents, Arithmetic())
    broken = {name: np.full(bounded.value.shape, np.inf) for name, bounded in allowed.items()}
    assert rejected(broken, allowed) == allowed.keys() - case.names


@pytest.mark.parametrize("name", NEAR)
def test_a_step_has_the_range_of_a_scan_of_one(name: str) -> None:
    inputs, cotangents = call(NEAR[name])
    allowed = exact(inputs, cotangents, Arithmetic())
    state = inputs.pop("initial_state")
    step = {key: x[..., 0] if np.ndim(x) == 3 else x for key, x in inputs.items()} | {"state": state}
    given = {"y": cotangents["y"][..., 0], "state": cotangents["last_state"]}
    outputs = selective_state_update_bounds(arithmetic=Arithmetic(), **step)
    gradients = selective_state_update_vjp_bounds(given, arithmetic=Arithmetic(), **step)
    found = not_judged(outputs | {f"d {name}": bounded for name, bounded in gradients.items()})
    renamed = {"state": "last_state", "d state": "d initial_state"}
    assert {renamed.get(name, name) for name in found} == not_judged(allowed)


def test_a_sum_over_times_may_overflow_before_it_cancels() -> None:
    inputs, cotangents = call(near("", delta=1e-30, D=1e-30, C=1e-9, last_state=1e-9))
    signs = np.array([1, 1, 1, 1, -1, -1, -1, -1], np.float32)
    for name in ("u", "delta", "z", "B", "C"):
        inputs[name] = np.repeat(inputs[name], len(signs), axis=-1)
    inputs["u"] *= np.float32(1.6e38) * signs
    cotangents["y"] = np.repeat(cotangents["y"], len(signs), axis=-1)
    allowed = exact(inputs, cotangents, Arithmetic())
    found = evaluate(inputs, cotangents, left)
    assert allowed["d D"].value == 0.0
    assert not_finite(found) == not_judged(allowed) == {"d D"}
    assert rejected(found, allowed) == set()


def test_a_state_within_its_error_of_overflow_may_overflow_for_good() -> None:
    """a h⁻ and b̄u are a half of the range each; a is wrong by 2.5 ulp. What comes later hardly sees it."""
    largest = np.finfo(np.float32).max
    u = np.float32(largest - 2.0**127 - 2.0**104)
    inputs, cotangents = call(near("", initial_state=2.0**127, C=1e-30, D=1e-30))
    for name, pair in {
        "u": (u, 0),
        "delta": (2.0**-30, 50),
        "z": (1, 1),
        "B": (2.0**30, 0),
        "C": (1e-30, 1),
    }.items():
        inputs[name] = np.broadcast_to(np.array(pair, np.float32), (*inputs[name].shape[:2], 2))
    cotangents["y"] = filled(1.0, (1, 1, 2))
    first, second = np.exp(inputs["delta"][0, 0] * inputs["A"][0, 0])
    with np.errstate(over="ignore"):
        source = inputs["delta"][0, 0, 0] * u * inputs["B"][0, 0, 0]
        h = (first * np.float32(1 + 5 * 2.0**-24)) * inputs["initial_state"] + source
        last = second * h
    allowed = exact(inputs, cotangents, Arithmetic(evaluation="sequential"))
    assert np.isinf(last).all()
    assert (allowed["last_state"].value < 1e17).all()
    assert {"y", "last_state"} <= not_judged(allowed)


def test_of_a_conjugate_pair_the_double_may_be_taken_first() -> None:
    """c = 2 q conj(C) is in range; 2q is not."""
    inputs, cotangents = call(near("", y=2e38, C=1e-20, last_state=0.0))
    inputs = {name: x.astype(np.complex64) if name in ("A", "B", "C") else x for name, x in inputs.items()}
    del inputs["z"], inputs["D"], inputs["initial_state"]
    cotangents["last_state"] = cotangents["last_state"].astype(np.complex64)
    allowed = selective_scan_vjp_bounds(cotangents, ["B"], arithmetic=Arithmetic(), **inputs)["B"]
    with np.errstate(over="ignore"):
        assert np.isinf(np.float32(2) * cotangents["y"]).all()
    assert (np.abs(allowed.value) + allowed.bound < 1e19).all()
    assert not allowed.judged.any()


def test_the_factors_above_one_have_the_largest_product() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        factors = 10.0 ** rng.uniform(-2, 2, 5)
        some = [np.prod(part) for k in range(1, 6) for part in combinations(factors, k)]
        bound = reached(Arithmetic(), *factors)
        assert max(some) * (1 + 5 * 2.0**-24) < bound < max(*some, 1.0) * (1 + 1e-6)


def test_a_chunk_takes_the_gradient_of_its_exponents_from_two_sums_that_cancel() -> None:
    """dp = c h − b̄u λ: from no state it is zero, and neither product is."""
    case = near("", u=1e10, y=1e30, initial_state=0.0, last_state=0.0, D=0.0)
    inputs, cotangents = call(case)
    scan = Scan(inputs, cotangents, left)
    with np.errstate(all="ignore"):
        dp = scan.q[..., None] * scan.C * scan.h - scan.step * scan.u * scan.B * scan.adjoint
    found = {"d A": (scan.step * dp).sum((0, 1))}
    assert np.isnan(found["d A"]).all()
    for word, wrong in {"any": set(), "chunk": set(), "sequential": {"d A"}}.items():
        allowed = exact(inputs, cotangents, Arithmetic(evaluation=word))
        assert allowed["d A"].value.tolist() == [[0.0, 0.0]]
        assert rejected(found, {"d A": allowed["d A"]}) == wrong


def test_the_slope_of_the_exact_hold_may_be_taken_by_its_parts() -> None:
    """(uBλ Δa − uBλ φ)/A, as autograd does: Δa overflows where Δ²ψ, a tenth of it, does not."""
    case = near("", zoh=True, A=10.0, delta=5.0, u=1e17, C=1e-20, initial_state=0.0)
    inputs, cotangents = call(case)
    scan = Scan(inputs, cotangents, left)
    with np.errstate(all="ignore"):
        drive = scan.u * scan.B * scan.adjoint
        dA = ((drive * (scan.step * scan.a) - drive * scan.phi) / scan.A).sum((0, 1))
    allowed = exact(inputs, cotangents, Arithmetic(evaluation="scan"))["d A"]
    assert np.isinf(dA).all()
    assert (allowed.value + allowed.bound < np.finfo(np.float32).max).all()
    assert rejected({"d A": dA}, {"d A": allowed}) == set()


def test_the_exact_hold_is_made_of_an_exponential_that_may_overflow() -> None:
    """φ = expm1(p)/A = 10³⁸ for p = 89 and A = 5: expm1(p) has left the range, and so has what it feeds."""
    one = np.ones((1, 1, 1), np.float32)
    inputs = {
        "u": np.float32(1e-10) * one,
        "delta": np.float32(17.9) * one,
        "A": np.float32(5.0) * one[0],
        "B": one,
        "C": one,
        "b_discretization": "zoh",
    }
    with np.errstate(over="ignore"):
        phi = np.expm1(inputs["delta"] * inputs["A"]) / inputs["A"]
    assert np.isinf(phi).all()
    for A, judged in ((5.0, False), (4.9, True)):
        given = inputs | {"A": np.float32(A) * one[0]}
        found = selective_scan_vjp_bounds(
            {"y": one}, ["u", "B"], arithmetic=Arithmetic(evaluation="sequential"), **given
        )
        for bounded in found.values():
            assert (np.abs(bounded.value) + bounded.bound < np.finfo(np.float32).max).all()
            assert bounded.judged.all() == judged


@pytest.mark.parametrize("word", ["sequential", "scan"])  # in a chunk no exponent after it is known
@pytest.mark.parametrize("rule", ["euler", "zoh"])
def test_a_complex_exponent_that_overflows_has_no_angle(rule: str, word: Any) -> None:
    """e^p is 0 for Re p = −10²⁸, but a NaN if it is taken with the cosine of an infinite Im p."""
    one = np.ones((1, 1, 3), np.complex64)
    delta = np.array([[[1e-3, 1e38, 1e-3]]], np.float32)
    inputs: dict[str, Any] = {
        "u": 1e-10 * one.real,
        "delta": delta,
        "B": one,
        "C": one,
        "initial_state": one[..., 0, None],
    }
    inputs["b_discretization"] = rule
    cotangents = {"y": 1e-3 * one.real, "last_state": 1e-3 * one[..., 0, None]}
    for turn, angle in ((1.0, True), (10.0, False)):
        A = np.full((1, 1), -1e-10 + 1j * turn, np.complex64)
        with np.errstate(all="ignore"):
            p = delta[..., 1] * A.real, delta[..., 1] * A.imag
            assert np.isfinite(np.exp(p[0]) * np.cos(p[1])).all() == angle
        allowed = exact(inputs | {"A": A}, cotangents, Arithmetic(evaluation=word))
        judged = {name: bounded.judged.reshape(-1).tolist() for name, bounded in allowed.items()}
        assert judged["y"] == [True, angle, angle]
        assert judged["last_state"] == judged["d initial_state"] == [angle]
        # λ decays into the time before; a hold is of its own time.
        before = [angle, True, True]
        assert judged["d u"] == judged["d B"] == ([angle, angle, True] if rule == "zoh" else before)
        assert judged["d delta"] == [angle] * 3
        assert judged["d C"] == judged["y"]


@pytest.mark.parametrize("is_complex", [False, True])
def test_a_subnormal_mode_may_be_read_as_zero(is_complex: bool) -> None:
    """Then φ is Δ, which is wrong by Δ²A/2: with Δ = 10³⁵, 10⁻³ of itself."""
    delta, A = (
        np.float32(1e35),
        np.float32(1e-38) * np.ones((1, 1), np.complex64 if is_complex else "float32"),
    )
    one = np.ones((1, 1, 1), A.dtype)
    inputs = {"u": one.real, "delta": delta * one.real, "A": A, "B": one, "C": one, "b_discretization": "zoh"}
    allowed = selective_scan_bounds(arithmetic=Arithmetic(evaluation="sequential"), **inputs)["last_state"]
    assert allowed.judged.all()
    assert (np.abs(delta - allowed.value) > 1e-4 * delta).all()
    assert (np.abs(delta - allowed.value) <= allowed.bound).all()
    # A mode that is a normal number has no such excuse.
    normal = selective_scan_bounds(
        arithmetic=Arithmetic(evaluation="sequential"), **inputs | {"A": 100 * A, "delta": 1e33 * one.real}
    )["last_state"]
    assert (normal.bound < 1e-4 * np.abs(normal.value)).all()


def test_a_hold_may_be_multiplied_by_the_inverse_of_its_mode() -> None:
    """expm1(p) (1/A): a mode below 2.9·10⁻³⁹ has no inverse in float32."""
    one = np.ones((1, 1, 1), np.float32)
    inputs = {"u": one, "delta": np.float32(1e30) * one, "B": one, "C": one, "b_discretization": "zoh"}
    for mode, judged in ((2e-39, False), (3e-39, True)):
        A = np.float32(mode) * one[0]
        with np.errstate(over="ignore"):
            assert np.isfinite(np.float32(1) / A).all() == judged
        allowed = exact(inputs | {"A": A}, {"y": one, "last_state": one}, Arithmetic(evaluation="scan"))
        for name in ("y", "last_state", "d u", "d B"):
            assert allowed[name].judged.all() == judged
        discrete = discretize_zoh_bounds(
            arithmetic=Arithmetic(), A=A[0], B=one[0], delta=inputs["delta"][0, 0, 0], diagonal=True
        )
        assert discrete["B_bar"].judged.all() == judged


@pytest.mark.parametrize(("delta", "u"), [(19.0, 1e31), (39.0, 1e22)])
def test_the_slope_of_softplus_may_be_taken_by_its_parts(delta: float, u: float) -> None:
    """(dΔ eˣ)/(eˣ + 1), as PyTorch does: dΔ eˣ overflows where dΔ is far from it.

    Up to x = 20 as it comes; who serves float64 too raises that threshold, to 40.
    """
    inputs, cotangents = call(near("", delta=delta, A=0.0, u=u, C=0.0, initial_state=0.0))
    inputs["delta_softplus"] = True
    grown = np.exp(inputs["delta"])
    with np.errstate(over="ignore"):
        found = (2 * inputs["u"] * grown) / (grown + 1)
    allowed = exact(inputs, cotangents, Arithmetic(evaluation="sequential"))
    assert np.isinf(found).all()
    assert (allowed["d delta"].value < 10 * u).all()
    assert not_judged(allowed) == {"d delta"}
    del inputs["delta_softplus"]
    assert not_judged(exact(inputs, cotangents, Arithmetic(evaluation="sequential"))) == set()


def test_the_square_of_the_step_is_formed_with_its_factor() -> None:
    """∂φ/∂A = Δ²ψ(ΔA) is about 1/A² for a large step; Δ² alone overflows and is wrong."""

    def squared(step: Array, A: Array, p: Array, a: Array, phi: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray((step * step) * ((p * a - a + 1) / p / p))

    inputs, cotangents = call(near("", zoh=True, delta=1e20))
    allowed = exact(inputs, cotangents, Arithmetic(evaluation="scan"))
    assert not_judged(allowed) == set()
    for product in ORDERS:
        assert rejected(evaluate(inputs, cotangents, product), allowed) == set()
        assert rejected(evaluate(inputs, cotangents, product, slope=squared), allowed) == {"d A"}


def test_a_number_that_is_no_factor_has_no_excuse() -> None:
    """Scaled up and down by 2¹²⁰, products of factors of 10⁸ overflow."""

    def scaled(*factors: Array) -> Array:
        scale = np.float32(2.0**120)
        return left(scale * factors[0], *factors[1:]) / scale

    inputs, cotangents = call(near("", u=1e8, D=1e8))
    allowed = exact(inputs, cotangents, Arithmetic())
    assert not_judged(allowed) == set()
    for product in ORDERS:
        assert rejected(evaluate(inputs, cotangents, product), allowed) == set()
    with np.errstate(all="ignore"):
        assert {"y", "last_state", "d D"} <= rejected(evaluate(inputs, cotangents, scaled), allowed)
