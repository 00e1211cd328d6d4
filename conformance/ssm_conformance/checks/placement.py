"""Where arrays lie must not matter: strides, neighbours, what memory held before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_backends import Layout, validate
from ssm_conformance.checks.accuracy import judge_backward, judge_outputs, judge_passes
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.poison import poisoned
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.storage import store

GUARD: Final = 64
"""Elements before and after an array that must stay as they are, at least."""


def layout(subject: Subject) -> Finding:
    """The values again, with inputs that are not contiguous in memory."""
    how = subject.case.options["layout"]
    arranged = _equal_along(subject, how)
    outputs = arranged.forward(arranged.into(arranged.stored, _layouts(arranged.stored, how)))
    return judge_outputs(arranged, outputs)


def gradient_layout(subject: Subject) -> Finding:
    """The gradients again, with inputs and cotangents that are not contiguous in memory."""
    how = subject.case.options["layout"]
    arranged = _equal_along(subject, how)
    call = arranged.into(arranged.stored, _layouts(arranged.stored, how))
    cotangents = arranged.into_cotangents(_layouts(arranged.cotangents, how))
    return judge_backward(arranged, call, cotangents)


def guarded(subject: Subject) -> Finding:
    """Inputs inside larger arrays of NaN: nothing of these is used, and none of it is written.

    Once as a contiguous block with guards before and after it, once with guards around every row.
    """
    found = Finding()
    for where, margins in (("before and after", _outer), ("around every row of", _around)):
        kept = {name: _frame(item, margins(item.array.shape)) for name, item in subject.stored.items()}
        parents = {
            name: subject.arrays.from_numpy(frame, subject.stored[name].dtype)
            for name, (frame, _) in kept.items()
        }
        inside = {name: parents[name][key] for name, (_, key) in kept.items()}
        call = validate(subject.case.operator, **inside, **subject.case.plain)
        found = judge_outputs(subject, subject.forward(call))
        if found.passed and subject.takes_gradients:
            found = judge_backward(subject, call)
        if not found.passed:
            return Finding(found.judgements, f"with NaN {where} the inputs: {found.message}")
        for name, (frame, _) in kept.items():
            if subject.arrays.to_numpy(parents[name]).tobytes() != frame.tobytes():
                return Finding(message=f"memory {where} the input `{name}` was written")
    return found


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


Margins = tuple[tuple[int, int], ...]
Dimensions = Callable[[int], tuple[int, ...]]
"""Some dimensions of an array of that rank."""


def _outer(shape: tuple[int, ...]) -> Margins:
    """Guards along the slowest dimension alone: what lies between them is contiguous."""
    if not shape:
        return ()
    rows = -(-GUARD // max(int(np.prod(shape[1:])), 1))
    return ((rows, rows), *[(0, 0)] * (len(shape) - 1))


def _around(shape: tuple[int, ...]) -> Margins:
    return tuple((1, 2) for _ in shape)


def _frame(item: Stored, margins: Margins) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """The array in the middle of a larger one, and where it lies there."""
    array = item.array
    sentinel = np.iinfo(array.dtype).max if item.index else store(np.array(np.nan), item.dtype)
    shape = tuple(low + size + high for size, (low, high) in zip(array.shape, margins, strict=True))
    frame = np.full(shape, sentinel, dtype=array.dtype)
    key = tuple(slice(low, low + size) for size, (low, _) in zip(array.shape, margins, strict=True))
    frame[key] = array
    return frame, key


def _layouts(stored: Mapping[str, Stored], how: str) -> dict[str, Layout]:
    return {
        name: LAYOUT[how](item.array.ndim)
        for name, item in stored.items()
        if item.array.ndim > 0 and item.array.size > 0 and not (item.index and how in _EQUAL)
    }


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
