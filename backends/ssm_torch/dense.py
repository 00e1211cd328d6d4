"""Products of one matrix with itself, in time order: the states of a dense system, and its kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ssm_torch.opaque import empty, opaque


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
    if not torch.compiler.is_compiling():
        return _states(A, x, initial)
    state = torch.broadcast_shapes(A.shape[:-1], x.shape[1:], initial.shape)  # type: ignore[no-untyped-call]  # PyTorch's
    return _traced_states(A.expand(*state[1:], A.shape[-1]), x.expand(len(x), *state), initial.expand(state))


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
    if not torch.compiler.is_compiling():
        return _kernel(A, B, C, length)
    s = torch.broadcast_shapes(A.shape[:-2], B.shape[:-2], C.shape[:-2])  # type: ignore[no-untyped-call]  # PyTorch's
    return _traced_kernel(*(x.expand(*s, *x.shape[-2:]) for x in (A, B, C)), length)


def _states(A: Tensor, x: Tensor, initial: Tensor) -> Tensor:
    h, states = initial, []
    for x_t in x.unbind(0):  # which keeps autograd's gradient linear in l
        h = _times(A, h) + x_t
        states.append(h)
    return torch.stack(states)


def _states_adjoint(g: Tensor, h: Tensor, A: Tensor, initial: Tensor) -> list[Tensor]:
    """The gradients of A, x and the initial state: λ_t = g_t + Aᴴ λ_{t+1} is that of x."""
    adjoint = torch.empty_like(h)
    after = torch.zeros_like(initial, memory_format=torch.contiguous_format)
    for t in reversed(range(len(h))):
        torch.add(g[t], after, out=adjoint[t])
        after = _times(A.mH, adjoint[t])
    before = torch.cat([initial.unsqueeze(0), h[:-1]])
    return [_columns(adjoint) @ _columns(before).mH, adjoint, after]


def _columns(x: Tensor) -> Tensor:
    """(l, b, *s, n) as (*s, n, l b)."""
    return x.flatten(0, 1).movedim(0, -1)


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
    return (A @ h.unsqueeze(-1)).squeeze(-1)


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
