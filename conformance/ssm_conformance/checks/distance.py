"""How far the elements of an array lie apart must not matter: offsets that 32 bits cannot count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from typing import Final, TypeVar

from ssm_backends import Layout
from ssm_conformance.checks.accuracy import judge_backward, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pytorch import named
from ssm_conformance.checks.subject import Stored, Subject, Unobservable, told_of

T = TypeVar("T")
BEYOND: Final = 2**20
"""Elements past the power of two: more than what lies at one index of a case's array.

An offset that wraps there and stays in the array finds zeros.
"""


def far(subject: Subject) -> Finding:
    """Each array and each cotangent, one dimension after the other, reaching past what 32 bits count.

    What lies at one index of that dimension is contiguous. So no other dimension reaches far, and a few pages
    are touched: memory that nothing writes is not taken from the machine where it hands out pages on use.
    """
    found = Finding()
    for name, layout, where in _one_by_one(subject.stored):
        with told_of(where):
            found = _judge(subject, {name: layout}, where)
        if not found.passed:
            return named(found, where)
    for name, layout, along in _one_by_one(subject.cotangents) if subject.takes_gradients else ():
        where = f"the cotangent of {along}"
        with told_of(where):
            found = _judge_cotangent(subject, {name: layout}, where)
        if not found.passed:
            return named(found, where)
    return found


def _judge(subject: Subject, layouts: Mapping[str, Layout], where: str) -> Finding:
    """Outputs, then gradients: of a call of its own, since the first may have written its state."""
    make = partial(subject.into, subject.stored, layouts)
    found = judge_outputs(subject, subject.forward(_with_room(where, make)))
    if found.passed and subject.takes_gradients:
        return judge_backward(subject, _with_room(where, make))
    return found


def _judge_cotangent(subject: Subject, layouts: Mapping[str, Layout], where: str) -> Finding:
    make = partial(subject.into_cotangents, layouts)
    return judge_backward(subject, subject.call, _with_room(where, make))


def _one_by_one(arrays: Mapping[str, Stored]) -> Iterator[tuple[str, Layout, str]]:
    """Each dimension of each array that has two elements along it, and how a message says it."""
    for name, item in arrays.items():
        shape = item.array.shape
        for dim, size in enumerate(shape):
            if size > 1 and item.array.size:
                layout, bits = _apart(shape, dim)
                yield name, layout, f"`{name}` reaching past 2{bits} elements along dimension {dim}"


def _apart(shape: tuple[int, ...], dim: int) -> tuple[Layout, str]:
    """One dimension that reaches past 32 bits, the others contiguous within; and past how many it does.

    Of four or more past 2³², where even unsigned numbers wrap; of three past 2³¹. Then the stride itself is
    less than 2³¹: a compiler that takes the width of a product from its factors, as Triton's does, has to be
    told of a wider one. Of two the stride is the offset, past 2³¹: it has to be taken as more than 32 bits.
    """
    others = tuple(other for other in range(len(shape)) if other != dim)
    reach, bits = (2**32, "³²") if shape[dim] > 3 else (2**31, "³¹")
    stride = (reach + BEYOND) // (shape[dim] - 1) + 1
    return Layout(order=(dim, *others), gap=stride - prod(shape[other] for other in others)), bits


def _with_room(where: str, make: Callable[[], T]) -> T:
    """What ``make`` gives, where there is memory for it."""
    try:
        return make()
    except MemoryError as error:
        raise Unobservable(f"memory for {where}: {error}") from error
