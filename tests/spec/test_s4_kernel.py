"""S4's kernel: dense and by generating function, against balls and LegS itself; honest forms and slips."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic
from ssm_spec._layer import System, discretised, discretised_vjp
from ssm_spec._layer_adjoint import step_error
from ssm_spec._roundoff import ORACLE, Bounded
from ssm_spec._s4_kernel import impulse_response, read_keywords
from ssm_spec._s4_kernel_bounds import _moved_function, _powers, _step_by_step
from ssm_spec._woodbury_errors import woodbury_errors

from . import layer_check as check
from . import lti_exact as exact

F64 = check.F64


def low_rank(rng: np.random.Generator, d: int, n: int) -> dict[str, Any]:
    return {
        "delta": np.exp(rng.uniform(-3.0, 0.0, d)),
        "Lambda": check.modes(rng, True, d, n),
        "P": 0.3 * check.numbers(rng, True, d, n),
        "Q": 0.3 * check.numbers(rng, True, d, n),
        "B": check.numbers(rng, True, d, n),
        "C": check.numbers(rng, True, d, n),
    }


def legs(n: int, d: int, rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
    """LegS with a random real C, and the same C in the basis of Λ, one of each pair kept."""
    Lambda, P, B, V = ssm_spec.hippo_legs_nplr(n)
    C = rng.standard_normal((d, n))
    kept = slice(0, n // 2)
    whole = {"Lambda": Lambda, "P": P, "Q": P, "B": B}
    arrays = {name: np.tile(x[kept], (d, 1)) for name, x in whole.items()}
    return {"delta": np.exp(rng.uniform(-5.0, -2.0, d)), **arrays, "C": (C @ V)[:, kept]}, C


def definition(delta, Lambda, P, Q, B, C, *, length, paired):
    conj = np.vectorize(lambda x: x.conjugate(), otypes=[object])
    if paired:
        Lambda, P, Q, B, C = (np.concatenate((x, conj(x)), axis=-1) for x in (Lambda, P, Q, B, C))
    K = np.empty((len(delta), length), dtype=object)
    for i in range(len(delta)):
        A = np.diag(Lambda[i]) + exact.balls(np.zeros((len(B[i]),) * 2)) - np.outer(P[i], conj(Q[i]))
        bars = exact.bilinear(A, B[i][:, None], np.asarray(delta[i]), 0.5)
        K[i] = exact.kernel(bars["A_bar"], bars["B_bar"], C[i][None], length, paired=False)["K"][0, 0]
    return {"K": K}


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("length", [1, 6])
def test_the_kernel_lies_within_its_own_bound(paired, length, record_property):
    """(C1) to (C3), values and gradients."""
    arrays = low_rank(np.random.default_rng(length), 2, 2)
    options = {"length": length, "paired": paired}
    ratios = check.within_own("s4_kernel", partial(definition, **options), arrays, options)
    record_property("ratios", ratios)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7, 64, 129])
def test_the_generating_function_is_the_dense_kernel(paired, length, record_property):
    """(C4), at odd lengths and at even ones, where −1 is a root of unity."""
    arrays = low_rank(np.random.default_rng(length), 3, 4)
    found = ssm_spec.s4_kernel_bounds(
        arithmetic=Arithmetic(compute="float64", evaluation="fft"), length=length, paired=paired, **arrays
    )["K"]
    K = ssm_spec.s4_kernel(**arrays, length=length, paired=paired, evaluation="generating_function")
    assert np.isrealobj(K) == paired
    ratio = float(np.max(np.abs(K - found.value) / (found.bound + found.own)))
    record_property("units of the bound", ratio)
    assert ratio <= 1.0
    # The bound is of the worst case, and would pass a wrong last digit.
    np.testing.assert_allclose(K, found.value, atol=1e-11 * np.max(np.abs(found.value)))


@pytest.mark.parametrize("n", [4, 64])
def test_it_is_the_kernel_of_legs(n):
    """The normal-plus-low-rank form of LegS has the kernel of LegS."""
    arrays, C = legs(n, 2, np.random.default_rng(n))
    A, B = ssm_spec.hippo_legs(n)
    A_bar, B_bar = ssm_spec.discretize_bilinear(A, B, arrays["delta"])
    wanted = ssm_spec.ssm_kernel(A_bar, B_bar, C[:, None, :], 200)[:, 0, 0]
    for evaluation in ("dense", "generating_function"):
        K = ssm_spec.s4_kernel(**arrays, length=200, paired=True, evaluation=evaluation)
        # A formed from Λ and P is wrong by units of its largest entry, which is n: both forms carry that.
        np.testing.assert_allclose(K, wanted, atol=1e-10 * np.max(np.abs(wanted)))


@pytest.mark.parametrize("length", [64, 2048])
def test_the_own_bound_does_not_grow_where_the_state_does_not(length):
    """LegS in the basis of Λ never makes a vector longer: errors are carried by norm as well.

    Sums of 64 complex products, each part of them 128 real ones, have 181 roundings. 39 units were seen.
    """
    arrays, _ = legs(32, 2, np.random.default_rng(1))
    found = ssm_spec.s4_kernel_bounds(arithmetic=F64, length=length, paired=True, **arrays)["K"]
    size = np.linalg.norm(arrays["B"], axis=-1) * np.linalg.norm(arrays["C"], axis=-1)
    assert np.all(found.own <= 50 * 2.0**-53 * size[:, None])


def in_complex64(delta, Lambda, P, Q, B, C, length):
    """The generating function in single precision, by its own formula, halves kept."""
    mirrored = [np.concatenate((x, x.conj()), axis=-1) for x in (Lambda, P, Q, B, C)]
    Lambda, P, Q, B, C = mirrored
    eye = np.eye(Lambda.shape[-1], dtype=np.complex64)
    A = Lambda[..., None] * eye - P[..., None] * Q.conj()[..., None, :]
    half = delta[:, None, None] / np.float32(2)
    A_bar = np.linalg.solve(eye - half * A, eye + half * A)
    tilde = C - (C[:, None] @ np.linalg.matrix_power(A_bar, length))[:, 0]
    z = np.exp(np.complex64(-2j * np.pi / length) * np.arange(length, dtype=np.float32)).astype(np.complex64)
    c = half[..., 0] * (1 + z)
    D = (1 - z)[:, None] - c[..., None] * Lambda[:, None]
    over = 1 / D
    sums = [np.einsum("dn,dln->dl", x * y, over) for x, y in (
        (tilde, B), (tilde, P), (Q.conj(), B), (Q.conj(), P))]  # fmt: skip
    K = np.fft.ifft(delta[:, None] * (sums[0] - c * sums[1] * sums[2] / (1 + c * sums[3]))).astype(
        np.complex64
    )
    return K.real


def narrow(arrays):
    return {k: v.astype(np.complex64 if np.iscomplexobj(v) else np.float32) for k, v in arrays.items()}


@pytest.mark.parametrize("n", [4, 16, 64])
def test_an_honest_generating_function_in_complex64_stays_within(n, record_property):
    arrays = narrow(legs(n, 3, np.random.default_rng(1))[0])
    found = ssm_spec.s4_kernel_bounds(
        arithmetic=Arithmetic(evaluation="fft"), length=128, paired=True, **arrays
    )
    ratios = check.worst(found, {"K": in_complex64(**arrays, length=128)})
    record_property("ratios", ratios)
    assert ratios["K"] <= 1.0


def test_a_mode_on_a_root_of_unity_is_not_judged_where_rounding_divides_by_zero():
    """λ = −10⁻⁸ + 2i at Δ = 1: D = (1 − ω) − ½(1 + ω)λ is 10⁻⁸ at ω = −i, and zero in float32."""
    one = np.ones((1, 1))
    arrays = {"delta": one[0], "Lambda": (2j - 1e-8) * one, "P": 0j * one, "Q": 0j * one}
    arrays = narrow({**arrays, "B": one + 0j, "C": one + 0j})
    found = ssm_spec.s4_kernel_bounds(
        arithmetic=Arithmetic(evaluation="fft"), length=4, paired=True, **arrays
    )["K"]
    with np.errstate(all="ignore"):
        assert not np.isfinite(in_complex64(**arrays, length=4)).any()
    assert not found.judged.any()
    damped = {**arrays, "Lambda": arrays["Lambda"] - np.float32(0.01)}
    found = ssm_spec.s4_kernel_bounds(
        arithmetic=Arithmetic(evaluation="fft"), length=4, paired=True, **damped
    )
    assert check.worst(found, {"K": in_complex64(**damped, length=4)})["K"] <= 1.0
    assert found["K"].judged.all()


def test_slips_leave_the_bound():
    """Half of the system, Q not conjugated, the low rank added instead of taken away, C̃ forgotten."""
    arrays = low_rank(np.random.default_rng(1), 2, 3)
    options = {"length": 16, "paired": True}
    for a in (check.F32, Arithmetic(evaluation="fft")):
        found = ssm_spec.s4_kernel_bounds(arithmetic=a, **options, **arrays)["K"]
        for change in ({"Q": arrays["Q"].conj()}, {"P": -arrays["P"]}, {"C": arrays["C"].conj()}):
            wrong = ssm_spec.s4_kernel(**{**arrays, **change}, **options)
            assert np.any(np.abs(wrong - found.value) > found.bound)
        half = ssm_spec.s4_kernel(**arrays, length=16).real
        assert np.any(np.abs(half - found.value) > found.bound)


@pytest.mark.parametrize(
    ("pairs", "delta", "facts"),
    [
        *((pairs, 0.1, {}) for pairs in (8, 16, 32)),
        (32, 0.01, {}),
        (8, 0.01, {"evaluation": "fft"}),
        (32, 0.01, {"evaluation": "fft"}),
    ],
)
def test_slips_in_a_kernel_of_legs_are_seen_in_float32(pairs, delta, facts):
    """S4 as it is used: none of these is near what float32 may do, by a recurrence or by the function."""
    arrays, _ = legs(2 * pairs, 1, np.random.default_rng(pairs))
    arrays = narrow(arrays | {"delta": np.array([delta])})
    options = {"length": 64, "paired": True}
    found = ssm_spec.s4_kernel_bounds(arithmetic=Arithmetic(**facts), **options, **arrays)["K"]
    assert np.all(found.judged)
    for name, wrong in slips(arrays, **options).items():
        assert np.max(np.abs(wrong - found.value) / found.bound) > 2, name


def slips(arrays, length, paired):
    """Plausible slips of a kernel of S4 by the generating function, each in float64."""
    longer = ssm_spec.s4_kernel(**arrays, length=2 * length, paired=paired)
    K = longer[:, :length]
    last_pair = np.arange(arrays["P"].shape[-1]) < arrays["P"].shape[-1] - 1
    changed = {
        "the low rank added": {"P": -arrays["P"]},
        "no low rank": {"P": 0 * arrays["P"]},
        "C conjugated": {"C": arrays["C"].conj()},
        "a pair lost from the low rank": {"P": arrays["P"] * last_pair},
        "Δ for ½Δ": {"delta": 2 * arrays["delta"]},
    }
    found = {
        name: ssm_spec.s4_kernel(**(arrays | change), length=length, paired=paired)
        for name, change in changed.items()
    }
    return found | {
        "half of each pair": K / 2,
        "no Δ": K / arrays["delta"][:, None],
        "a lag too many": longer[:, 1 : length + 1],
        "a lag too few": np.concatenate((0 * K[:, :1], K[:, :-1]), axis=-1),
        "C for C − C Āˡ": K + longer[:, length:],
    }


def by_woodbury(call, moved, e_sigma=0.0):
    """Ā and B̄ side by side, each 1/(1 − ½Δλ) `moved` times what it is, and 1 + Σ Q̄p less e_σ."""
    half, n = call.delta[:, None] / 2, call.Lambda.shape[-1]
    d = moved / (1 - half * call.Lambda)
    p, q = half * d * call.P, call.Q.conj() * d
    sigma = 1 + np.sum(call.Q.conj() * p, axis=-1)[:, None, None] - e_sigma
    inverse = d[..., None] * np.eye(n) - p[..., :, None] * q[..., None, :] / sigma
    step = call.delta[:, None, None]
    return inverse @ np.concatenate((np.eye(n) + step * call.A / 2, step * call.B[..., None]), axis=-1)


@pytest.mark.parametrize("pairs", [1, 4, 32])
def test_woodburys_identity_is_granted_what_its_factors_lose(pairs):
    """Quotients wrong by 12 u, and a sum of n products by 2n u, all to one side, spend some of it."""
    arrays, _ = legs(2 * pairs, 2, np.random.default_rng(pairs))
    call = read_keywords(arrays | {"length": 1, "paired": True})
    A_bar, B_bar = discretised(impulse_response(call))
    exact = by_woodbury(call, 1.0)
    # Two ways to the same numbers in float64.
    np.testing.assert_allclose(exact, np.concatenate((A_bar, B_bar), axis=-1), atol=1e-12)
    u, half = 2.0**-24, call.delta[:, None] / 2
    size = np.sum(np.abs(half * call.Q * call.P / (1 - half * call.Lambda)), axis=-1)
    e_sigma = 4 * pairs * u * size[:, None, None]
    granted = np.concatenate(
        woodbury_errors(call, A_bar, B_bar, np.zeros(A_bar.shape), Arithmetic()), axis=-1
    )
    shares = np.abs(by_woodbury(call, 1 + 12 * u, e_sigma) - exact) / granted
    assert 0.15 < np.max(shares) < 1
    found = ssm_spec.s4_kernel_bounds(arithmetic=Arithmetic(), length=1, paired=True, **arrays)["K"]
    least = np.abs(call.C[:, None]) @ granted[..., -1:]
    assert np.all(least[:, 0] <= found.bound)


def matrices(arrays, length):
    """Ā (d, n, n), B̄ (d, n, 1), Āˡ and the rows C Āʲ of unpaired systems."""
    call = read_keywords(arrays | {"length": length})
    A_bar, B_bar = discretised(impulse_response(call))
    return A_bar, B_bar, np.linalg.matrix_power(A_bar, length), _powers(call.C[:, None], A_bar, length)


def test_a_wrong_truncation_is_granted_what_it_does_to_each_term():
    """C̃ + δ is that of C + δ (I − Āˡ)⁻¹, and no δ of that length moves a term further than these do."""
    length, arrays = 9, low_rank(np.random.default_rng(3), 2, 3)
    A_bar, B_bar, power, rows = matrices(arrays, length)
    granted, _ = _moved_function(rows, A_bar, B_bar, power)
    K, rest = ssm_spec.s4_kernel(**arrays, length=length), np.linalg.inv(np.eye(3) - power)
    for j in range(length):
        toward = np.conj(rest @ np.linalg.matrix_power(A_bar, j) @ B_bar)[..., 0]
        moved = toward / np.linalg.norm(toward, axis=-1, keepdims=True)
        C = arrays["C"] + (moved[:, None] @ rest)[:, 0]
        moved_K = ssm_spec.s4_kernel(**(arrays | {"C": C}), length=length)
        # Linear in C: exact but for float64.
        np.testing.assert_allclose((moved_K - K)[:, j], granted[:, j], rtol=1e-9)


def test_a_wrong_root_of_unity_is_granted_the_slope_there():
    length, arrays = 9, low_rank(np.random.default_rng(3), 2, 3)
    A_bar, B_bar, power, rows = matrices(arrays, length)
    _, slope = _moved_function(rows, A_bar, B_bar, power)
    truncated = arrays["C"][:, None] @ (np.eye(3) - power)

    def function(omega):
        return (truncated @ np.linalg.solve(np.eye(3) - omega * A_bar, B_bar))[:, 0, 0]

    for k, omega in enumerate(np.exp(-2j * np.pi * np.arange(length) / length)):
        measured = (function(omega * (1 + 1e-6)) - function(omega * (1 - 1e-6))) / 2e-6
        # A central difference over 2e-6: 1e-12 of its curvature, and float64 over 2e-6.
        np.testing.assert_allclose(np.abs(measured), slope[:, k], rtol=1e-7)


def test_products_of_a_row_are_granted_what_they_reach():
    """Of a turning state E = εI moves C Āˡ by l ε ‖C‖, along itself."""
    length, turning = 11, np.exp(1j * np.array([0.3, 2.0]))
    A_bar, C = np.diag(turning)[None], np.array([[[3.0, 4.0 + 0j]]])
    E = 1e-3 * np.eye(2)[None]
    bars = Bounded(A_bar, E, E, np.ones(A_bar.shape, dtype=bool))
    granted = _step_by_step(bars, _powers(C, A_bar, length), 2, ORACLE)
    # `longest` is a bound on the norm, 2⁻²⁰ of it above.
    np.testing.assert_allclose(granted, length * 1e-3 * 5.0, rtol=1e-5)


def test_a_root_of_unity_is_refused():
    """(C4): λ = 0 makes Ā = 1, which is one."""
    ones = np.ones((1, 1), dtype=complex)
    arrays = {
        "delta": np.array([2.0]),
        "Lambda": 0 * ones,
        "P": 0 * ones,
        "Q": 0 * ones,
        "B": ones,
        "C": ones,
    }
    with pytest.raises(ssm_spec.DomainError, match="`Lambda` must leave every I - omega A_bar"):
        ssm_spec.s4_kernel(**arrays, length=4, evaluation="generating_function")
    np.testing.assert_array_equal(ssm_spec.s4_kernel(**arrays, length=4), 2 * np.ones((1, 4)))


def test_nothing_happens_in_no_time():
    arrays = low_rank(np.random.default_rng(1), 2, 3)
    for evaluation in ("dense", "generating_function"):
        assert ssm_spec.s4_kernel(**arrays, length=0, evaluation=evaluation).shape == (2, 0)
    assert ssm_spec.s4_kernel_bounds(arithmetic=F64, length=0, **arrays)["K"].value.shape == (2, 0)
    slopes = ssm_spec.s4_kernel_vjp_bounds({}, arithmetic=F64, length=0, **arrays)
    assert not any(np.any(slope.value) for slope in slopes.values())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"P": np.zeros((2, 4))}, ssm_spec.ShapeError, r"`P` must have shape \(d, n\)"),
        ({"delta": np.zeros(2, complex)}, ssm_spec.DTypeError, "`delta` must be real"),
        ({"length": -1}, ssm_spec.DomainError, "`length` must be >= 0"),
        ({"length": 1.0}, ssm_spec.DTypeError, "`length` must be an integer"),
        ({"evaluation": "fft"}, ssm_spec.DomainError, "`evaluation` must be one of"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arrays = low_rank(np.random.default_rng(1), 2, 3)
    with pytest.raises(error, match=message):
        ssm_spec.s4_kernel(**{**arrays, "length": 4, **change})


def test_a_slope_of_delta_that_is_a_twentieth_off_is_seen_in_the_modes_of_legs() -> None:
    """By moduli of W⁻ᴴ and A apart the bound was a ninth of the slope."""
    inputs = legs(16, 1, np.random.default_rng(0))[0] | {"delta": np.array([0.01])}
    G = np.random.default_rng(1).standard_normal((1, 70))
    options = {"arithmetic": Arithmetic(compute="float32"), "length": 70, "paired": True}
    found = ssm_spec.s4_kernel_vjp_bounds({"K": G}, ("delta",), **options, **inputs)
    slope = found["delta"]
    assert np.all(slope.judged)
    assert np.all(slope.bound < np.abs(slope.value) / 20)


@pytest.mark.parametrize("rule", ["zoh", "bilinear", "forward_euler", "backward_euler"])
def test_what_is_granted_to_a_slope_of_delta_is_reached(rule: str) -> None:
    """Errors of the cotangents of Ā and B̄, each with the sign that moves the slope up."""
    n, rng = 12, np.random.default_rng(0)
    A, B = (x[None] for x in ssm_spec.hippo_legs(n))
    step, unused = np.array([0.02]), np.zeros((1, 1, n))
    system = System(A, B, unused, None, step, np.zeros((1, 1, 1, 0)), None, rule, False)
    later, before = (discretised(system._replace(delta=step + h)) for h in (1e-6, -1e-6))
    signs = [np.sign(np.round(x - y, 12)) for x, y in zip(later, before, strict=True)]
    G = [rng.standard_normal(x.shape) for x in (A, B)]
    E = [rng.uniform(0.0, 1.0, x.shape) for x in (A, B)]
    wrong = [g + e * s for g, e, s in zip(G, E, signs, strict=True)]
    moved = discretised_vjp(system, *wrong)["delta"] - discretised_vjp(system, *G)["delta"]
    granted = step_error(system, *E, ORACLE)
    assert granted * (1 - 1e-4) <= moved <= granted  # 2⁻²⁰ of what moduli grant is added
