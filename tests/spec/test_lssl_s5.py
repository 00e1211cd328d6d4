"""LSSL and S5 against balls, honest float32 forms within their bounds, and slips outside."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from . import layer_check as check
from . import lti_exact as exact

F32 = check.F32
ALPHA = {"bilinear": 0.5, "backward_euler": 1.0, "forward_euler": 0.0}
AXES = {"u": 1, "initial_state": 1, "y": 1, "last_state": 1}


def channel(u, delta, A, B, C, D, initial_state, *, rule):
    """One channel of an LSSL."""
    step = np.asarray(delta)
    bars = (
        exact.zoh(A, B[:, None], step) if rule == "zoh" else exact.bilinear(A, B[:, None], step, ALPHA[rule])
    )
    return exact.recurrence(
        bars["A_bar"], bars["B_bar"], C, u[:, None, :], D[:, None], initial_state, paired=False
    )


def mimo(u, delta, A, B, C, D, initial_state, *, rule, paired):
    """S5: the hold of each mode over its own step."""
    rows = []
    for i in range(len(A)):
        one = (A[i : i + 1], B[i : i + 1], np.asarray(delta[i]))
        rows.append(exact.zoh(*one) if rule == "zoh" else exact.bilinear(*one, ALPHA[rule]))
    A_bar, B_bar = (np.concatenate([row[name] for row in rows]) for name in ("A_bar", "B_bar"))
    direct = np.diag(D) + exact.balls(np.zeros((len(D), len(D))))
    return exact.recurrence(A_bar, B_bar, C, u, direct, initial_state, paired=paired)


def stacked(rng: np.random.Generator, b: int, d: int, n: int, m: int, length: int) -> dict[str, Any]:
    A, B = ssm_spec.hippo_legs(n)
    return {
        "u": rng.standard_normal((b, d, length)),
        "delta": np.exp(rng.uniform(-4.0, -2.0, d)),
        "A": A * rng.uniform(0.5, 1.5, (d, 1, 1)),
        "B": np.broadcast_to(B[:, 0], (d, n)) * rng.uniform(0.5, 1.5, (d, n)),
        "C": rng.standard_normal((d, m, n)),
        "D": rng.standard_normal((d, m)),
        "initial_state": rng.standard_normal((b, d, n)),
    }


def wide(rng: np.random.Generator, complex_: bool, b: int, h: int, p: int, length: int) -> dict[str, Any]:
    return {
        "u": rng.standard_normal((b, h, length)),
        "delta": np.exp(rng.uniform(-4.0, 0.0, p)),
        "A": check.modes(rng, complex_, p),
        "B": check.numbers(rng, complex_, p, h),
        "C": check.numbers(rng, complex_, h, p),
        "D": rng.standard_normal(h),
        "initial_state": check.numbers(rng, complex_, b, p),
    }


@pytest.mark.parametrize("rule", ["bilinear", "zoh", "backward_euler"])
@pytest.mark.parametrize("length", [1, 5])
def test_lssl_lies_within_its_own_bound(rule, length, record_property):
    """(C1) to (C3) of lssl."""
    arrays = stacked(np.random.default_rng(length), 2, 2, 3, 2, length)
    function = check.per_channel(partial(channel, rule=rule), (), AXES)
    record_property("ratios", check.within_own("lssl", function, arrays, {"discretization": rule}))


@pytest.mark.parametrize(("complex_", "rule"), [(True, "zoh"), (False, "zoh"), (True, "bilinear")])
@pytest.mark.parametrize("length", [1, 5])
def test_s5_lies_within_its_own_bound(complex_, rule, length, record_property):
    """(C1) to (C4) of s5."""
    arrays = wide(np.random.default_rng(length), complex_, 2, 3, 2, length)
    function = partial(mimo, rule=rule, paired=complex_)
    record_property("ratios", check.within_own("s5", function, arrays, {"discretization": rule}))


def narrow(arrays: dict[str, Any]) -> dict[str, Any]:
    return {k: v.astype(np.complex64 if np.iscomplexobj(v) else np.float32) for k, v in arrays.items()}


def lssl_in_float32(u, delta, A, B, C, D, initial_state):
    eye = np.eye(A.shape[-1], dtype=np.float32)
    half = delta[:, None, None] * A / 2
    A_bar = np.linalg.solve(eye - half, eye + half)
    B_bar = np.linalg.solve(eye - half, (delta[:, None] * B)[..., None])
    h, out = initial_state, []
    for k in range(u.shape[-1]):
        h = (A_bar @ h[..., None] + B_bar * u[:, :, k, None, None])[..., 0]
        out.append((C @ h[..., None])[..., 0] + D * u[:, :, k, None])
    return {"y": np.stack(out, axis=-1), "last_state": h}


def test_an_honest_lssl_in_float32_stays_within(record_property):
    arrays = narrow(stacked(np.random.default_rng(2), 2, 3, 16, 2, 150))
    ratios = check.worst(ssm_spec.lssl_bounds(arithmetic=F32, **arrays), lssl_in_float32(**arrays))
    record_property("ratios", ratios)
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


def s5_in_float32(u, delta, A, B, C, D, initial_state):
    """By the associative scan, in a balanced tree, as S5 does."""
    a = np.exp(delta * A)
    b = (np.expm1(delta * A) / A)[:, None] * B
    decay = np.repeat(a[:, None], u.shape[-1], axis=-1)
    added = np.einsum("ph,bhl->bpl", b, u)
    added[..., 0] += a * initial_state
    shift = 1
    while shift < u.shape[-1]:
        added[..., shift:] = decay[..., shift:] * added[..., :-shift] + added[..., shift:]
        decay = np.concatenate((decay[..., :shift], decay[..., shift:] * decay[..., :-shift]), axis=-1)
        shift *= 2
    y = np.einsum("hp,bpl->bhl", C, added)
    return {"y": (2 if np.iscomplexobj(A) else 1) * y.real + D[:, None] * u, "last_state": added[..., -1]}


@pytest.mark.parametrize("complex_", [True, False])
def test_an_honest_parallel_s5_in_float32_stays_within(complex_, record_property):
    arrays = narrow(wide(np.random.default_rng(2), complex_, 2, 3, 8, 150))
    ratios = check.worst(ssm_spec.s5_bounds(arithmetic=F32, **arrays), s5_in_float32(**arrays))
    record_property("ratios", ratios)
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


@pytest.mark.parametrize("order", ["sequential", "hillis-steele", "blelloch", "chunked"])
@pytest.mark.parametrize("complex_", [True, False])
def test_s5_is_the_associative_scan_in_any_order(order, complex_, record_property):
    """(ā, b̄ u_k) scanned, read by C: S5's own way to compute it, in units of the bound of float64."""
    arrays = wide(np.random.default_rng(3), complex_, 2, 3, 4, 130)
    A, B = arrays["A"][:, None], arrays["B"][:, None]
    A_bar, B_bar = ssm_spec.discretize_zoh(A, B, arrays["delta"], diagonal=True)
    x = B_bar[:, 0] @ arrays["u"].astype(A_bar.dtype)
    x[..., 0] += A_bar[:, 0] * arrays["initial_state"]
    h = ssm_spec.ssm_associative_scan(np.broadcast_to(A_bar, x.shape), x, order, chunk=16)
    y = (2.0 if complex_ else 1.0) * (arrays["C"] @ h).real + arrays["D"][:, None] * arrays["u"]
    found = ssm_spec.s5_bounds(arithmetic=Arithmetic(compute="float64", evaluation="scan"), **arrays)
    ratios = check.worst(found, {"y": y, "last_state": h[..., -1]})
    record_property("units of the bound", ratios)
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


