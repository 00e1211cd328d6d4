"""The tape knows calculus: its gradients against difference quotients of 2^-400 in balls of 1200 bits."""

from typing import Any

import flint
import numpy as np
import pytest

from ssm_spec import REFERENCES
from ssm_spec.certify import DEFINITIONS, enclose, enclose_vjp
from ssm_spec.certify._balls import exact, precision
from ssm_spec.certify._tape import Variable

from .brief import brief, cotangents_of

STEP_BITS, BITS = 400, 1200
DIFFERENTIABLE = [op for op in DEFINITIONS if REFERENCES[op].differentiable]


def loss(op: str, leaves: dict[str, Any], options: dict[str, Any], cotangents: dict[str, Any]) -> flint.arb:
    """Re Σ conj(r) output, from values alone."""
    outputs = DEFINITIONS[op](**leaves, **options)
    total = flint.arb(0)
    for name, r in cotangents.items():
        for ball, weight in zip(outputs[name].value.flat, np.conj(r).flat, strict=True):
            total += (ball * flint.acb(complex(weight).real, complex(weight).imag)).real
    return total


def quotient(op: str, inputs: dict[str, Any], cotangents: dict[str, Any], name: str) -> Any:
    """∂L/∂Re + i ∂L/∂Im by one-sided differences."""
    named = REFERENCES[op].differentiable
    options = {k: v for k, v in inputs.items() if k not in named}
    step = flint.arb(2) ** -STEP_BITS
    leaves = {
        k: Variable(exact(v), np.iscomplexobj(v)) for k, v in inputs.items() if k in named and v is not None
    }
    start, leaf = loss(op, leaves, options, cotangents), leaves[name]
    slopes = np.empty(leaf.shape, object)
    for i in np.ndindex(leaf.shape):
        slopes[i] = flint.acb(0)
        for direction in [flint.acb(1), flint.acb(0, 1)][: 2 if leaf.complex else 1]:
            moved = leaf.value.copy()
            moved[i] = moved[i] + (direction * step if leaf.complex else step)
            there = {**leaves, name: Variable(moved, leaf.complex)}
            slopes[i] += direction * ((loss(op, there, options, cotangents) - start) / step)
    return slopes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_gradients_are_difference_quotients(op: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *op.encode()])
    inputs = brief(op, seed, complex_=seed % 2 == 1)
    cotangents = cotangents_of(enclose(op, **inputs), rng)
    found = enclose_vjp(op, cotangents, bits=BITS, **inputs)
    with precision(BITS):
        for name, enclosure in found.items():
            slopes = quotient(op, inputs, cotangents, name)
            for i in np.ndindex(slopes.shape):
                away, size = (slopes[i] - enclosure.balls[i]).abs_upper(), slopes[i].abs_upper()
                # A one-sided difference is off by half the second derivative times the step.
                assert away < (1 + size) * flint.arb(2) ** -300, (name, i)
