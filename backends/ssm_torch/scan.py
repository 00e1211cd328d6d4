"""h_t = a_t h_{t−1} + x_t, in time order, with one node in autograd's graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssm_torch.opaque import empty, opaque


def linear_recurrence(a: Tensor, x: Tensor, initial: Tensor) -> Tensor:
    """h_t = a_t h_{t−1} + x_t along the first dimension.

    Parameters
    ----------
    a, x : (l, *s)
    initial : (*s)
        h_{−1}.

    Returns
    -------
    h : (l, *s)
    """
    if torch.compiler.is_compiling():
        return _traced(a, x, initial)
    h: Tensor = _LinearRecurrence.apply(a, x, initial)  # type: ignore[no-untyped-call]  # PyTorch's
    return h


def _states(a: Tensor, x: Tensor, initial: Tensor) -> Tensor:
    h = empty(x)
    before = initial
    for t in range(len(x)):
        torch.addcmul(x[t], a[t], before, out=h[t])
        before = h[t]
    return h


def _adjoint(g: Tensor, h: Tensor, a: Tensor, initial: Tensor) -> list[Tensor]:
    """The gradients of a, x and the initial state: λ_t = g_t + conj(a_{t+1}) λ_{t+1} is that of x."""
    adjoint = torch.empty_like(h)
    da = torch.empty_like(h)
    after = torch.zeros_like(initial, memory_format=torch.contiguous_format)
    for t in reversed(range(len(h))):
        torch.add(g[t], after, out=adjoint[t])
        torch.mul(adjoint[t], (h[t - 1] if t else initial).conj(), out=da[t])
        after = a[t].conj() * adjoint[t]
    return [da, adjoint, after]


_traced = opaque(
    "linear_recurrence",
    _states,
    _adjoint,
    fake=lambda a, x, initial: empty(x),
    fake_backward=lambda g, h, a, initial: [empty(h), empty(h), empty(initial)],
    read=(0, 2),
)


class _LinearRecurrence(torch.autograd.Function):
    """Autograd would save every step by itself."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor, initial: Tensor) -> Tensor:
        h = _states(a, x, initial)
        ctx.save_for_backward(a, initial, h)
        return h

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (g,) = cotangents
        a, initial, h = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be asked for
            return _differentiable_backward(a, initial, h, g)
        da, adjoint, after = _adjoint(g, h, a, initial)
        return da, adjoint, after


def _differentiable_backward(
    a: Tensor, initial: Tensor, h: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same backward pass as a linear recurrence from the last step to the first."""
    later = torch.cat([a[1:].conj(), torch.zeros_like(a[:1])]).flip(0)
    adjoint = linear_recurrence(later, g.flip(0), torch.zeros_like(initial)).flip(0)
    da = adjoint * torch.cat([initial.unsqueeze(0), h[:-1]]).conj()
    return da, adjoint, a[0].conj() * adjoint[0]
