"""h_t = a_t h_{t−1} + x_t over one block, and its adjoint, in place.

On a CPU one step follows the other. On a GPU, where each step would be a launch of its own,
pairs are combined in a tree (Brent and Kung 1982), in 4 log₂ t launches for t steps.

At a reset the earlier state is selected away: it is replaced by 0, and so is the decay, so
that no NaN of the earlier sequence passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

TREE_DEVICES: Final = ("cuda",)


@dataclass(frozen=True)
class Resets:
    """Where sequences start inside a block.

    Attributes
    ----------
    mask : (t, b, 1, 1, 1) bool
    """

    mask: Tensor

    def times(self) -> frozenset[int]:
        """The steps at which any row has one."""
        return frozenset(self.mask.flatten(1).any(1).nonzero().flatten().tolist())


def run_forward(a: Tensor, x: Tensor, before: Tensor, resets: Resets | None) -> None:
    """x becomes h.

    Parameters
    ----------
    a, x : (t, b, g, n, p)
        The decay, 0 at resets; and the drive, which is overwritten.
    before : (b, g, n, p)
        h_{−1}.
    """
    if x.device.type in TREE_DEVICES:
        first = before if resets is None else before.masked_fill(resets.mask[0], 0)
        x[0].addcmul_(a[0], first)
        _tree(a.clone(), x, None if resets is None else resets.mask, backwards=False)
        return
    starts = frozenset[int]() if resets is None else resets.times()
    h = before
    for t, (a_t, x_t) in enumerate(zip(a.unbind(), x.unbind(), strict=True)):
        if resets is not None and t in starts:
            h = h.masked_fill(resets.mask[t], 0)
        h = x_t.addcmul_(a_t, h)


def run_backward(a: Tensor, c: Tensor, after: Tensor, resets: Resets | None) -> Tensor:
    """c becomes λ_t = c_t + conj(a_{t+1}) λ_{t+1}.

    Parameters
    ----------
    a, c : (t, b, g, n, p)
        The decay, 0 at resets; and the cotangent of the states, which is overwritten.
    after : (b, g, n, p)
        What reaches the block's last state from later ones.

    Returns
    -------
    conj(a_0) λ_0, which reaches the state before the block : (b, g, n, p)
    """
    a = a.conj().resolve_conj()
    c[-1].add_(after)
    if c.device.type in TREE_DEVICES:
        _tree(torch.roll(a, -1, 0), c, None if resets is None else resets.mask.roll(-1, 0), backwards=True)
        first = c[0] if resets is None else c[0].masked_fill(resets.mask[0], 0)
        return a[0] * first
    starts = frozenset[int]() if resets is None else resets.times()
    decays, adjoints = a.unbind(), c.unbind()
    for t in reversed(range(len(c))):
        later = adjoints[t]
        if resets is not None and t in starts:
            later = later.masked_fill(resets.mask[t], 0)
        if t:
            adjoints[t - 1].addcmul_(decays[t], later)
    return decays[0] * later


def _tree(a: Tensor, x: Tensor, mask: Tensor | None, backwards: bool) -> None:
    """x_i += a_i x_{i−1}, for all i in order: up the tree in pairs of 1, 2, 4, …, and down again.

    Both are overwritten. With `backwards` the order is from the last to the first.
    """
    length = len(x)
    widths = [1 << k for k in range((length // 2).bit_length())]
    flags = None if mask is None else mask.clone()
    for width in widths:
        _combine(a, x, flags, *_pairs(length, width, width - 1, backwards), products=True)
    for width in reversed(widths):
        _combine(a, x, flags, *_pairs(length, width, 2 * width - 1, backwards), products=False)


def _pairs(length: int, width: int, first: int, backwards: bool) -> tuple[slice, slice]:
    """Indices first, first + 2·width, … and those a width further on, while they last."""
    step = 2 * width
    count = max(0, (length - 1 - first - width) // step + 1)
    left, right = first, first + width
    if backwards:
        left, right = (length - 1 - start - step * (count - 1) for start in (left, right))
    return slice(left, left + step * count, step), slice(right, right + step * count, step)


def _combine(
    a: Tensor, x: Tensor, flags: Tensor | None, left: slice, right: slice, *, products: bool
) -> None:
    """(a_right, x_right) becomes (a_right a_left, a_right x_left + x_right), cut where a sequence starts."""
    earlier = x[left]
    if flags is not None:
        earlier = earlier.masked_fill(flags[right], 0)
    x[right].addcmul_(a[right], earlier)
    if not products:
        return
    a[right].mul_(a[left])
    if flags is not None:
        flags[right] |= flags[left]
        a[right].masked_fill_(flags[right], 0)
