"""The associative operator behind every parallel scan, and four orders in which to apply it.

    (a₁, x₁) ∘ (a₂, x₂) = (a₂ a₁, a₂ x₁ + x₂),   first in time on the left

(Blelloch, Prefix sums and their applications (1990), section 1.4; S5, arXiv:2208.04933, appendix H.)
It is associative but not commutative: brackets may move, operands may not, and for matrices a₂ a₁ is
not a₁ a₂. Each order here counts its applications (work) and the longest chain of them (depth).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from ssm_spec._validate import Array


class Elements(NamedTuple):
    """A run of operands, time first.

    a (l, *s, n) or (l, *s, n, n); x (l, *s, n); depth (l,), the longest chain behind each.
    """

    a: Array
    x: Array
    depth: Array

    def at(self, where: slice | Array) -> Elements:
        """Return some of them."""
        return Elements(self.a[where], self.x[where], self.depth[where])

    def put(self, where: slice | Array, new: Elements) -> None:
        """Replace some of them."""
        for old, value in zip(self, new, strict=True):
            old[where] = value


class Counter:
    """Applies the operator to runs of operands, and counts."""

    def __init__(self) -> None:
        self.work = 0

    def __call__(self, first: Elements, second: Elements) -> Elements:
        """Return first ∘ second, element by element of the runs."""
        self.work += len(second.depth)
        depth = np.maximum(first.depth, second.depth) + 1
        if second.a.ndim == second.x.ndim:
            return Elements(second.a * first.a, second.a * first.x + second.x, depth)
        moved = (second.a @ first.x[..., None])[..., 0]
        return Elements(second.a @ first.a, moved + second.x, depth)


def sequential(combine: Counter, e: Elements, chunk: int) -> Elements:
    """One after the other: l − 1 applications, each behind the last."""
    out = _copied(e)
    for t in range(1, len(e.depth)):
        one = slice(t, t + 1)
        out.put(one, combine(out.at(slice(t - 1, t)), e.at(one)))
    return out


def hillis_steele(combine: Counter, e: Elements, chunk: int) -> Elements:
    """Every element with the one 1, 2, 4, ... before it: depth ⌈log₂ l⌉, work about l log₂ l.

    (Hillis and Steele, Communications of the ACM 29 (1986); also Kogge and Stone 1973.)
    """
    out, shift = _copied(e), 1
    while shift < len(e.depth):
        out.put(slice(shift, None), combine(out.at(slice(None, -shift)), out.at(slice(shift, None))))
        shift *= 2
    return out


def blelloch(combine: Counter, e: Elements, chunk: int) -> Elements:
    """Pairs up a tree and down again: work below 2 l, depth below 2 ⌈log₂ l⌉ (Blelloch 1990, section 1.2)."""
    length = len(e.depth)
    if length < 2:
        return _copied(e)
    pairs = combine(e.at(slice(0, length - 1, 2)), e.at(slice(1, length, 2)))
    prefixes, out = blelloch(combine, pairs, chunk), _copied(e)
    out.put(slice(1, length, 2), prefixes)
    later = slice(2, length, 2)
    before = prefixes.at(slice(0, (length - 1) // 2))
    if length > 2:
        out.put(later, combine(before, e.at(later)))
    return out


def chunked(combine: Counter, e: Elements, chunk: int) -> Elements:
    """Chunks of Q side by side, then their ends in a row, then each chunk behind the one before it."""
    length, out = len(e.depth), _copied(e)
    starts = np.arange(0, length, chunk)
    for q in range(1, min(chunk, length)):
        now = starts[starts + q < length] + q
        out.put(now, combine(out.at(now - 1), e.at(now)))
    ends = np.minimum(starts + chunk, length) - 1
    for c in range(1, len(starts)):
        inside = np.arange(starts[c], ends[c] + 1)
        carry = out.at(np.full(len(inside), ends[c - 1]))
        out.put(inside, combine(carry, out.at(inside)))
    return out


EVALUATIONS: Final[dict[str, Callable[[Counter, Elements, int], Elements]]] = {
    "sequential": sequential,
    "hillis-steele": hillis_steele,
    "blelloch": blelloch,
    "chunked": chunked,
}


def _copied(e: Elements) -> Elements:
    return Elements(e.a.copy(), e.x.copy(), e.depth.copy())
