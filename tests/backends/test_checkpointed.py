"""A checkpoint whose policy keeps every result: nothing is written into what it keeps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

import ssm_backends
from ssm_backends import OPERATORS, Operator

from . import calls

OFFSETS = torch.tensor([0, 2, 5], dtype=torch.int32)
KEEPING = functools.partial(create_selective_checkpoint_contexts, lambda *_, **__: CheckpointPolicy.MUST_SAVE)


def option_by_option() -> Iterator[Any]:
    """Calls of what has a gradient: the plainest, and one for each further form or option."""
    for operator in OPERATORS.values():
        if not operator.differentiable:
            continue
        plain = calls.call(operator)
        yield pytest.param(operator, plain, id=operator.name)
        for argument in operator.arguments:
            for form in argument.forms[argument.required :]:
                inputs = calls.call_with(operator, argument, form)
                yield pytest.param(operator, inputs, id=f"{operator.name}-{argument.name}-{form.shape}")
            if not argument.required and not argument.forms and argument.name not in ("inplace", "diagonal"):
                inputs = plain | {argument.name: calls.plain_value(argument)}
                yield pytest.param(operator, inputs, id=f"{operator.name}-{argument.name}")


def filled(inputs: dict[str, Any]) -> dict[str, Any]:
    """Each number between 0.1 and 0.9; rows in slots of their own, several sequences in a row."""
    generator = torch.Generator().manual_seed(0)

    def array(name: str, x: Any) -> Any:
        if not isinstance(x, calls.Meta):
            return x
        if x.dtype == "float64":
            numbers = 0.1 + 0.8 * torch.rand(x.shape, generator=generator, dtype=torch.float64)
            return numbers.requires_grad_()
        if name == "cu_seqlens":
            return OFFSETS
        ids = torch.arange(x.shape[-1], dtype=torch.int32)
        return (ids if name == "state_indices" else ids // 2).expand(x.shape)

    return {name: array(name, x) for name, x in inputs.items()}


def arrays_of(outputs: Any) -> list[Tensor]:
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def gradients(function: Callable[..., Any], inputs: dict[str, Any]) -> dict[str, Tensor | None]:
    leaves = {name: x for name, x in inputs.items() if torch.is_tensor(x) and x.requires_grad}
    size = torch.stack([y.abs().sum() for y in arrays_of(function(**inputs))]).sum()
    return dict(zip(leaves, torch.autograd.grad(size, list(leaves.values()), allow_unused=True), strict=True))


@pytest.mark.parametrize(("operator", "inputs"), list(option_by_option()))
def test_every_result_may_be_kept(operator: Operator, inputs: dict[str, Any]) -> None:
    given = filled(inputs)
    function = functools.partial(getattr(ssm_backends, operator.name), backend="torch")
    kept = functools.partial(checkpoint, function, use_reentrant=False, context_fn=KEEPING)
    for one, other in zip(arrays_of(kept(**given)), arrays_of(function(**given)), strict=True):
        assert torch.equal(one, other)
    wanted, found = gradients(function, given), gradients(kept, given)
    for name, x in wanted.items():
        other = found[name]
        assert x is other is None or (x is not None and other is not None and torch.equal(x, other)), name
