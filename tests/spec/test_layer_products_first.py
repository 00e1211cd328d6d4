"""Layers of modes in chunks whose products C a^j B are formed before there is a state."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

torch = pytest.importorskip("torch")
from . import lti_forms as forms

Arrays = dict[str, Any]
REFERENCE = ssm_spec.REFERENCES["s5"]
SHAPES = {
    "u": (1, 1, 2),
    "delta": (1,),
    "A": (1,),
    "B": (1, 1),
    "C": (1, 1),
    "D": (1,),
    "initial_state": (1, 1),
    "y": (1, 1, 2),
    "last_state": (1, 1),
}
COTANGENTS = ("y", "last_state")
"""One mode, one channel, two steps; what is not said is 0, or 1 or −1 for the system."""


def call(large: Arrays) -> tuple[Arrays, Arrays]:
    """The arguments of `s5` and the cotangents, float32."""
    default = {"delta": 1.0, "A": -1.0, "B": 1.0, "C": 1.0}
    all_of = {
        name: np.broadcast_to(np.float32(large.get(name, default.get(name, 0.0))), shape).copy()
        for name, shape in SHAPES.items()
    }
    return {k: x for k, x in all_of.items() if k not in COTANGENTS}, {k: all_of[k] for k in COTANGENTS}


def found(form: Any, inputs: Arrays, cotangents: Arrays) -> Arrays:
    """The zero-order hold, then a form of the recurrence; gradients as "d name"."""
    x = {name: torch.tensor(value, requires_grad=True) for name, value in inputs.items()}
    held = forms.zoh_strong_modes(x["A"], x["B"], x["delta"][0])
    outputs = form(held["A_bar"], held["B_bar"], x["C"], x["u"], torch.diag(x["D"]), x["initial_state"])
    given = [torch.tensor(cotangents[name]) for name in outputs]
    slopes = torch.autograd.grad(list(outputs.values()), list(x.values()), given, materialize_grads=True)
    gradients = {f"d {name}": slope.numpy() for name, slope in zip(x, slopes, strict=True)}
    return {name: value.detach().numpy() for name, value in outputs.items()} | gradients


def rejected(actual: Arrays, inputs: Arrays, cotangents: Arrays, arithmetic: Arithmetic) -> set[str]:
    """The results of which some judged element is outside its bound; NaN is."""
    assert REFERENCE.vjp_bounds is not None
    allowed: dict[str, Bounded] = dict(REFERENCE.bounds(arithmetic=arithmetic, **inputs))
    gradients = REFERENCE.vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    allowed |= {f"d {name}": bounded for name, bounded in gradients.items()}
    wrong = set()
    for name, bounded in allowed.items():
        with np.errstate(all="ignore"):
            error = np.abs(actual[name] - bounded.value)
        if not (error <= bounded.bound + bounded.own)[bounded.judged].all():
            wrong.add(name)
    return wrong


LOST: dict[str, tuple[set[str], Arrays]] = {
    "C B of C a B u": ({"y"}, {"C": 1e-25, "B": 1e-25, "u": (1e30, 0)}),
    "a B of a B u": ({"last_state"}, {"A": -57.0, "B": 1e-25, "u": (1e30, 0)}),
    "C B of C a B r": ({"d u"}, {"C": 1e-25, "B": 1e-25, "y": (0, 1e30)}),
    "r u of B r u": ({"d C"}, {"B": 1e30, "u": (1e-25, 0), "y": (1e-25, 0)}),
    "r u of C r u": ({"d B", "d A", "d delta"}, {"C": 1e30, "u": (1e-25, 0), "y": (1e-25, 0)}),
    "C a of C a r": ({"d initial_state"}, {"C": 1e-25, "A": -57.0, "y": (1e30, 0)}),
}


@pytest.mark.parametrize("name", LOST)
def test_a_layer_grants_to_chunks_what_products_first_lose(name: str) -> None:
    wanted, large = LOST[name]
    inputs, cotangents = call(large)
    actual = found(partial(forms.products_first, Q=2), inputs, cotangents)
    for arithmetic in forms.IN_CHUNKS.values():
        assert rejected(actual, inputs, cotangents, arithmetic) == set(), arithmetic
    assert wanted <= rejected(actual, inputs, cotangents, forms.SCAN)
    exact = found(forms.recurrence, inputs, cotangents)
    assert rejected(exact, inputs, cotangents, forms.SCAN) == set()


def test_a_layer_sums_times_and_channels_at_once_by_products_of_matrices() -> None:
    """4096 equal terms, one after the other: 64 steps of 64 channels. In time order they follow A h."""
    one, steps = np.float32(1), 64
    inputs = {
        "u": np.full((1, steps, steps), one / 3),
        "delta": np.ones(1, np.float32),
        "A": np.full(1, -1e-12, np.float32),
        "B": np.ones((1, steps), np.float32),
        "C": np.ones((steps, 1), np.float32),
    }
    y = np.cumsum(np.full(steps * steps, one / 3), dtype=np.float32)[steps - 1 :: steps]
    for evaluation, within in (("matmul_chunk", True), ("chunk", False), ("scan", True)):
        arithmetic = Arithmetic(evaluation=evaluation, chunk=steps)
        bounded = REFERENCE.bounds(arithmetic=arithmetic, **inputs)["y"]
        assert np.all(np.abs(y - bounded.value) <= bounded.bound + bounded.own) == within, evaluation
