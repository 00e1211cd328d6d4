"""Honest scans whose order of evaluation is another: Kogge–Stone, balanced tree, reversed sums, subtraction.

The trees are over (a, x, r): a decay, what is added, and whether a sequence begins there, which selects:
(a₁, x₁, r₁) ∘ (a₂, x₂, r₂) = (a₂a₁, a₂x₁ + x₂, r₁ or r₂), and a₂x₁ is left out where r₂.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.scan import Problem, State


class Node(NamedTuple):
    """What a span of time does to the state before it: h ↦ a h + x, or x where a sequence begins in it."""

    a: Array
    x: Array
    begins: Array


def compose(first: Node, second: Node) -> Node:
    """Two adjacent spans as one, the earlier one first."""
    carried = np.where(second.begins, 0, second.a * first.x)
    return Node(second.a * first.a, carried + second.x, first.begins | second.begins)


class Bracketed(Honest):
    """States and adjoint states by prefix compositions of some bracketing: all of them at once."""

    claims: ClassVar[Mapping[str, Any]] = {**Honest.claims, "memory": "materialised"}

    @abstractmethod
    def prefixes(self, nodes: Sequence[Node]) -> list[Node]:
        """The composition of the first 1, 2, … nodes."""

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        """See :class:`~ssm_conformance.mutants.kernels.scan.Scan`."""
        nodes = []
        for t in times:
            reset = np.broadcast_to(p.reset[:, t, None, None], h.shape)
            pushed = self.hold(p, t) * p.u[:, :, t, None] * self.input_matrix(p, t)
            x = np.broadcast_to(pushed, h.shape)
            if t == times.start:
                x = self.forget(self.decay(p, t) * h, p.reset[:, t]) + x
            nodes.append(Node(self.decay(p, t), x, reset))
        before = h
        for t, node in zip(times, self.prefixes(nodes), strict=True):
            yield t, self.forget(self.decay(p, t) * before, p.reset[:, t]), node.x
            before = node.x

    def adjoints(
        self, p: Problem, q: Array, times: range, last: Array
    ) -> Iterator[tuple[Array, Array, Array]]:
        """See :class:`~ssm_conformance.mutants.kernels.adjoint.Honest`."""
        slopes: list[Array] = []
        nodes: list[Node] = []
        for t in reversed(times):
            slopes.append(np.broadcast_to(self.slope_state(p, q, t), last.shape))
            after = t + 1 if t + 1 < times.stop else None
            a = np.zeros_like(last) if after is None else self.decay(p, after).conj()
            begins = np.zeros(last.shape, dtype=bool)
            if after is not None:
                begins = np.broadcast_to(p.reset[:, after, None, None], last.shape)
            nodes.append(Node(a, slopes[-1] if nodes else slopes[-1] + last, begins))
        for t, c, node in zip(reversed(times), slopes, self.prefixes(nodes), strict=True):
            yield c, node.x, self.carry_back(p, t, node.x)


class KoggeStone(Bracketed):
    """Every span doubled at once, log₂ l times (Kogge and Stone 1973)."""

    def prefixes(self, nodes: Sequence[Node]) -> list[Node]:
        """See :class:`Bracketed`."""
        found, reach = list(nodes), 1
        while reach < len(found):
            found = [node if i < reach else compose(found[i - reach], node) for i, node in enumerate(found)]
            reach *= 2
        return found


class Balanced(Bracketed):
    """Up a balanced tree and down again (Blelloch 1990)."""

    def prefixes(self, nodes: Sequence[Node]) -> list[Node]:
        """See :class:`Bracketed`."""
        if len(nodes) < 2:
            return list(nodes)
        pairs = [compose(*nodes[i : i + 2]) for i in range(0, len(nodes) - 1, 2)]
        upper = self.prefixes(pairs)
        later = range(1, len(nodes))
        return [nodes[0], *(upper[i // 2] if i % 2 else compose(upper[i // 2 - 1], nodes[i]) for i in later)]


class Subtractive(Honest):
    """a h for the gradients is recovered as h − b, as Mamba's kernel does."""

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        """See :class:`~ssm_conformance.mutants.kernels.scan.Scan`."""
        for t, _, after in super().states(p, times, h):
            pushed = self.hold(p, t) * p.u[:, :, t, None] * self.input_matrix(p, t)
            yield t, self.forget(after - pushed, p.reset[:, t]), after


class Reversed(Honest):
    """Every sum from its last term to its first, one term after the other."""

    def contract(self, C: Array, h: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.scan.Scan`."""
        return _backwards((C * h).real, (-1,))

    def over_rows(self, terms: Array, name: str) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.adjoint.Honest`."""
        return _backwards(terms, (0, 2))

    def add(self, terms: Array, axes: tuple[int, ...]) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.adjoint.Honest`."""
        return _backwards(terms, axes)


class Arriving(Honest):
    """Sums of gradients in the order in which their terms arrive, another one each time, as atomics add."""

    def over_rows(self, terms: Array, name: str) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.adjoint.Honest`."""
        return _as_they_come(terms, (0, 2))

    def add(self, terms: Array, axes: tuple[int, ...]) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.adjoint.Honest`."""
        return _as_they_come(terms, axes)


def _as_they_come(terms: Array, axes: tuple[int, ...]) -> Array:
    """Σ over these axes in an order drawn anew."""
    first = np.moveaxis(terms, axes, range(len(axes)))
    rows = first.reshape(prod(first.shape[: len(axes)]), *first.shape[len(axes) :])
    return np.asarray(rows[np.random.default_rng().permutation(len(rows))].sum(axis=0, dtype=terms.dtype))


def _backwards(terms: Array, axes: tuple[int, ...]) -> Array:
    """Σ over these axes, from the last element to the first."""
    kept = [i for i in range(terms.ndim) if i not in {axis % terms.ndim for axis in axes}]
    shape = tuple(terms.shape[i] for i in kept)
    summed = [i for i in range(terms.ndim) if i not in kept]
    rows = np.transpose(terms, (*summed, *kept))[(slice(None, None, -1),) * len(summed)]
    total = np.zeros(shape, terms.dtype)
    for row in np.ndindex(rows.shape[: len(summed)]):
        total = total + rows[row]
    return total
