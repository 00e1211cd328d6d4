"""What an error of one argument does to the scan inside a block: the bound holds, and is near."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic
from ssm_spec._functions import sigmoid
from ssm_spec._gate_errors import silu_error, silu_slope_error
from ssm_spec._mamba._perturbed import Perturbation, perturbed_scan
from ssm_spec._mamba._perturbed_adjoint import perturbed_gradients
from ssm_spec._selective_scan._adjoint import Cotangents
from ssm_spec._selective_scan._inputs import Scan, read

from .scan_data import draw, draw_cotangents

DOUBLE = Arithmetic(compute="float64", evaluation="sequential", decayed_state="direct")
HALF = Arithmetic(compute="float32", io="float16", evaluation="sequential", saved_gate="io")
SIZE = 1e-4
ARGUMENTS = ("u", "delta", "A", "B", "C", "z", "y's cotangent")


def used_of_bound(name: str, direction: Any) -> dict[str, float]:
    """The largest error / bound of each output and gradient.

    One argument moves by SIZE times `direction`; the other ones are exact.
    """
    inputs = draw(2, 2, 3, 9, 2, dtype="float64")
    cotangents = draw_cotangents(2, inputs)
    errors = {arg: np.zeros_like(inputs[arg]) for arg in ("u", "delta", "A", "B", "C", "z")}
    e_r, moved, moved_cotangents = np.zeros_like(inputs["u"]), dict(inputs), dict(cotangents)
    if name == "y's cotangent":
        e_r += SIZE
        moved_cotangents["y"] = cotangents["y"] + SIZE * direction(cotangents["y"].shape)
    else:
        relative = np.abs(inputs[name]) if name == "A" else 1.0
        errors[name] += SIZE
        moved[name] = inputs[name] + SIZE * relative * direction(inputs[name].shape)
    given = Perturbation(**errors)
    scan = read(**inputs)
    e_y, _, e_state, _ = perturbed_scan(scan, given, DOUBLE)
    time_first = Cotangents(
        np.moveaxis(cotangents["y"], -1, 0).copy(), cotangents["last_state"].transpose(2, 0, 1).copy()
    )
    bounds = perturbed_gradients(scan, time_first, e_r, given, DOUBLE).errors | {"y": e_y, "last": e_state}

    def everything(x: dict[str, Any], r: dict[str, Any]) -> dict[str, Any]:
        y, last = ssm_spec.selective_scan(**x, return_last_state=True)
        return ssm_spec.selective_scan_vjp(r, **x) | {"y": y, "last": last}

    before, after = everything(inputs, cotangents), everything(moved, moved_cotangents)
    assert set(before) == set(bounds)
    return {key: float((np.abs(after[key] - before[key]) / bounds[key]).max()) for key in bounds}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_error_of_one_argument_stays_within_what_it_may_do(name: str) -> None:
    rng = np.random.default_rng(0)
    best: dict[str, float] = {}
    directions: list[Callable[[Any], Any]] = [np.ones, lambda shape: -np.ones(shape)]
    directions += [lambda shape: rng.choice([-1.0, 1.0], shape)] * 6
    for direction in directions:
        used = used_of_bound(name, direction)
        assert all(ratio <= 1 for ratio in used.values()), used
        best = {key: max(used[key], best.get(key, 0.0)) for key in used}
    # Eight directions of many: what the argument reaches at all, it reaches to a few per cent.
    reached = {key: value for key, value in best.items() if value > 1e-9}
    assert min(reached.values()) > 0.005, reached


@pytest.mark.parametrize("scale", [1e-7, 1.0])
def test_the_output_before_the_gate_may_be_kept_in_half_precision(scale: float) -> None:
    """Below 2⁻¹⁴ it is subnormal there, and loses more than its last bit."""
    scan, cotangents, v, slope = half_precision_gate(scale)
    rounded = v.astype(np.float16).astype(np.float64)
    found = perturbed_gradients(scan, cotangents, np.zeros((2, 3, 9)), exact(scan), HALF)
    error = np.abs(np.moveaxis(cotangents.y, 0, -1) * slope * (rounded - v))
    assert (error <= found.errors["z"]).all(), (error / found.errors["z"]).max()
    assert (error / found.errors["z"]).max() > 0.2
    assert found.peak < HALF.largest


def test_where_half_precision_overflows_before_the_gate_nothing_is_judged() -> None:
    scan, cotangents, v, _ = half_precision_gate(1e5)
    assert np.abs(v).max() > np.finfo(np.float16).max
    assert perturbed_gradients(scan, cotangents, np.zeros((2, 3, 9)), exact(scan), HALF).peak == np.inf


def half_precision_gate(scale: float) -> tuple[Scan, Cotangents, Any, Any]:
    """A scan whose output before the gate is about `scale`; it and silu'(z), (b, d, l)."""
    inputs = draw(2, 2, 3, 9, 2, dtype="float64", initial=False)
    inputs |= {"u": scale * inputs["u"]}
    v = ssm_spec.selective_scan(**(inputs | {"z": None}))
    scan = read(**inputs)
    return scan, Cotangents(np.ones_like(scan.u), None), v, _slope(inputs["z"])


def exact(scan: Scan) -> Perturbation:
    """Arguments without errors."""
    b, d, l, n = scan.sizes
    stream, projection = np.zeros((b, d, l)), np.zeros((b, n, l))
    return Perturbation(stream, stream, np.zeros((d, n)), projection, projection, stream)


def test_the_gate_and_its_slope_move_no_more_than_said() -> None:
    z = np.linspace(-30, 30, 2001)
    for error in (1e-9, 1e-3, 0.5, 5.0):
        e = np.full_like(z, error)
        for sign in (-1, 1):
            moved = z + sign * error
            value = np.abs(moved * sigmoid(moved) - z * sigmoid(z))
            slope = np.abs(_slope(moved) - _slope(z))
            assert (value <= silu_error(z, e, DOUBLE)).all()
            assert (slope <= silu_slope_error(z, e, DOUBLE)).all()


def _slope(z: Any) -> Any:
    return sigmoid(z) * (1 + z * sigmoid(-z))
