"""Where arrays lie must not matter: strides, and what memory held before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import numpy as np

from ssm_backends import Layout
from ssm_conformance.checks.accuracy import judge_backward, judge_outputs, judge_passes
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.poison import poisoned
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.checks.vacuous import some


def layout(subject: Subject) -> Finding:
    """The values again, with inputs that are not contiguous in memory."""
    how = subject.case.options["layout"]
    arranged = _equal_along(subject, how)
    layouts = _layouts(arranged.stored, how)
    some(_moved(arranged.stored, layouts), "array that would lie otherwise")
    outputs = arranged.forward(arranged.into(arranged.stored, layouts))
    return judge_outputs(arranged, outputs)


def gradient_layout(subject: Subject) -> Finding:
    """The gradients again, with inputs and cotangents that are not contiguous in memory."""
    how = subject.case.options["layout"]
    arranged = _equal_along(subject, how)
    layouts, given = _layouts(arranged.stored, how), _layouts(arranged.cotangents, how)
    moved = (*_moved(arranged.stored, layouts), *_moved(arranged.cotangents, given))
    some(moved, "array that would lie otherwise")
    call = arranged.into(arranged.stored, layouts)
    return judge_backward(arranged, call, arranged.into_cotangents(given))


def poison(subject: Subject) -> Finding:
    """Fresh memory is full of NaN: whatever is read before it is written shows."""
    with _poisoned(subject):
        found = judge_outputs(subject, subject.forward(subject.call))
    if not found.passed:
        return Finding(found.judgements, f"with NaN in fresh memory: {found.message}")
    if not subject.takes_gradients:
        return found
    run = subject.backward(subject.call)
    with _poisoned(subject):
        saving, gradients = subject.forward_saving(subject.call), subject.finish(run)
    found = judge_passes(subject, saving, gradients)
    message = "" if found.passed else f"with NaN in fresh memory: gradient: {found.message}"
    return Finding(found.judgements, message, found.details)


def _poisoned(subject: Subject) -> AbstractContextManager[None]:
    """Whatever of memory can be poisoned here; at least one way, or the question cannot be put."""
    own = getattr(subject.arrays, "poisoned", nullcontext)
    return poisoned(subject.arrays.device, own)


Dimensions = Callable[[int], tuple[int, ...]]
"""Some dimensions of an array of that rank."""


def _layouts(stored: Mapping[str, Stored], how: str) -> dict[str, Layout]:
    return {
        name: LAYOUT[how](item.array.ndim)
        for name, item in stored.items()
        if item.array.ndim > 0 and item.array.size > 0 and not (item.index and how in _EQUAL)
    }


def _moved(stored: Mapping[str, Stored], layouts: Mapping[str, Layout]) -> Iterator[str]:
    """The arrays that begin elsewhere in these layouts, or go on by other strides, than contiguous ones."""
    for name, layout in layouts.items():
        shape = stored[name].array.shape
        pairs = zip(shape, layout.strides(shape)[0], Layout().strides(shape)[0], strict=True)
        if layout.first(shape) or any(size > 1 and stride != usual for size, stride, usual in pairs):
            yield name


def _equal_along(subject: Subject, how: str) -> Subject:
    """The subject with values that are equal along the dimensions that the layout gives stride 0."""
    if how not in _EQUAL:
        return subject
    return subject.put(
        {name: item if item.index else _same(item, _EQUAL[how]) for name, item in subject.stored.items()},
        cotangents={name: _same(item, _EQUAL[how]) for name, item in subject.cotangents.items()},
    )


def _same(item: Stored, along: Dimensions) -> Stored:
    """The first value along some dimensions, repeated."""
    array = item.array
    if array.ndim == 0 or array.size == 0:
        return item
    dims = along(array.ndim)
    first = array[tuple(slice(1) if dim in dims else slice(None) for dim in range(array.ndim))]
    return Stored(np.broadcast_to(first, array.shape).copy(), item.dtype)


def _transposed(rank: int) -> Layout:
    return Layout(order=(*range(rank - 2), rank - 1, rank - 2)) if rank > 1 else Layout(step=2)


def _broadcast(along: Dimensions) -> Callable[[int], Layout]:
    return lambda rank: Layout(broadcast=along(rank))


_EQUAL: Final[Mapping[str, Dimensions]] = {
    "broadcast": lambda rank: (0,),
    "broadcast-inner": lambda rank: tuple(range(1, rank - 1)),
    "broadcast-last": lambda rank: (rank - 1,),
}
"""Layout → the dimensions of stride 0 of an array of that rank."""
LAYOUT: Final[Mapping[str, Callable[[int], Layout]]] = {
    "transposed": _transposed,
    "strided": lambda rank: Layout(step=2),
    "offset": lambda rank: Layout(offset=3),
    "padded": lambda rank: Layout(pad=5),
    "reversed": lambda rank: Layout(reverse=tuple(range(rank))),
    **{how: _broadcast(along) for how, along in _EQUAL.items()},
}
"""Name → how an array of that rank lies in memory."""
