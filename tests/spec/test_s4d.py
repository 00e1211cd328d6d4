"""S4D: kernel and recurrence against balls, honest float32 forms within, slips outside, and its speed."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import ssm_spec
from ssm_spec import Arithmetic

from . import layer_check as check
from . import lti_exact as exact

F32, F64 = check.F32, check.F64
AXES = {"u": 1, "initial_state": 1, "y": 1, "last_state": 1}
KINDS = [
    (True, "zoh"),
    (False, "zoh"),
    (True, "bilinear"),
    (False, "backward_euler"),
    (True, "forward_euler"),
]
ALPHA = {"bilinear": 0.5, "backward_euler": 1.0, "forward_euler": 0.0}


def discretised(A: Any, B: Any, delta: Any, rule: str) -> dict[str, Any]:
    arguments = (A, B[:, None], np.asarray(delta))
    return exact.zoh(*arguments) if rule == "zoh" else exact.bilinear(*arguments, ALPHA[rule])


def one_kernel(delta, A, B, C, *, rule, length, paired):
    bars = discretised(A, B, delta, rule)
    return {"K": exact.kernel(bars["A_bar"], bars["B_bar"], C[None], length, paired=paired)["K"][0, 0]}


def one_layer(u, delta, A, B, C, D, initial_state, *, rule, paired):
    bars = discretised(A, B, delta, rule)
    direct = np.asarray(D).reshape(1, 1)
    found = exact.recurrence(
        bars["A_bar"], bars["B_bar"], C[None], u[:, None, :], direct, initial_state, paired=paired
    )
    return {"y": found["y"][:, 0], "last_state": found["last_state"]}


def layer(rng: np.random.Generator, complex_: bool, b: int, d: int, n: int, length: int) -> dict[str, Any]:
    return {
        "u": rng.standard_normal((b, d, length)),
        "delta": np.exp(rng.uniform(-4.0, 0.0, d)),
        "A": check.modes(rng, complex_, d, n),
        "B": check.numbers(rng, complex_, d, n),
        "C": check.numbers(rng, complex_, d, n),
        "D": rng.standard_normal(d),
        "initial_state": check.numbers(rng, complex_, b, d, n),
    }


def kernel_of(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: arrays[name] for name in ("delta", "A", "B", "C")}


@pytest.mark.parametrize(("complex_", "rule"), KINDS)
@pytest.mark.parametrize("length", [1, 7])
def test_the_kernel_lies_within_its_own_bound(complex_, rule, length, record_property):
    """(C1), (C3) of s4d_kernel."""
    arrays = kernel_of(layer(np.random.default_rng(length), complex_, 1, 2, 3, 1))
    one = partial(one_kernel, rule=rule, length=length, paired=complex_)
    options = {"length": length, "discretization": rule}
    ratios = check.within_own("s4d_kernel", check.per_channel(one, (), {}), arrays, options)
    record_property("ratios", ratios)


@pytest.mark.parametrize(("complex_", "rule"), KINDS)
@pytest.mark.parametrize("length", [1, 5])
def test_the_layer_lies_within_its_own_bound(complex_, rule, length, record_property):
    """(C1) to (C4) of s4d."""
    arrays = layer(np.random.default_rng(length), complex_, 2, 2, 2, length)
    one = partial(one_layer, rule=rule, paired=complex_)
    options = {"discretization": rule}
    ratios = check.within_own("s4d", check.per_channel(one, (), AXES), arrays, options)
    record_property("ratios", ratios)


def test_the_last_of_many_terms_is_right_too():
    """j up to 3000: a power through a rounded ā would be wrong by thousands of units."""
    arrays = kernel_of(layer(np.random.default_rng(0), True, 1, 1, 2, 1))
    arrays["A"] = np.array([[-1e-3 + 900.0j, -1e-2 + 31.4j]])
    found = ssm_spec.s4d_kernel_bounds(arithmetic=F64, length=3001, **arrays)["K"]
    with exact.precision(300):
        exactly = {name: exact.balls(value) for name, value in arrays.items()}
        step = exactly["delta"][0] * exactly["A"][0]
        b = [(x.exp() - 1) / y * z for x, y, z in zip(step, exactly["A"][0], exactly["B"][0], strict=True)]
        last = sum(c * x * (3000 * p).exp() for c, x, p in zip(exactly["C"][0], b, step, strict=True))
        error = float(abs(2 * last.real - float(found.value[0, -1])).upper())
    assert error <= found.own[0, -1] <= 2.0**-44 * np.max(np.abs(found.value))


def kernel_in_float32(delta, A, B, C, length, form):
    """Three ways that are in use: exponentials of jΔλ, powers by repeated products, the recurrence."""
    real, kind = np.float32, np.complex64 if np.iscomplexobj(A) else np.float32
    step = (delta[:, None].astype(real) * A.astype(kind)).astype(kind)
    weights = (C.astype(kind) * B.astype(kind) * np.expm1(step).astype(kind) / A.astype(kind)).astype(kind)
    if form == "exponentials":
        table = np.exp(step[..., None] * np.arange(length, dtype=real))
    else:
        steps = np.repeat(np.exp(step)[..., None], length, axis=-1)
        steps[..., 0] = 1
        table = np.cumprod(steps, axis=-1, dtype=kind)
    K = np.einsum("dn,dnl->dl", weights, table.astype(kind))
    return 2 * K.real if np.iscomplexobj(A) else K


@pytest.mark.parametrize("form", ["exponentials", "products"])
@pytest.mark.parametrize("complex_", [True, False])
def test_honest_kernels_in_float32_stay_within(complex_, form, record_property):
    arrays = {k: v.astype(np.complex64 if np.iscomplexobj(v) else np.float32) for k, v in kernel_of(
        layer(np.random.default_rng(3), complex_, 1, 5, 16, 1)).items()}  # fmt: skip
    found = ssm_spec.s4d_kernel_bounds(arithmetic=F32, length=700, **arrays)
    ratios = check.worst(found, {"K": kernel_in_float32(**arrays, length=700, form=form)})
    record_property("ratios", ratios)
    assert ratios["K"] <= 1.0


def in_torch(arrays, cotangent, form, discretization="zoh"):
    """The layer in float32 by torch, with autograd: step by step, or kernel and transforms."""
    t = {k: torch.tensor(v, requires_grad=True) for k, v in arrays.items()}
    p = t["delta"][:, None] * t["A"]
    if discretization == "zoh":
        a, b = torch.exp(p), torch.expm1(p) / t["A"] * t["B"]
    else:
        a, b = (1 + p / 2) / (1 - p / 2), t["delta"][:, None] * t["B"] / (1 - p / 2)
    gamma, length = (2.0 if t["A"].is_complex() else 1.0), arrays["u"].shape[-1]
    if form == "steps":
        h, out = t["initial_state"], []
        for k in range(length):
            h = a * h + b * t["u"][..., k, None]
            out.append(gamma * (t["C"] * h).sum(-1).real)
        y = torch.stack(out, -1)
    else:
        powers = a[..., None] ** torch.arange(length)
        K = gamma * torch.einsum("dn,dnl->dl", t["C"] * b, powers).real
        y = torch.fft.irfft(torch.fft.rfft(K, 2 * length) * torch.fft.rfft(t["u"], 2 * length), 2 * length)[
            ..., :length
        ]
        y = y + gamma * torch.einsum("bdn,dnl->bdl", t["initial_state"] * t["C"], powers * a[..., None]).real
    y = y + t["D"][:, None] * t["u"]
    (y * torch.tensor(cotangent)).sum().backward()
    return {"y": y.detach().numpy()}, {k: v.grad.resolve_conj().numpy() for k, v in t.items()}


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@pytest.mark.parametrize("form", ["steps", "transforms"])
@pytest.mark.parametrize("complex_", [True, False])
def test_honest_layers_in_float32_stay_within(complex_, form, rule, record_property):
    rng = np.random.default_rng(11)
    arrays = layer(rng, complex_, 2, 3, 8, 129)
    arrays["delta"] = np.exp(rng.uniform(-3.0, -1.0, 3))
    arrays = {k: v.astype(np.complex64 if np.iscomplexobj(v) else np.float32) for k, v in arrays.items()}
    cotangent = rng.standard_normal((2, 3, 129)).astype(np.float32)
    outputs, slopes = in_torch(arrays, cotangent, form, rule)
    a = Arithmetic(evaluation="fft" if form == "transforms" else "any")
    values = ssm_spec.s4d_bounds(arithmetic=a, **arrays, discretization=rule)
    gradients = ssm_spec.s4d_vjp_bounds({"y": cotangent}, arithmetic=a, **arrays, discretization=rule)
    ratios = {
        **check.worst(values, outputs),
        **{f"d{k}": v for k, v in check.worst(gradients, slopes).items()},
    }
    record_property("ratios", ratios)
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


def test_kernel_and_convolution_are_the_layer(record_property):
    """(C2) of s4d_kernel: with no initial state, y = K * u + D u, within a few units of the bound."""
    arrays = layer(np.random.default_rng(5), True, 2, 3, 4, 65)
    del arrays["initial_state"]
    found = ssm_spec.s4d_bounds(arithmetic=F64, **arrays)["y"]
    K = ssm_spec.s4d_kernel(length=65, **kernel_of(arrays))
    y = ssm_spec.causal_convolution(arrays["u"], K) + arrays["D"][:, None] * arrays["u"]
    ratio = float(np.max(np.abs(y - found.value) / (found.bound + found.own)))
    record_property("units of the bound", ratio)
    assert ratio <= 1.0


SLIPS = {
    "not doubled": lambda y, K, u: y / 2,
    "late by one": lambda y, K, u: np.concatenate((np.zeros_like(y[..., :1]), y[..., :-1]), axis=-1),
    "circular": lambda y, K, u: np.fft.irfft(np.fft.rfft(K, 64) * np.fft.rfft(u), 64),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_leave_the_bound(slip):
    arrays = layer(np.random.default_rng(5), True, 2, 3, 4, 64)
    arrays = {k: v for k, v in arrays.items() if k not in ("D", "initial_state")}
    a = Arithmetic(evaluation="fft")
    found = ssm_spec.s4d_bounds(arithmetic=a, **arrays)["y"]
    K = ssm_spec.s4d_kernel(length=64, **kernel_of(arrays))
    wrong = SLIPS[slip](found.value, K, arrays["u"])
    assert np.any(np.abs(wrong - found.value) > found.bound + found.own)


def test_euler_for_zero_order_hold_leaves_the_bound():
    """b̄ = ΔB instead of the hold, and a bilinear ā."""
    arrays = kernel_of(layer(np.random.default_rng(5), True, 1, 3, 4, 1))
    found = ssm_spec.s4d_kernel_bounds(arithmetic=F32, length=9, **arrays)["K"]
    other = ssm_spec.s4d_kernel(**arrays, length=9, discretization="bilinear")
    assert np.any(np.abs(other - found.value) > found.bound)


def test_nothing_happens_in_no_time():
    """(C5) of s4d."""
    arrays = layer(np.random.default_rng(5), True, 2, 3, 4, 0)
    y, last = ssm_spec.s4d(**arrays, return_last_state=True)
    assert y.shape == (2, 3, 0)
    np.testing.assert_array_equal(last, arrays["initial_state"])
    slopes = ssm_spec.s4d_vjp({"last_state": last}, **arrays)
    np.testing.assert_array_equal(slopes["initial_state"], last)
    assert not any(np.any(slope) for name, slope in slopes.items() if name != "initial_state")
    bounds = ssm_spec.s4d_bounds(arithmetic=Arithmetic(evaluation="fft"), **arrays)
    assert bounds["y"].value.shape == (2, 3, 0)
    assert ssm_spec.s4d_kernel(**kernel_of(arrays), length=0).shape == (3, 0)
    slopes = ssm_spec.s4d_kernel_vjp({"K": np.zeros((3, 0))}, **kernel_of(arrays), length=0)
    assert not any(np.any(slope) for slope in slopes.values())
    assert ssm_spec.s4d_kernel_bounds(arithmetic=F32, **kernel_of(arrays), length=0)["K"].value.shape == (
        3,
        0,
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"A": np.zeros((2, 4))}, ssm_spec.ShapeError, r"`A` must have shape \(d, n\) with d = 3, from `u`"),
        ({"B": np.zeros((3, 4), complex)}, ssm_spec.DTypeError, "`B` must be real"),
        ({"D": np.zeros(2)}, ssm_spec.ShapeError, r"`D` must have shape \(d,\)"),
        ({"delta": np.zeros((3, 1))}, ssm_spec.ShapeError, r"`delta` must have shape \(d,\)"),
        ({"discretization": "tustin"}, ssm_spec.DomainError, "`discretization` must be one of"),
        ({"initial_state": np.zeros((1, 3, 4))}, ssm_spec.ShapeError, "`initial_state` must have shape"),
        ({"u": np.zeros((2, 3, 4), int)}, ssm_spec.DTypeError, "`u` must hold floating-point numbers"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arrays = layer(np.random.default_rng(5), False, 2, 3, 4, 5)
    with pytest.raises(error, match=message):
        ssm_spec.s4d(**{**arrays, **change})


@pytest.mark.parametrize(("length", "error"), [(-1, ssm_spec.DomainError), (2.0, ssm_spec.DTypeError)])
def test_a_length_is_a_whole_number(length, error):
    arrays = kernel_of(layer(np.random.default_rng(5), False, 2, 3, 4, 5))
    with pytest.raises(error, match="`length` must be"):
        ssm_spec.s4d_kernel(**arrays, length=length)


def test_the_kernel_is_fast(record_property):
    """n = 64 (32 modes kept), d = 256, l = 16384, in less than a second of one processor; 0.4 s when idle."""
    rng = np.random.default_rng(0)
    A, B = ssm_spec.s4d_lin(64)
    arrays = {
        "delta": np.exp(rng.uniform(-7, -2, 256)),
        "A": np.tile(A, (256, 1)),
        "B": np.tile(B, (256, 1)),
        "C": check.numbers(rng, True, 256, 32),
    }
    ssm_spec.s4d_kernel(**arrays, length=16)
    tries: list[float] = []
    while (
        len(tries) < 3 and min(tries, default=3.0) >= 3.0
    ):  # another chance where neighbours hold the memory
        start = time.process_time()
        K = ssm_spec.s4d_kernel(**arrays, length=16384)
        tries.append(time.process_time() - start)
    record_property("seconds", tries)
    assert K.shape == (256, 16384)
    assert min(tries) < 3.0
