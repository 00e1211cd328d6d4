"""h_t = a_t h_{t−1} + x_t over one block, and its adjoint, in place.

Lanes go through their steps side by side. Where there are several, the state before each comes
first: every lane but the last is run from zero, keeping the running state alone, and its end and
the product of its decays carry the state from lane to lane; many lanes are carried over in lanes
again. This is a bracketing of the associative operator, as the sequence is.

At a reset the earlier state is selected away: it is replaced by 0, and so is the decay, so
that no NaN of the earlier sequence passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from ssm_torch.functions import split

FEWEST_IN_LANES: Final = 9
"""Fewer lanes are carried over one after the other: that takes no more operations."""


@dataclass(frozen=True)
class Resets:
    """Where sequences start inside a block.

    Attributes
    ----------
    mask : (rows, b, 1, 1, 1) bool; (t, k, b, 1, 1, 1) in lanes
    """

    mask: Tensor

    def times(self) -> frozenset[int]:
        """The steps at which any lane may have one; a GPU is not asked, which would wait for it."""
        if self.mask.is_cuda:
            return frozenset(range(len(self.mask)))
        return frozenset(self.mask.flatten(1).any(1).nonzero().flatten().tolist())

    def in_lanes(self, lanes: int) -> Resets:
        """Of a block that many lanes share."""
        return Resets(in_lanes(self.mask, lanes))

    def of(self, lanes: slice) -> Resets:
        """Of some lanes."""
        return Resets(self.mask[:, lanes])

    def of_any_step(self) -> Resets:
        """Of lanes as steps: whether a lane has one."""
        return Resets(self.mask.any(0))


def in_lanes(x: Tensor, lanes: int) -> Tensor:
    """A block (rows, …) as (t, k, …), a view."""
    return split(x, 0, (len(x) // lanes, lanes))


def states_before(
    a: Tensor, x: Tensor, first: Tensor, resets: Resets | None, *, backwards: bool = False
) -> Tensor:
    """The state before each lane, (k, …).

    Parameters
    ----------
    a, x : (t, k, …)
        The decay, 0 at resets; and the drive.
    first : (…)
        The state before the first lane.
    backwards
        From the last step of the last lane to the first of the first; `first` is before that one.
    """
    lanes = x.shape[1]
    if lanes == 1:
        return first.unsqueeze(0)
    befores = x.new_empty((lanes, *first.shape))
    befores[-1 if backwards else 0] = first
    some = slice(1, None) if backwards else slice(None, -1)
    ends = befores[:-1] if backwards else befores[1:]
    within = None if resets is None else resets.of(some)
    _end(a[:, some], x[:, some], ends, within, backwards=backwards)
    _carry(_products(a[:, some], within), ends, first, within, backwards=backwards)
    return befores


def run(a: Tensor, x: Tensor, before: Tensor, resets: Resets | None, *, backwards: bool = False) -> None:
    """x becomes h, one step after the other.

    Parameters
    ----------
    a, x : (t, …)
        The decay, 0 at resets; and the drive, which is overwritten.
    before : (…)
        The state before the first step, or, `backwards`, after the last.
    """
    keep = _selection(resets)
    h = before
    for t, a_t, x_t in _in_order(a, x, backwards=backwards):
        h = x_t.addcmul_(a_t, keep(t, h))


def run_backward(a: Tensor, c: Tensor, after: Tensor, resets: Resets | None) -> Tensor:
    """c becomes λ_t = c_t + conj(a_{t+1}) λ_{t+1}, and a becomes conj(a_t) λ_t, which reaches h_{t−1}.

    Parameters
    ----------
    a, c : (t, k, b, g, n, p)
        The decay, 0 at resets; and the cotangent of the states. Both are overwritten.
    after : (b, g, n, p)
        What reaches the block's last state from later ones.

    Returns
    -------
    conj(a_0) λ_0, which reaches the state before the block : (b, g, n, p)
    """
    a.conj_physical_()
    c[-1, -1].add_(after)
    if c.shape[1] > 1:
        c[-1, :-1].add_(_reaching(a[:, 1:], c[:, 1:], None if resets is None else resets.of(slice(1, None))))
    keep = _selection(resets)
    reached, adjoints = a.unbind(), c.unbind()
    for t in reversed(range(1, len(c))):
        adjoints[t - 1].add_(reached[t].mul_(keep(t, adjoints[t])))
    reached[0].mul_(keep(0, adjoints[0]))
    return reached[0][0].clone()


def _reaching(a: Tensor, c: Tensor, resets: Resets | None) -> Tensor:
    """What of each lane and all later ones reaches the state before it, (k, b, g, n, p); a is conjugated.

    What reaches the last lane's last state is part of c.
    """
    keep = _selection(resets)
    decays, given = a.unbind(), c.unbind()
    room = torch.empty_like(given[0])
    reach = given[-1]
    for t in reversed(range(1, len(given))):
        reach = torch.addcmul(given[t - 1], decays[t], keep(t, reach), out=room)
    reach = torch.mul(decays[0], keep(0, reach), out=room)
    if len(reach) > 1:
        earlier = None if resets is None else resets.of(slice(None, -1))
        _carry(_products(a[:, :-1], earlier), reach[:-1], reach[-1], earlier, backwards=True)
    return reach


def _end(a: Tensor, x: Tensor, ends: Tensor, resets: Resets | None, *, backwards: bool) -> None:
    """The last states of lanes (t, k, …) that start from zero, into `ends`."""
    keep = _selection(resets)
    (_, _, h), *steps = _in_order(a, x, backwards=backwards)
    for t, a_t, x_t in steps:
        h = torch.addcmul(x_t, a_t, keep(t, h), out=ends)
    if not steps:
        ends.copy_(h)


def _products(a: Tensor, resets: Resets | None) -> Tensor:
    """The product of the decays of each lane (t, k, …), 0 across a reset."""
    products = a.prod(0)
    return products if resets is None else products.masked_fill_(resets.of_any_step().mask, 0)


def _carry(a: Tensor, x: Tensor, first: Tensor, resets: Resets | None, *, backwards: bool) -> None:
    """x (k, …) becomes h, from lane to lane; the resets are those inside the lanes."""
    across = None if resets is None else resets.of_any_step()
    k, size = len(x), isqrt(len(x))
    if k < FEWEST_IN_LANES:
        run(a, x, first, across, backwards=backwards)
        return
    rest, whole = k % size, k - k % size
    grouped, left = (slice(rest, k), slice(rest)) if backwards else (slice(whole), slice(whole, k))
    lanes, starts = (split(y[grouped], 0, (-1, size)).transpose(0, 1) for y in (a, x))
    inside = None if across is None else Resets(split(across.mask[grouped], 0, (-1, size)).transpose(0, 1))
    befores = states_before(lanes, starts, first, inside, backwards=backwards)
    run(lanes, starts, befores, inside, backwards=backwards)
    last = x[rest] if backwards else x[whole - 1]
    run(a[left], x[left], last, None if across is None else Resets(across.mask[left]), backwards=backwards)


def _in_order(a: Tensor, x: Tensor, *, backwards: bool) -> list[tuple[int, Tensor, Tensor]]:
    """t, a_t and x_t of each step."""
    steps = list(zip(range(len(x)), a.unbind(), x.unbind(), strict=True))
    return steps[::-1] if backwards else steps


def _selection(resets: Resets | None) -> Callable[[int, Tensor], Tensor]:
    """Given t and the states that meet step t: 0 in place of those that do not pass."""
    if resets is None:
        return lambda _, h: h
    mask, times = resets.mask, resets.times()
    return lambda t, h: h.masked_fill(mask[t], 0) if t in times else h
