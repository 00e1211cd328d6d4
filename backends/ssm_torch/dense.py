"""Products of one matrix with itself, in time order: the states of a dense system, and its kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ssm_backends.transforms import is_followed_by_transforms
from ssm_torch.opaque import empty, is_opaque, opaque


def dense_recurrence(A: Tensor, x: Tensor, initial: Tensor) -> Tensor:
    """h_t = A h_{t−1} + x_t along the first dimension.

    Parameters
    ----------
    A : (*s, n, n)
    x : (l, b, *s, n)
        At least one step.
    initial : (b, *s, n)
        h_{−1}.

    Returns
    -------
    h : (l, b, *s, n)
    """
    state = torch.broadcast_shapes(A.shape[:-1], x.shape[1:], initial.shape)  # type: ignore[no-untyped-call]  # PyTorch's
    given = A.expand(*state[1:], A.shape[-1]), x.expand(len(x), *state), initial.expand(state)
    if torch.compiler.is_compiling():
        return (_traced_states if is_opaque() else _states)(*given)
    h: Tensor = _DenseRecurrence.apply(*given)  # type: ignore[no-untyped-call]  # PyTorch's
    return h


def dense_kernel(A: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """K_j = C A^j B, j < length.

    Parameters
    ----------
    A, B, C : (*s, n, n), (*s, n, m), (*s, p, n)
    length
        l, at least 1.

    Returns
    -------
    K : (*s, p, m, l)
    """
    if not is_opaque():
        return _kernel(A, B, C, length)
    s = torch.broadcast_shapes(A.shape[:-2], B.shape[:-2], C.shape[:-2])  # type: ignore[no-untyped-call]  # PyTorch's
    return _traced_kernel(*(x.expand(*s, *x.shape[-2:]) for x in (A, B, C)), length)


def _states(A: Tensor, x: Tensor, initial: Tensor) -> Tensor:
    A = A.contiguous()  # or each step would copy what is expanded
    h, states = initial, []
    for x_t in x.unbind(0):
        h = _times(A, h) + x_t
        states.append(h)
    return torch.stack(states) if states else empty(x)


def _states_adjoint(g: Tensor, h: Tensor, A: Tensor, initial: Tensor) -> list[Tensor]:
    """The gradients of A, x and the initial state: λ_t = g_t + Aᴴ λ_{t+1} is that of x."""
    A = A.mH.contiguous()
    after, adjoints = torch.zeros_like(initial), []
    for g_t in reversed(g.unbind(0)):
        adjoints.append(g_t + after)
        after = _times(A, adjoints[-1])
    adjoint = torch.stack(adjoints[::-1]) if adjoints else empty(g)
    return [_of_matrix(adjoint, h, initial), adjoint, after]


def _of_matrix(adjoint: Tensor, h: Tensor, initial: Tensor) -> Tensor:
    """Σ_t λ_t h_{t−1}ᴴ, over the batch too."""
    first = _columns(adjoint[:1]) @ _columns(initial.unsqueeze(0)).mH
    return first + _columns(adjoint[1:]) @ _columns(h[:-1]).mH


def _columns(x: Tensor) -> Tensor:
    """(l, b, *s, n) as (*s, n, l b)."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]).movedim(0, -1)


