"""An operator of PyTorch's with its one derivative, where autograd asks for it or ``torch.func`` does.

An operator costs the host more than most kernels cost the device: PyTorch wraps it, checks what it returns
and wraps its backward pass. Who is there to see an operator, a compiler or a mode, gets it; else a call is
its computation itself, within a ``torch.autograd.Function`` where a gradient may be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ssm_backends.direct import is_direct
from ssm_backends.errors import NotSupportedError
from ssm_backends.transforms import (
    in_forward_mode,
    is_followed_by_transforms,
    is_one_of_many,
    is_within_a_gradient,
    refuse_tangents,
)

if TYPE_CHECKING:
    from torch import Tensor

Outputs = Sequence["Tensor"]


def with_derivative(
    operator: Any,
    compute: Callable[..., Outputs],
    backward: Callable[..., tuple[Any, ...]],
    save: Callable[[Any, Any, Any], None] = lambda ctx, inputs, output: None,
) -> Callable[..., Outputs]:
    """An operator's function, with its backward pass.

    A compiler and PyTorch's modes see the operator, autograd alone its computation. ``torch.func.grad``,
    ``vjp``, ``jacrev`` and ``vmap`` do not reach through one: within them the call is a
    ``torch.autograd.Function`` around it, mapped call by call.

    Parameters
    ----------
    operator
        Made by ``torch.library.custom_op``; its backward pass is registered here.
    compute
        What it was made of: the computation itself.
    backward
        (ctx, cotangents …): one gradient for each input, or None. What it calls is such a function too.
    save
        (ctx, inputs, output): keeps what the backward pass needs.
    """
    import torch

    operator.register_autograd(backward, setup_context=save)
    followed: Any = _followed(operator, save, backward)
    recorded: Any = _recorded(operator, compute, save, backward)

    def call(*inputs: Any) -> Outputs:
        if torch.compiler.is_compiling():
            if is_within_a_gradient():
                torch._dynamo.graph_break()
            return operator(*inputs)  # type: ignore[no-any-return] # it is declared to return tensors
        _refuse_cotangents(inputs[:2])  # where a backward pass has them
        if is_followed_by_transforms():
            return tuple(followed.apply(*inputs))
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        if not is_direct(tensors):
            return operator(*inputs)  # type: ignore[no-any-return] # as above
        learn = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
        return recorded.apply(*inputs) if learn else compute(*inputs)

    followed.vmap = staticmethod(_one_by_one(call))
    # A graph sees no function. PyTorch 2.8 has a way of its own there, and fails with ours; 2.15 the reverse.
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13):
        operator.register_vmap(_one_by_one(call))
    return call


def _refuse_cotangents(given: Sequence[Tensor | None]) -> None:
    """Refuse cotangents that have a tangent, which would be lost, or that are many at once.

    Whoever calls a forward pass has asked its inputs for tangents before.
    """
    if in_forward_mode():
        for x in given:
            refuse_tangents("a backward pass", {} if x is None else {"grad_outputs": x})
    if not is_followed_by_transforms() and any(is_one_of_many(x) for x in given):
        raise NotSupportedError(
            "a backward pass of this backend takes one cotangent at a time; got many at once, of "
            "`is_grads_batched` or `vectorize=True`: torch.func.vmap maps over them"
        )


def _followed(
    operator: Any, save: Callable[[Any, Any, Any], None], backward: Callable[..., tuple[Any, ...]]
) -> type:
    """The operator as a function that ``torch.func`` can follow."""
    import torch

    class Followed(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> tuple[Tensor, ...]:
            return tuple(operator(*inputs))

    Followed.setup_context = staticmethod(save)  # type: ignore[assignment, method-assign] # as it is meant
    Followed.backward = staticmethod(backward)  # type: ignore[method-assign] # as it is meant
    return Followed


def _recorded(
    operator: Any,
    compute: Callable[..., Outputs],
    save: Callable[[Any, Any, Any], None],
    backward: Callable[..., tuple[Any, ...]],
) -> type:
    """The computation as a function that autograd records, under the operator's name."""
    import torch

    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = tuple(compute(*inputs))
        save(ctx, inputs, output)
        return output

    name = operator._qualname.replace("::", "_")  # a profiler shows it, and the output's `grad_fn`
    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(name, (torch.autograd.Function,), methods)


def _one_by_one(call: Callable[..., Outputs]) -> Callable[..., tuple[tuple[Tensor, ...], tuple[int, ...]]]:
    """What maps a function over a batch: its calls one by one, their outputs stacked."""
    import torch

    def mapped(
        info: Any, along: Sequence[int | None], *inputs: Any
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        if not info.batch_size:
            raise NotSupportedError("a map of this backend is its calls, one at least; got a batch of 0")
        calls = [
            call(*(x if dim is None else x.select(dim, i) for x, dim in zip(inputs, along, strict=True)))
            for i in range(info.batch_size)
        ]
        stacked = tuple(torch.stack(found) for found in zip(*calls, strict=True))
        return stacked, (0,) * len(stacked)

    return mapped
