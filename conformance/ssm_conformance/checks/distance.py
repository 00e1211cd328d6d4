"""How far the elements of an array lie apart must not matter: offsets that 32 bits cannot count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Final, TypeVar

from ssm_backends import Layout
from ssm_conformance.checks.accuracy import judge_backward, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pytorch import named
from ssm_conformance.checks.subject import NoRoom, NotAsked, Stored, Subject, told_of
from ssm_conformance.checks.vacuous import some

T = TypeVar("T")
BEYOND: Final = 2**20
"""Elements past the power of two: more than what lies at one index of a case's array.

An offset that wraps there and stays in the array finds zeros.
"""


def far(subject: Subject) -> Finding:
    """One array, one dimension after the other, reaching past what 32 bits count.

    What lies at one index of that dimension is contiguous. So no other dimension reaches far, and a few pages
    are touched: memory that nothing writes is not taken from the machine where it hands out pages on use.
    """
    found, name = Finding(), subject.case.options["array"]
    for layout, along in some(_one_by_one(name, subject.stored[name]), "dimension of two elements"):
        with told_of(along), _released(subject):
            found = _judge(subject, {name: layout}, along)
        if not found.passed:
            return named(found, along)
    return found


def far_cotangents(subject: Subject) -> Finding:
    """The same of each cotangent; which there are is claimed."""
    asked = [(name, *how) for name, item in subject.cotangents.items() for how in _one_by_one(name, item)]
    if not asked:
        raise NotAsked("no cotangent that is claimed has two elements along a dimension")
    found = Finding()
    for name, layout, along in asked:
        where = f"the cotangent of {along}"
        with told_of(where), _released(subject):
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


def _one_by_one(name: str, item: Stored) -> Iterator[tuple[Layout, str]]:
    """Each dimension that an array has two elements along, and how a message says it."""
    shape = item.array.shape
    for dim, size in enumerate(shape):
        if size > 1 and item.array.size:
            layout, bits = _apart(shape, dim)
            yield layout, f"`{name}` reaching past 2{bits} elements along dimension {dim}"


def _apart(shape: tuple[int, ...], dim: int) -> tuple[Layout, str]:
    """One dimension that reaches past 32 bits, the others contiguous within; and past how many it does.

    Of four or more past 2³², where even unsigned numbers wrap; of three past 2³¹. Then the stride itself is
    less than 2³¹: a compiler that takes the width of a product from its factors, as Triton's does, has to be
    told of a wider one. Of two the stride is the offset, past 2³¹: it has to be taken as more than 32 bits.

    It is a multiple of 16, as those of large arrays are: who compiles for that has the kernel already.
    """
    others = tuple(other for other in range(len(shape)) if other != dim)
    reach, bits = (2**32, "³²") if shape[dim] > 3 else (2**31, "³¹")
    stride = 16 * ((reach + BEYOND) // (shape[dim] - 1) // 16 + 1)
    return Layout(order=(dim, *others), gap=stride - prod(shape[other] for other in others)), bits


@contextmanager
def _released(subject: Subject) -> Iterator[None]:
    """Memory of a device is given back after a call: other workers need it for theirs."""
    try:
        yield
    finally:
        getattr(subject.arrays, "release", lambda: None)()


def _with_room(where: str, make: Callable[[], T]) -> T:
    """What ``make`` gives, where there is memory for it."""
    try:
        return make()
    except MemoryError as error:
        raise NoRoom(f"memory for {where}: {error}") from error
