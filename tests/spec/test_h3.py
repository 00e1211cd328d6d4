"""H3 against balls, by its two systems run apart, honest float32 within the bound, and slips outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ssm_spec
from ssm_spec import Arithmetic

from . import layer_check as check
from . import lti_exact as exact


def heads(
    rng: np.random.Generator, complex_: bool, b: int, h: int, w: int, length: int, n: int = 2, s: int = 3
) -> dict[str, Any]:
    d = h * w
    return {
        **{name: rng.standard_normal((b, d, length)) for name in ("q", "k", "v")},
        "shift": rng.standard_normal((d, s)),
        "shift_D": rng.standard_normal(d),
        "delta": np.exp(rng.uniform(-3.0, 0.0, h)),
        "A": check.modes(rng, complex_, h, n),
        "B": check.numbers(rng, complex_, h, n),
        "C": check.numbers(rng, complex_, h, n),
        "D": rng.standard_normal(h),
        "out_proj": rng.standard_normal((d + 1, d)),
    }


def definition(q, k, v, shift, shift_D, delta, A, B, C, D, out_proj):
    """The shift system as a recurrence over its states, then each pair of a head by itself."""
    b, d, length = q.shape
    count, n = A.shape
    w, taps = d // count, shift.shape[1]
    paired = any(x.imag != 0 for x in A.reshape(-1))
    down = exact.balls(np.eye(taps, k=-1))
    first = exact.balls(np.eye(taps)[:, :1])
    y, at_rest = exact.balls(np.zeros((b, d, length))), exact.balls(np.zeros((b, n)))
    for head in range(count):
        bars = exact.zoh(A[head], B[head][:, None], np.asarray(delta[head]))
        for i in range(w):
            c = head * w + i
            still, direct = exact.balls(np.zeros((b, taps))), np.array([[shift_D[c]]], dtype=object)
            keys = exact.recurrence(
                down, first, shift[c][None], k[:, c, None, :], direct, still, paired=False
            )["y"][:, 0]
            for j in range(w):
                to = head * w + j
                x, direct = (keys * v[:, to])[:, None, :], np.array([[D[head]]], dtype=object)
                s = exact.recurrence(
                    bars["A_bar"], bars["B_bar"], C[head][None], x, direct, at_rest, paired=paired
                )["y"][:, 0]
                y[:, to] = y[:, to] + q[:, c] * s
    return {"y": np.stack([out_proj @ row for row in y])}


@pytest.mark.parametrize(("h", "w"), [(1, 2), (2, 1)])
@pytest.mark.parametrize(("complex_", "length"), [(True, 1), (True, 4), (False, 4)])
def test_h3_lies_within_its_own_bound(h, w, complex_, length, record_property):
    """(C1) to (C4), values and gradients; the shift as the recurrence that it is."""
    arrays = heads(np.random.default_rng(h), complex_, 1, h, w, length)
    record_property("ratios", check.within_own("h3", definition, arrays, {}, bits=200))


def in_torch(arrays, cotangent):
    """Honest float32 with autograd: shifted sums, then the diagonal system step by step."""
    t = {name: torch.tensor(value, requires_grad=True) for name, value in arrays.items()}
    b, d, length = arrays["q"].shape
    h = len(arrays["A"])
    padded = torch.nn.functional.pad(t["k"], (arrays["shift"].shape[1] - 1, 0))
    taps = arrays["shift"].shape[1]
    keys = sum(
        t["shift"][:, j, None] * padded[..., taps - 1 - j : taps - 1 - j + length] for j in range(taps)
    )
    keys = keys + t["shift_D"][:, None] * t["k"]
    q, keys, v = (x.reshape(b, h, d // h, length) for x in (t["q"], keys, t["v"]))
    x = keys[:, :, :, None] * v[:, :, None]
    p = t["delta"][:, None] * t["A"]
    a, bar = torch.exp(p), torch.expm1(p) / t["A"] * t["B"]
    state = torch.zeros(*x.shape[:-1], p.shape[1], dtype=a.dtype)
    out = []
    for k in range(length):
        state = a[:, None, None] * state + bar[:, None, None] * x[..., k, None]
        out.append((2 if a.is_complex() else 1) * (t["C"][:, None, None] * state).sum(-1).real)
    s = torch.stack(out, -1) + t["D"][:, None, None, None] * x
    y = (q[:, :, :, None] * s).sum(2).reshape(b, d, length)
    y = torch.einsum("od,bdl->bol", t["out_proj"], y)
    (y * torch.tensor(cotangent)).sum().backward()
    return {"y": y.detach().numpy()}, {name: x.grad.resolve_conj().numpy() for name, x in t.items()}


@pytest.mark.parametrize("complex_", [True, False])
def test_an_honest_h3_in_float32_stays_within(complex_, record_property):
    rng = np.random.default_rng(5)
    arrays = heads(rng, complex_, 2, 2, 3, 65, n=4, s=5)
    arrays = {k: v.astype(np.complex64 if np.iscomplexobj(v) else np.float32) for k, v in arrays.items()}
    cotangent = rng.standard_normal((2, 7, 65)).astype(np.float32)
    outputs, slopes = in_torch(arrays, cotangent)
    for a in (check.F32, Arithmetic(evaluation="fft")):
        ratios = check.worst(ssm_spec.h3_bounds(arithmetic=a, **arrays), outputs)
        found = ssm_spec.h3_vjp_bounds({"y": cotangent}, arithmetic=a, **arrays)
        ratios.update({f"d{k}": v for k, v in check.worst(found, slopes).items()})
        record_property(a.evaluation, ratios)
        assert all(ratio <= 1 for ratio in ratios.values()), ratios


def test_slips_leave_the_bound():
    """Keys and values exchanged, the gate left out, channels in the other order, the shift late by one."""
    arrays = heads(np.random.default_rng(5), True, 2, 2, 3, 20)
    del arrays["out_proj"]
    found = ssm_spec.h3_bounds(arithmetic=check.F32, **arrays)["y"]
    order = np.arange(6).reshape(2, 3).T.reshape(-1)
    for change in (
        {"k": arrays["v"], "v": arrays["k"]},
        {"q": np.ones_like(arrays["q"])},
        {name: arrays[name][:, order] for name in ("q", "k", "v")},
        {"shift": np.roll(arrays["shift"], 1, axis=1)},
        {"shift_D": 0 * arrays["shift_D"]},
        {"C": arrays["C"] / 2},
    ):
        wrong = ssm_spec.h3(**{**arrays, **change})
        assert np.any(np.abs(wrong - found.value) > found.bound)


def test_the_future_reaches_nothing():
    arrays = heads(np.random.default_rng(5), True, 1, 2, 2, 9)
    y = ssm_spec.h3(**arrays)
    for name in ("q", "k", "v"):
        later = {**arrays, name: np.concatenate((arrays[name][..., :6], 9 + arrays[name][..., 6:]), axis=-1)}
        np.testing.assert_array_equal(ssm_spec.h3(**later)[..., :6], y[..., :6])


def test_nothing_happens_in_no_time():
    arrays = heads(np.random.default_rng(5), True, 2, 2, 2, 0)
    assert ssm_spec.h3(**arrays).shape == (2, 5, 0)
    assert ssm_spec.h3_bounds(arithmetic=check.F32, **arrays)["y"].value.shape == (2, 5, 0)
    slopes = ssm_spec.h3_vjp_bounds({}, arithmetic=check.F32, **arrays)
    assert not any(np.any(slope.value) for slope in slopes.values())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": np.zeros((2, 4, 6))}, ssm_spec.ShapeError, r"`k` must have shape \(b, d, l\)"),
        ({"shift": np.zeros((4, 0))}, ssm_spec.ShapeError, "`shift` must have s >= 1"),
        ({"delta": np.zeros(4)}, ssm_spec.ShapeError, r"`delta` must have shape \(h,\) with h = 2"),
        ({"out_proj": np.zeros((4, 3))}, ssm_spec.ShapeError, r"`out_proj` must have shape \(o, d\)"),
        ({"A": np.zeros((2, 2))}, ssm_spec.DTypeError, "`B` must be real"),
        ({"discretization": "hold"}, ssm_spec.DomainError, "`discretization` must be one of"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arrays = heads(np.random.default_rng(5), True, 2, 2, 2, 5)
    with pytest.raises(error, match=message):
        ssm_spec.h3(**{**arrays, **change})


def test_heads_divide_the_channels():
    arrays = heads(np.random.default_rng(5), False, 2, 2, 2, 5)
    three = {"A": np.zeros((3, 2)), "B": np.zeros((3, 2)), "C": np.zeros((3, 2)), "delta": np.zeros(3)}
    with pytest.raises(ssm_spec.ShapeError, match=r"`A` must have shape \(h, n\) with h dividing d = 4"):
        ssm_spec.h3(**{**arrays, **three})
