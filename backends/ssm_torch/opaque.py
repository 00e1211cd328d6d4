"""Loops over time as operators of PyTorch: a compiler takes them as they are, at any length.

Traced step by step a loop is a graph that grows with the length, and so does the time to compile it. An
eager call runs the same loop without the dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ssm_backends.transforms import is_derived


def opaque(
    name: str,
    forward: Callable[..., Tensor],
    backward: Callable[..., list[Tensor]],
    *,
    fake: Callable[..., Tensor],
    fake_backward: Callable[..., list[Tensor]],
    read: Sequence[int],
) -> Callable[..., Tensor]:
    """An operator from a function and its backward pass, both annotated; their results are new memory.

    Parameters
    ----------
    name
        Of `ssm_torch::name`; its backward pass is `ssm_torch::name_backward`.
    forward
        Of tensors, then of what is none.
    backward
        Of the cotangent, the result, the tensors that it reads and what is none: the gradient of every tensor
        of real or complex numbers.
    fake, fake_backward
        Arrays like their results, without numbers.
    read
        The places of the tensors that the backward pass reads.
    """
    operator = torch.library.custom_op(f"ssm_torch::{name}", forward, mutates_args=())
    back = torch.library.custom_op(f"ssm_torch::{name}_backward", backward, mutates_args=())
    operator.register_fake(fake)
    back.register_fake(fake_backward)

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.others = [x for x in inputs if not isinstance(x, Tensor)]
        ctx.differentiable = [
            isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex()) for x in inputs
        ]
        ctx.save_for_backward(output, *(inputs[i] for i in read))

    def differentiate(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        gradients = iter(back(cotangent, *ctx.saved_tensors, *ctx.others))
        return tuple(next(gradients) if has_one else None for has_one in ctx.differentiable)

    operator.register_autograd(differentiate, setup_context=keep)
    return operator


def is_opaque() -> bool:
    """Whether a loop is to be one operator: in a graph, unless a derivative is taken there.

    ``torch.func`` does not reach through an operator, and of a tangent PyTorch says nothing.
    """
    return torch.compiler.is_compiling() and not is_derived()


def empty(x: Tensor) -> Tensor:
    """A contiguous array of x's shape and dtype."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)
