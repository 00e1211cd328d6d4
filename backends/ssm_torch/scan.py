"""h_t = a_t h_{t−1} + x_t, in time order, with one node in autograd's graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssm_backends.transforms import is_followed_by_transforms, is_one_of_many, may_be_kept
from ssm_torch.opaque import empty, is_opaque, opaque


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
        return (_traced if is_opaque() else _step_by_step)(a, x, initial)
    h: Tensor = _LinearRecurrence.apply(a, x, initial)  # type: ignore[no-untyped-call]  # PyTorch's
    return h


def _states(a: Tensor, x: Tensor, initial: Tensor) -> Tensor:
    if may_be_kept():
        return _step_by_step(a, x, initial)
    h = empty(x)
    before = initial
    for t in range(len(x)):
        torch.addcmul(x[t], a[t], before, out=h[t])
        before = h[t]
    return h


def _step_by_step(a: Tensor, x: Tensor, initial: Tensor) -> Tensor:
    """The same of PyTorch's own operations, which any derivative may be taken of."""
    before, states = initial, []
    for a_t, x_t in zip(a.unbind(), x.unbind(), strict=True):
        before = torch.addcmul(x_t, a_t, before)
        states.append(before)
    return torch.stack(states) if states else a * x


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


def _adjoints(g: Tensor, h: Tensor, a: Tensor, initial: Tensor) -> list[Tensor]:
    """The same for many cotangents at once, which nothing is written into."""
    after = torch.zeros_like(initial)
    adjoints = []
    for t in reversed(range(len(h))):
        adjoints.append(g[t] + after)
        after = a[t].conj() * adjoints[-1]
    adjoint = torch.stack(adjoints[::-1]) if adjoints else g
    return [adjoint * _before(h, initial).conj(), adjoint, after]


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
    def forward(a: Tensor, x: Tensor, initial: Tensor) -> Tensor:
        return _states(a, x, initial)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        a, _, initial = inputs
        ctx.save_for_backward(a, initial, output)
        ctx.save_for_forward(a, initial, output)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (g,) = cotangents
        a, initial, h = ctx.saved_tensors
        # A gradient of this gradient may be asked for, or gradients of many cotangents at once.
        if torch.is_grad_enabled() or is_followed_by_transforms():
            return _differentiable_backward(a, initial, h, g)
        da, adjoint, after = (_adjoints if is_one_of_many(g) else _adjoint)(g, h, a, initial)
        return da, adjoint, after

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        """dh_t = a_t dh_{t−1} + da_t h_{t−1} + dx_t."""
        a, initial, h = ctx.saved_tensors
        da, dx, dinitial = tangents
        driven = torch.zeros_like(h) if dx is None else dx
        if da is not None:
            driven = driven + da * _before(h, initial)
        return linear_recurrence(a, driven, torch.zeros_like(initial) if dinitial is None else dinitial)

    @staticmethod
    def vmap(info: Any, along: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        """A batch is one dimension more of the states."""
        *sequences, initial = (
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(inputs, along, strict=True)
        )
        a, x = (sequence.movedim(0, 1) for sequence in sequences)
        return linear_recurrence(a, x, initial), 1


def _differentiable_backward(
    a: Tensor, initial: Tensor, h: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same backward pass as a linear recurrence from the last step to the first."""
    if len(h) == 0:
        return g * a, g, torch.zeros_like(initial)
    later = torch.cat([a[1:].conj(), torch.zeros_like(a[:1])]).flip(0)
    adjoint = linear_recurrence(later, g.flip(0), torch.zeros_like(initial)).flip(0)
    return adjoint * _before(h, initial).conj(), adjoint, a[0].conj() * adjoint[0]


def _before(h: Tensor, initial: Tensor) -> Tensor:
    """The state before each step."""
    return torch.cat([initial.unsqueeze(0), h[:-1]])