class _DenseRecurrence(torch.autograd.Function):
    """Autograd would add a matrix to the gradient of A at every step."""

    @staticmethod
    def forward(A: Tensor, x: Tensor, initial: Tensor) -> Tensor:
        return _states(A, x, initial)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        A, _, initial = inputs
        ctx.save_for_backward(output, A, initial)
        ctx.save_for_forward(output, A, initial)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, ...]:
        # A gradient of this gradient may be asked for.
        followed = torch.is_grad_enabled() or is_followed_by_transforms()
        return tuple(
            (_differentiable_adjoint if followed else _states_adjoint)(*cotangents, *ctx.saved_tensors)
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        """dh_t = A dh_{t−1} + dA h_{t−1} + dx_t."""
        h, A, initial = ctx.saved_tensors
        dA, dx, dinitial = tangents
        driven = torch.zeros_like(h) if dx is None else dx
        if dA is not None:
            before = torch.cat([initial.unsqueeze(0), h[:-1]])
            driven = driven + _times(dA, before.flatten(0, 1)).reshape(h.shape)
        return dense_recurrence(A, driven, torch.zeros_like(initial) if dinitial is None else dinitial)

    @staticmethod
    def vmap(
        info: Any, along: tuple[int | None, ...], A: Tensor, x: Tensor, initial: Tensor
    ) -> tuple[Tensor, int]:
        """A batch of matrices is one dimension more of the systems; else it is one more of the batch."""
        of_A, of_x, of_initial = along
        size = info.batch_size
        x = x.unsqueeze(1).expand(-1, size, *x.shape[1:]) if of_x is None else x.movedim(of_x, 1)
        initial = (
            initial.expand(size, *initial.shape) if of_initial is None else initial.movedim(of_initial, 0)
        )
        if of_A is None:
            h = dense_recurrence(A, x.flatten(1, 2), initial.flatten(0, 1))
            return h.reshape(len(h), size, initial.shape[1], *h.shape[2:]), 1
        return dense_recurrence(A.movedim(of_A, 0), x.transpose(1, 2), initial.transpose(0, 1)), 2


def _differentiable_adjoint(g: Tensor, h: Tensor, A: Tensor, initial: Tensor) -> list[Tensor]:
    """The same as a dense recurrence from the last step, which no product with A reaches, to the first."""
    later = dense_recurrence(A.mH, g[:-1].flip(0), g[-1])
    adjoint = torch.cat([g[-1:], later]).flip(0)
    return [_of_matrix(adjoint, h, initial), adjoint, _times(A.mH, adjoint[0])]


def _kernel(A: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    return torch.stack([C @ power for power in _powers(A, B, length)], dim=-1)


def _kernel_adjoint(g: Tensor, K: Tensor, A: Tensor, B: Tensor, C: Tensor, length: int) -> list[Tensor]:
    """The gradients of A, B and C: the powers once more, and G_j = Cᴴ g_j + Aᴴ G_{j+1}."""
    *earlier, last = _powers(A, B, length)
    dA, dC = torch.zeros_like(A), g[..., -1] @ last.mH
    G = C.mH @ g[..., -1]
    for g_j, power in zip(reversed(g.unbind(-1)[:-1]), reversed(earlier), strict=True):
        dA, dC = dA + G @ power.mH, dC + g_j @ power.mH
        G = C.mH @ g_j + A.mH @ G
    return [dA, G, dC]


def _powers(A: Tensor, B: Tensor, length: int) -> Iterator[Tensor]:
    """A^j B, j < length, in the shape of their product."""
    s = torch.broadcast_shapes(A.shape[:-2], B.shape[:-2])  # type: ignore[no-untyped-call]  # PyTorch's
    power = B.expand(*s, *B.shape[-2:])
    yield power
    for _ in range(1, length):
        power = A @ power
        yield power


def _times(A: Tensor, h: Tensor) -> Tensor:
    """A h of states (…, b, *s, n): the batch's states are rows of one product, and A is not repeated."""
    axis = -A.ndim
    return (h.movedim(axis, -2) @ A.mT).movedim(-2, axis)


_traced_states = opaque(
    "dense_recurrence",
    _states,
    _states_adjoint,
    fake=lambda A, x, initial: empty(x),
    fake_backward=lambda g, h, A, initial: [empty(A), empty(h), empty(initial)],
    read=(0, 2),
)
_traced_kernel = opaque(
    "dense_kernel",
    _kernel,
    _kernel_adjoint,
    fake=lambda A, B, C, length: A.new_empty((*A.shape[:-2], C.shape[-2], B.shape[-1], length)),
    fake_backward=lambda g, K, A, B, C, length: [empty(A), empty(B), empty(C)],
    read=(0, 1, 2),
)
