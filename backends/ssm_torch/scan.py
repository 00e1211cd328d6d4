"""h_t = a_t h_{t−1} + x_t, in time order, with one node in autograd's graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def linear_recurrence(a: Tensor, x: Tensor, initial: Tensor, reset: Tensor | None = None) -> Tensor:
    """h_t = a_t h_{t−1} + x_t along the first dimension; h_t = x_t at a reset.

    Parameters
    ----------
    a, x : (l, *s)
    initial : (*s)
        h_{−1}.
    reset : (l, *s) bool, or broadcasting to it
        Where a sequence starts after t = 0.

    Returns
    -------
    h : (l, *s)
    """
    h: Tensor = _LinearRecurrence.apply(a, x, initial, reset)  # type: ignore[no-untyped-call]  # PyTorch's
    return h


class _LinearRecurrence(torch.autograd.Function):
    """Autograd would save every step by itself; here backward is λ_t = g_t + conj(a_{t+1}) λ_{t+1}."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor, initial: Tensor, reset: Tensor | None) -> Tensor:
        h = torch.empty_like(x, memory_format=torch.contiguous_format)
        before = initial
        for t in range(len(x)):
            torch.addcmul(x[t], a[t], before, out=h[t])
            if reset is not None:
                h[t].copy_(torch.where(reset[t], x[t], h[t]))
            before = h[t]
        ctx.save_for_backward(a, initial, reset, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        a, initial, reset, h = ctx.saved_tensors
        adjoint = torch.empty_like(h)
        da = torch.empty_like(h)
        after = torch.zeros_like(initial)
        for t in reversed(range(len(h))):
            torch.add(g[t], after, out=adjoint[t])
            torch.mul(adjoint[t], (h[t - 1] if t else initial).conj(), out=da[t])
            after = a[t].conj() * adjoint[t]
            if reset is not None:
                after = torch.where(reset[t], 0, after)
                da[t].copy_(torch.where(reset[t], 0, da[t]))
        return da, adjoint, after, None
