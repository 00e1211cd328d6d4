"""A batch of no rows, as a worker or an expert may get one, and no steps: they train like any other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ssm_backends
from ssm_backends import OPERATORS, Operator

from .calls import Meta, call, sizes_of

EMPTY = {"batch": {"b": 0, "r": 0}, "sequence": {"l": 0}}


def has(operator: Operator, empty: str) -> bool:
    """Whether an argument has rows, or steps."""
    shapes = [form.shape.split() for argument in operator.arguments for form in argument.forms]
    return any(shape[:1] == ["b"] if empty == "batch" else "l" in shape for shape in shapes)


CASES = [(operator, empty) for operator in OPERATORS.values() for empty in EMPTY if has(operator, empty)]


def tensor(x: Any) -> Any:
    """A leaf of that shape, a step size that is positive among them; what is no array as it is."""
    return torch.full(x.shape, 0.25, dtype=torch.float64, requires_grad=True) if isinstance(x, Meta) else x


@pytest.mark.parametrize(("operator", "empty"), CASES, ids=[f"{case[0].name}-{case[1]}" for case in CASES])
def test_every_input_has_the_gradient_zero(operator: Operator, empty: str) -> None:
    inputs = {
        name: tensor(x) for name, x in call(operator, sizes={**sizes_of(operator), **EMPTY[empty]}).items()
    }
    leaves = {name: inputs[name] for name in operator.differentiable if name in inputs}
    result = getattr(ssm_backends, operator.name)(**inputs, backend="torch")
    outputs = result if isinstance(result, tuple) else (result,)
    torch.autograd.backward([y.sum() for y in outputs])
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        # A state before an empty sequence is the state after it.
        assert not leaf.grad.any() or (empty == "sequence" and "state" in name), name
