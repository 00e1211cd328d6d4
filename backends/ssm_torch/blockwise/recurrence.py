"""h_t = a_t h_{t−1} + x_t over one block, and its adjoint, in place.

Lanes go through their steps side by side. Where there are several, the state before each comes
first: every lane but the last is run from zero, keeping the running state alone, and its end and
the product of its decays carry the state from lane to lane. This is a bracketing of the
associative operator, as the sequence is.

The adjoint λ_t = c_t + conj(a_{t+1}) λ_{t+1} is the same recurrence from the end, each step with
the decay of the one after it.

At a reset the earlier state is selected away: it is replaced by 0, and so is the decay, so
that no NaN of the earlier sequence passes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from ssm_torch.functions import split

Steps = Iterable[tuple[int, Tensor, Tensor]]
"""t, a_t and x_t of each step, in the order in which they are taken; asked for one by one."""
Products = Callable[[slice, Tensor], None]
"""Of some lanes: the product of the decays of each, 0 across a reset, into a room (k, …)."""


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


def in_lanes(x: Tensor, lanes: int) -> Tensor:
    """A block (rows, …) as (t, k, …), a view."""
    return split(x, 0, (len(x) // lanes, lanes))


def in_order(a: Tensor, x: Tensor) -> Steps:
    """t, a_t and x_t of each step."""
    return zip(range(len(x)), a.unbind(), x.unbind(), strict=True)


def states_before(
    steps: Steps, products: Products, first: Tensor, befores: Tensor, resets: Resets | None
) -> None:
    """The state before each lane.

    Parameters
    ----------
    steps
        Of all lanes but the last: the decay, 0 at resets, and the drive, each (k − 1, …). All are taken.
    products
        Of those lanes; asked after that.
    first : (…)
        The state before the first lane.
    befores : (k, …)
        Where the states go.
    """
    befores[0] = first
    if len(befores) == 1:
        deque(steps, maxlen=0)
        return
    within = None if resets is None else resets.of(slice(None, -1))
    _end(steps, befores[1:], within)
    decays = torch.empty_like(befores)
    products(slice(None, -1), decays[1:])
    carry(decays, befores, within)


def run(steps: Steps, before: Tensor, resets: Resets | None) -> None:
    """x becomes h, one step after the other, from the state `before` the first."""
    keep = selection(resets)
    h = before
    for t, a_t, x_t in steps:
        h = x_t.addcmul_(a_t, keep(t, h))


def adjoint(a: Tensor, c: Tensor, products: Products, after: Tensor, resets: Resets | None) -> Iterator[int]:
    """c becomes λ_t = c_t + a_{t+1} λ_{t+1}; yields each step once its λ is there, the last one first.

    Parameters
    ----------
    a, c : (t, k, b, g, n, p)
        The conjugate of the decay, 0 at resets; and the cotangent of the states, which is overwritten.
    products
        Of a.
    after : (b, g, n, p)
        What reaches the block's last state from later ones.
    """
    keep = selection(resets)
    c[-1].add_(_reaching(a, c, products, after, resets))
    decays, given = a.unbind(), c.unbind()
    yield len(given) - 1
    for t in reversed(range(1, len(given))):
        given[t - 1].addcmul_(decays[t], keep(t, given[t]))
        yield t - 1


def leaving(a: Tensor, adjoints: Tensor, resets: Resets | None) -> Tensor:
    """a_0 λ_0, which reaches the state before the block, (b, g, n, p)."""
    return a[0, 0] * selection(resets)(0, adjoints[0])[0]


def _reaching(a: Tensor, c: Tensor, products: Products, after: Tensor, resets: Resets | None) -> Tensor:
    """What of later lanes and of what is after them reaches the last state of each lane, (k, b, g, n, p)."""
    if c.shape[1] == 1:
        return after.unsqueeze(0)
    later = None if resets is None else resets.of(slice(1, None))
    keep = selection(later)
    decays, given = a[:, 1:].unbind(), c[:, 1:].unbind()
    reach, decay = torch.empty_like(c[0]), torch.empty_like(c[0])
    some, adjoints = reach[:-1], given[-1]
    for t in reversed(range(1, len(given))):
        adjoints = torch.addcmul(given[t - 1], decays[t], keep(t, adjoints), out=some)
    torch.mul(decays[0], keep(0, adjoints), out=some)
    reach[-1] = after
    products(slice(1, None), decay[:-1])
    carry(decay, reach, later, backwards=True)
    return reach


def _end(steps: Steps, ends: Tensor, resets: Resets | None) -> None:
    """The last states of lanes that start from zero, into `ends` (k, …)."""
    keep = selection(resets)
    h = None
    for t, a_t, x_t in steps:
        h = x_t if h is None else torch.addcmul(x_t, a_t, keep(t, h), out=ends)
    if h is not None and h is not ends:
        ends.copy_(h)


def carry(a: Tensor, x: Tensor, resets: Resets | None, *, backwards: bool = False) -> None:
    """x_j becomes h_j = a_j h_{j−1} + x_j from lane to lane, h_0 = x_0; `backwards`, from the last lane.

    Runs of 1, 2, 4, … lanes are joined two by two: what the first of them ends with goes to all lanes of
    the second at once (Sklansky 1960).

    Parameters
    ----------
    a, x : (k, …)
        a is 0 across a reset, and overwritten; that of the lane where the recurrence starts is not used.
    resets
        What lies between neighbours: none, or (t, k − 1, …).
    """
    k, size = len(x), 1
    outer = (0, 1) if backwards else (1, 0)
    barred = None if resets is None else pad(resets.mask.any(0), (0, 0) * (x.ndim - 1) + outer)
    while size < k:
        pairs = (_pairs(y, size, backwards=backwards) for y in (a, x))
        for i, ((a_end, a_later), (end, later)) in enumerate(zip(*pairs, strict=True)):
            if barred is not None:
                bar_end, bar_later = _pairs(barred, size, backwards=backwards)[i]
                end, a_end = (torch.where(bar_later, 0, y) for y in (end, a_end))
                bar_later |= bar_end
            later.addcmul_(a_later, end)
            if 2 * size < k:
                a_later.mul_(a_end)
        size *= 2


def _pairs(x: Tensor, size: int, *, backwards: bool) -> list[tuple[Tensor, Tensor]]:
    """Of lanes (k, …) in runs of so many, two by two: the end of the first, and the second.

    Views (pairs, 1, …) and (pairs, size, …) of all whole pairs; and of one with a shorter second run.
    """
    count, rest = divmod(len(x), 2 * size)
    equal, odd = (x[rest:], x[:rest]) if backwards else (x[: len(x) - rest], x[len(x) - rest :])
    pairs = []
    if count:
        first, second = equal.view(count, 2, size, *x.shape[1:]).unbind(1)[:: -1 if backwards else 1]
        pairs.append((first[:, :1] if backwards else first[:, -1:], second))
    if rest > size:
        cut = rest - size if backwards else size
        end, second = (odd[cut : cut + 1], odd[:cut]) if backwards else (odd[cut - 1 : cut], odd[cut:])
        pairs.append((end.unsqueeze(0), second.unsqueeze(0)))
    return pairs


def selection(resets: Resets | None) -> Callable[[int, Tensor], Tensor]:
    """Given t and the states that meet step t: 0 in place of those that do not pass."""
    if resets is None:
        return lambda _, h: h
    mask, times = resets.mask, resets.times()
    return lambda t, h: h.masked_fill(mask[t], 0) if t in times else h
