"""Reverse-mode differentiation of arrays of balls: every operation remembers how gradients flow back.

For w = f(x), holomorphic, the gradient ∂L/∂Re x + i ∂L/∂Im x of x gains conj(f'(x)) times that of w;
a real x gains the real part of it. No operator's adjoint is written here or above: each gradient
is the chain rule over the few operations of this file and `_functions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, count
from typing import Any, NamedTuple

import numpy as np

from ssm_spec.certify._balls import Balls, conjugate, exact, filled, real_part, total

_ORDER = count()


class Link(NamedTuple):
    """Where a variable came from: a part `place` of `parent`, and how its gradient is pulled back there."""

    parent: Variable
    pull: Callable[[Balls], Balls]
    place: Any = ...


class Variable:
    """An array of balls on the tape.

    Attributes
    ----------
    value
        The balls, `arb` or `acb`.
    complex
        Whether the number is complex; a real one has a real gradient.
    gradient
        What has flowed back so far; None before anything has.
    """

    __slots__ = ("complex", "gradient", "links", "order", "value")
    __array_ufunc__ = None  # an array on the left hands the operation over

    def __init__(self, value: Balls, complex_: bool, *links: Link) -> None:
        self.value, self.complex, self.links = value, complex_, links
        self.gradient: Balls | None = None
        self.order = next(_ORDER)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.value.shape

    def __add__(self, other: Variable) -> Variable:
        a, b = self, other
        return Variable(
            _array(a.value + b.value),
            a.complex or b.complex,
            Link(a, lambda g: summed_to(g, a.shape)),
            Link(b, lambda g: summed_to(g, b.shape)),
        )

    def __mul__(self, other: Variable) -> Variable:
        a, b = self, other
        return Variable(
            _array(a.value * b.value),
            a.complex or b.complex,
            Link(a, lambda g: summed_to(g * b.conjugated(), a.shape)),
            Link(b, lambda g: summed_to(g * a.conjugated(), b.shape)),
        )

    def __neg__(self) -> Variable:
        return Variable(_array(-self.value), self.complex, Link(self, lambda g: -g))

    def __matmul__(self, other: Variable) -> Variable:
        """Matrix products over the last two dimensions, the others broadcast."""
        a, b = self, other
        return Variable(
            np.matmul(a.value, b.value),
            a.complex or b.complex,
            Link(a, lambda g: summed_to(np.matmul(g, np.swapaxes(b.conjugated(), -1, -2)), a.shape)),
            Link(b, lambda g: summed_to(np.matmul(np.swapaxes(a.conjugated(), -1, -2), g), b.shape)),
        )

    def __getitem__(self, index: Any) -> Variable:
        """A part; an index may be an array that names a place several times."""
        return Variable(_array(self.value[index]), self.complex, Link(self, lambda g: g, index))

    def sum(self, axis: int) -> Variable:
        """The sum over one dimension."""
        return Variable(
            total(self.value, axis),
            self.complex,
            Link(self, lambda g: np.broadcast_to(np.expand_dims(g, axis), self.shape)),
        )

    def broadcast(self, shape: tuple[int, ...]) -> Variable:
        """The same in a larger shape."""
        wide = np.broadcast_to(self.value, shape)
        return Variable(wide, self.complex, Link(self, lambda g: summed_to(g, self.shape)))

    def swapped(self, a: int, b: int) -> Variable:
        """The same with two dimensions in each other's place."""
        return Variable(
            np.swapaxes(self.value, a, b), self.complex, Link(self, lambda g: np.swapaxes(g, a, b))
        )

    def promoted(self, other: Variable) -> Variable:
        """The same, complex beside a complex variable."""
        return Variable(self.value, self.complex or other.complex, Link(self, lambda g: g))

    def conjugated(self) -> Balls:
        """The conjugate of the value, off the tape."""
        return conjugate(self.value) if self.complex else self.value

    def receive(self, gradient: Balls, place: Any) -> None:
        """Add to the gradient of a part."""
        if self.gradient is None:
            self.gradient = filled(self.shape)
        if _names_places_twice(place):
            np.add.at(self.gradient, place, gradient)
        else:
            self.gradient[place] += gradient


def constant(array: Any) -> Variable:
    """Exactly the numbers of a float or complex array."""
    return Variable(exact(array), np.asarray(array).dtype.kind == "c")


def join(parts: Sequence[Variable], axis: int) -> Variable:
    """One array after the other along one dimension, which must not be negative."""
    ends = list(accumulate(part.shape[axis] for part in parts))
    before = (slice(None),) * axis

    def cut(start: int, end: int) -> Callable[[Balls], Balls]:
        return lambda g: g[(*before, slice(start, end))]

    links = (Link(x, cut(e - x.shape[axis], e)) for x, e in zip(parts, ends, strict=True))
    whole = np.concatenate([part.value for part in parts], axis=axis)
    return Variable(whole, any(part.complex for part in parts), *links)


def stack(parts: Sequence[Variable], axis: int, empty: Variable) -> Variable:
    """Join along a new dimension; `empty` is the result if there are no parts."""
    if not parts:
        return empty
    before = (slice(None),) * axis

    def at(i: int) -> Callable[[Balls], Balls]:
        index: Any = (*before, i)
        return lambda g: _array(g[index])

    links = (Link(part, at(i)) for i, part in enumerate(parts))
    whole = np.stack([part.value for part in parts], axis=axis)
    return Variable(whole, any(part.complex for part in parts), *links)


def summed_to(gradient: Balls, shape: tuple[int, ...]) -> Balls:
    """The gradient of an array that was broadcast from `shape`."""
    lead = gradient.ndim - len(shape)
    kept = tuple(i + lead for i, size in enumerate(shape) if size == 1 != gradient.shape[i + lead])
    axes = (*range(lead), *kept)
    if not axes:
        return gradient
    return total(gradient, axes).reshape(shape)


def differentiate(
    leaves: Mapping[str, Variable], outputs: Iterable[tuple[Variable, Balls]]
) -> dict[str, Balls]:
    """Gradients of L = Σ Re⟨cotangent, output⟩ with respect to the leaves: ∂L/∂Re + i ∂L/∂Im."""
    outputs = list(outputs)
    reached: dict[int, Variable] = {}
    waiting = [variable for variable, _ in outputs]
    while waiting:
        variable = waiting.pop()
        if variable.order not in reached:
            reached[variable.order] = variable
            waiting += [link.parent for link in variable.links]
    for variable in reached.values():
        variable.gradient = None
    for variable, cotangent in outputs:
        variable.receive(cotangent if variable.complex else real_part(cotangent), ...)
    for order in sorted(reached, reverse=True):
        _pull_back(reached[order])
    return {
        name: filled(leaf.shape) if leaf.gradient is None else leaf.gradient for name, leaf in leaves.items()
    }


def _pull_back(variable: Variable) -> None:
    """Hand the gradient of one variable to those it came from."""
    gradient = variable.gradient
    if gradient is None:
        return
    for link in variable.links:
        pulled = link.pull(gradient)
        link.parent.receive(
            real_part(pulled) if variable.complex and not link.parent.complex else pulled, link.place
        )
    if variable.links:
        variable.gradient = None  # a leaf keeps its gradient; the others make room


def _array(value: Any) -> Balls:
    """An array of objects, also where NumPy has handed out the one element of a 0-d one."""
    result: Balls = np.asarray(value, dtype=object)
    return result


def _names_places_twice(place: Any) -> bool:
    parts = place if isinstance(place, tuple) else (place,)
    return any(isinstance(part, np.ndarray) for part in parts)
