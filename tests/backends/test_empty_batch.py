"""A batch of no rows, as a worker or an expert may get one: it trains like any other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ssm_backends
from ssm_backends import OPERATORS, Operator

from .calls import Meta, call, sizes_of

BATCHED = [
    operator
    for operator in OPERATORS.values()
    if any(form.shape.split()[:1] == ["b"] for argument in operator.arguments for form in argument.forms)
]


def tensor(x: Any) -> Any:
    """A leaf of that shape, a step size that is positive among them; what is no array as it is."""
    return torch.full(x.shape, 0.25, dtype=torch.float64, requires_grad=True) if isinstance(x, Meta) else x


@pytest.mark.parametrize("operator", BATCHED, ids=lambda operator: operator.name)
def test_every_input_has_the_gradient_zero(operator: Operator) -> None:
    inputs = {
        name: tensor(x) for name, x in call(operator, sizes={**sizes_of(operator), "b": 0, "r": 0}).items()
    }
    leaves = {name: inputs[name] for name in operator.differentiable if name in inputs}
    result = getattr(ssm_backends, operator.name)(**inputs, backend="torch")
    outputs = result if isinstance(result, tuple) else (result,)
    torch.autograd.backward([y.sum() for y in outputs])
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert not leaf.grad.any(), name
