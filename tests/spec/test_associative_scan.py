"""The associative operator: four orders are one function, what each costs, balls, honest forms and slips."""

from __future__ import annotations

from math import ceil, log2
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from . import layer_check as check
from . import lti_exact as exact

ORDERS = ["sequential", "hillis-steele", "blelloch", "chunked"]
KINDS = [(False, False), (False, True), (True, False), (True, True)]


def operands(rng: np.random.Generator, dense: bool, complex_: bool, n: int, length: int) -> dict[str, Any]:
    a = check.numbers(rng, complex_, 2, *((n, n) if dense else (n,)), length)
    return {"a": a * (0.6 / np.sqrt(n) if dense else 0.8), "x": check.numbers(rng, complex_, 2, n, length)}


def definition(a, x):
    h = np.empty(x.shape, dtype=object)
    for s in range(len(x)):
        state = exact.balls(np.zeros(x.shape[1]))
        for t in range(x.shape[-1]):
            now = a[s, ..., t]
            state = (now @ state if now.ndim == 2 else now * state) + x[s, :, t]
            h[s, :, t] = state
    return {"h": h}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("dense", "complex_"), KINDS)
@pytest.mark.parametrize("length", [1, 2, 7])
def test_every_order_lies_within_its_own_bound(order, dense, complex_, length, record_property):
    """(C1) to (C3), values and gradients."""
    arrays = operands(np.random.default_rng(length), dense, complex_, 2, length)
    options = {"evaluation": order, "chunk": 3}
    record_property("ratios", check.within_own("ssm_associative_scan", definition, arrays, options))


@pytest.mark.parametrize("order", ORDERS[1:])
@pytest.mark.parametrize(("dense", "complex_"), KINDS)
@pytest.mark.parametrize("length", [1, 2, 3, 5, 64, 257])
def test_the_orders_are_one_function(order, dense, complex_, length, record_property):
    """(C2): they agree within the bound of float64, forwards from any bracketing."""
    arrays = operands(np.random.default_rng(length), dense, complex_, 3, length)
    found = ssm_spec.ssm_associative_scan_bounds(
        arithmetic=Arithmetic(compute="float64", evaluation="scan"), **arrays
    )["h"]
    h = ssm_spec.ssm_associative_scan(**arrays, evaluation=order, chunk=7)
    ratio = float(np.max(np.abs(h - found.value) / (found.bound + found.own)))
    record_property("units of the bound", ratio)
    assert ratio <= 1.0


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 100, 1000])
def test_work_and_depth(length):
    cost = {order: ssm_spec.ssm_associative_scan_cost(length, order, chunk=16) for order in ORDERS}
    levels, chunks = ceil(log2(length)), -(-length // 16)
    assert (cost["sequential"].work, cost["sequential"].depth) == (length - 1, length - 1)
    assert cost["hillis-steele"].work == sum(length - 2**k for k in range(levels))
    assert cost["hillis-steele"].depth == levels
    assert cost["blelloch"].work < 2 * length
    assert cost["blelloch"].depth <= max(2 * levels - 1, 0)
    assert cost["chunked"].work == (length - chunks) + max(length - 16, 0)
    assert cost["chunked"].depth <= 15 + chunks - 1
    assert ssm_spec.ssm_associative_scan_cost(0, "blelloch") == ssm_spec.ScanCost(0, 0)


def in_float32(a, x, order):
    """Honest forms: in time order, doubling, and cumulative products in chunks joined by a carry."""
    if order == "steps":
        h = [x[..., 0]]
        for t in range(1, x.shape[-1]):
            h.append(a[..., t] * h[-1] + x[..., t])
        return np.stack(h, axis=-1)
    a, h, shift = a.copy(), x.copy(), 1
    while shift < x.shape[-1]:
        h[..., shift:] = a[..., shift:] * h[..., :-shift] + h[..., shift:]
        a[..., shift:] = a[..., shift:] * a[..., :-shift]
        shift *= 2
    return h


@pytest.mark.parametrize("order", ["steps", "doubling"])
@pytest.mark.parametrize("complex_", [False, True])
def test_honest_scans_in_float32_stay_within(complex_, order, record_property):
    arrays = operands(np.random.default_rng(4), False, complex_, 5, 300)
    arrays = {k: v.astype(np.complex64 if complex_ else np.float32) for k, v in arrays.items()}
    found = ssm_spec.ssm_associative_scan_bounds(arithmetic=check.F32, **arrays)
    ratios = check.worst(found, {"h": in_float32(**arrays, order=order)})
    record_property("ratios", ratios)
    assert ratios["h"] <= 1.0


def test_slips_leave_the_bound():
    """(C1), (C3): operands exchanged, matrices on the wrong side, an exclusive scan."""
    arrays = operands(np.random.default_rng(4), True, False, 3, 9)
    found = ssm_spec.ssm_associative_scan_bounds(arithmetic=check.F32, **arrays)["h"]
    transposed = {**arrays, "a": np.swapaxes(arrays["a"], 1, 2)}
    exclusive = np.concatenate((np.zeros((2, 3, 1)), found.value[..., :-1]), axis=-1)
    backwards = {k: v[..., ::-1] for k, v in arrays.items()}
    for wrong in (
        ssm_spec.ssm_associative_scan(**transposed),
        exclusive,
        ssm_spec.ssm_associative_scan(**backwards)[..., ::-1],
    ):
        assert np.any(np.abs(wrong - found.value) > found.bound)


@pytest.mark.parametrize("order", ORDERS)
def test_nothing_happens_in_no_time(order):
    empty = np.zeros((2, 3, 0))
    assert ssm_spec.ssm_associative_scan(empty, empty, order).shape == (2, 3, 0)
    slopes = ssm_spec.ssm_associative_scan_vjp_bounds({}, arithmetic=check.F32, a=empty, x=empty)
    assert {slope.value.shape for slope in slopes.values()} == {(2, 3, 0)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"a": np.zeros((2, 3, 4))},
            ssm_spec.ShapeError,
            r"`a` must have shape \(\*s, n, l\) = \(2, 3, 5\) or",
        ),
        ({"x": np.zeros(5)}, ssm_spec.ShapeError, r"`x` must have shape \(\*s, n, l\)"),
        ({"x": np.zeros((2, 3, 5), int)}, ssm_spec.DTypeError, "`x` must hold floating-point numbers"),
        ({"evaluation": "tree"}, ssm_spec.DomainError, "`evaluation` must be one of"),
        ({"chunk": 0}, ssm_spec.DomainError, "`chunk` must be >= 1"),
        ({"chunk": 2.0}, ssm_spec.DTypeError, "`chunk` must be an integer"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        ssm_spec.ssm_associative_scan(**{"a": np.zeros((2, 3, 5)), "x": np.zeros((2, 3, 5)), **change})


@pytest.mark.parametrize(("length", "error"), [(-1, ssm_spec.DomainError), (2.0, ssm_spec.DTypeError)])
def test_a_length_is_a_whole_number(length, error):
    with pytest.raises(error, match="`length` must be"):
        ssm_spec.ssm_associative_scan_cost(length)
