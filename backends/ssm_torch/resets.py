"""A running sum in time order that starts anew where a sequence does."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.opaque import empty, is_opaque, opaque


def sum_from_resets(x: Tensor, fresh: Tensor, initial: Tensor) -> Tensor:
    """h_t = h_{t−1} + x_t along the first dimension, and h_t = x_t where a sequence starts.

    Parameters
    ----------
    x : (l, *s)
        At least one step.
    fresh : (l, *s) bool, or of shapes that expand to it
        Where nothing of the step before is taken, a NaN neither.
    initial : (*s)
        h_{−1}.

    Returns
    -------
    h : (l, *s)
    """
    return (_traced if is_opaque() else _sums)(x, fresh, initial)


def _sums(x: Tensor, fresh: Tensor, initial: Tensor) -> Tensor:
    h, sums = initial, []
    for x_t, starts in zip(x.unbind(), fresh.unbind(), strict=True):
        h = h.masked_fill(starts, 0) + x_t
        sums.append(h)
    return torch.stack(sums)


def _adjoint(g: Tensor, h: Tensor, fresh: Tensor) -> list[Tensor]:
    """The gradients of x and of the initial state."""
    after, adjoints = torch.zeros_like(h[0]), []
    for g_t, starts in zip(reversed(g.unbind()), reversed(fresh.unbind()), strict=True):
        adjoints.append(g_t + after)
        after = adjoints[-1].masked_fill(starts, 0)
    return [torch.stack(adjoints[::-1]), after]


_traced = opaque(
    "sum_from_resets",
    _sums,
    _adjoint,
    fake=lambda x, fresh, initial: empty(x),
    fake_backward=lambda g, h, fresh: [empty(h), empty(h[0])],
    read=(1,),
)