def test_slips_leave_the_bound():
    """Another rule for LSSL; one step for all modes, D as a mixing matrix, and no doubling for S5."""
    arrays = stacked(np.random.default_rng(2), 2, 3, 8, 2, 20)
    found = ssm_spec.lssl_bounds(arithmetic=F32, **arrays)["y"]
    other = ssm_spec.lssl(**arrays, discretization="zoh")
    assert np.any(np.abs(other - found.value) > found.bound + found.own)
    arrays = wide(np.random.default_rng(2), True, 2, 3, 8, 20)
    found = ssm_spec.s5_bounds(arithmetic=F32, **arrays)["y"]
    mixed = found.value + np.roll(arrays["D"][:, None] * arrays["u"], 1, axis=1)
    for wrong in (
        ssm_spec.s5(**{**arrays, "delta": np.full(8, np.mean(arrays["delta"]))}),
        mixed,
        found.value / 2,
    ):
        assert np.any(np.abs(wrong - found.value) > found.bound + found.own)


@pytest.mark.parametrize("fft", [False, True])
def test_nothing_happens_in_no_time(fft):
    """(C4) of lssl, (C5) of s5."""
    a = Arithmetic(evaluation="fft") if fft else F32
    rng = np.random.default_rng(0)
    for op, arrays, shape in (
        ("lssl", stacked(rng, 2, 3, 4, 2, 0), (2, 3, 2, 0)),
        ("s5", wide(rng, True, 2, 3, 4, 0), (2, 3, 0)),
    ):
        reference = ssm_spec.REFERENCES[op]
        y, last = reference.value(**arrays, return_last_state=True)
        assert y.shape == shape
        np.testing.assert_array_equal(last, arrays["initial_state"])
        assert reference.bounds(arithmetic=a, **arrays)["y"].value.shape == shape
        slopes = reference.vjp_bounds({"last_state": last}, arithmetic=a, **arrays)
        np.testing.assert_array_equal(slopes["initial_state"].value, last)


@pytest.mark.parametrize(
    ("op", "change", "error", "message"),
    [
        ("lssl", {"A": np.zeros((3, 4, 5))}, ssm_spec.ShapeError, r"`A` must have shape \(d, n, n\)"),
        ("lssl", {"A": np.zeros((3, 4, 4), complex)}, ssm_spec.DTypeError, "`A` must be real"),
        ("lssl", {"C": np.zeros((3, 4))}, ssm_spec.ShapeError, r"`C` must have shape \(d, m, n\)"),
        ("lssl", {"discretization": None}, ssm_spec.DomainError, "`discretization` must be one of"),
        ("s5", {"delta": np.zeros(3)}, ssm_spec.ShapeError, r"`delta` must have shape \(p,\) with p = 4"),
        ("s5", {"D": np.zeros((3, 3))}, ssm_spec.ShapeError, r"`D` must have shape \(h,\)"),
        ("s5", {"A": np.zeros(4)}, ssm_spec.DTypeError, "`B` must be real"),
        ("s5", {"initial_state": np.zeros((2, 3))}, ssm_spec.ShapeError, "`initial_state` must have shape"),
    ],
)
def test_bad_arguments_are_named(op, change, error, message):
    rng = np.random.default_rng(0)
    arrays = stacked(rng, 2, 3, 4, 2, 5) if op == "lssl" else wide(rng, True, 2, 3, 4, 5)
    with pytest.raises(error, match=message):
        ssm_spec.REFERENCES[op].value(**{**arrays, **change})
