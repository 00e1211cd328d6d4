"""What lies around an array must not matter: NaN beyond its ends and between its rows is nobody's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import gcd, prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_backends import Arrays, validate
from ssm_conformance.checks.accuracy import judge_backward, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import Stored, Subject, told_of
from ssm_conformance.storage import store

GUARD: Final = 64
"""Elements before and after a block that must stay as they are, at least."""
VECTOR: Final = 16
"""Where an offset is a multiple of so many elements, a kernel may read whole vectors."""

Margins = tuple[tuple[int, int], ...]


def guarded(subject: Subject) -> Finding:
    """Inputs and cotangents inside larger arrays of NaN: nothing of these is used, and none is written.

    As a contiguous block between guards; with guards around every row; and with guards between rows that
    begin where whole vectors are read, as pieces of one projection do. A state that is written in place
    may change inside its frame alone.
    """
    found = Finding()
    for where, margins in FRAMES:
        with told_of(f"with NaN {where} the inputs"):
            found = _outputs(subject, where, margins)
            if found.passed and subject.takes_gradients:
                found = _gradients(subject, where, margins)
        if not found.passed:
            return found
    return found


def _outputs(subject: Subject, where: str, margins: Callable[[tuple[int, ...]], Margins]) -> Finding:
    inputs = _framed(subject.arrays, subject.stored, margins)
    call = validate(subject.case.operator, **inputs.inside, **subject.case.plain)
    found = judge_outputs(subject, subject.forward(call))
    return _told(found, where, inputs.written(subject.arrays, where, subject.case.written))


def _gradients(subject: Subject, where: str, margins: Callable[[tuple[int, ...]], Margins]) -> Finding:
    """Of a call of its own, since the first may have written its state."""
    inputs = _framed(subject.arrays, subject.stored, margins)
    given = _framed(subject.arrays, subject.cotangents, margins)
    call = validate(subject.case.operator, **inputs.inside, **subject.case.plain)
    found = judge_backward(subject, call, given.inside)
    written = inputs.written(subject.arrays, where, subject.case.written)
    return _told(found, where, written or given.written(subject.arrays, where, of="the cotangent of "))


def _told(found: Finding, where: str, written: str) -> Finding:
    """The finding, said where the NaN was; or what was written there."""
    if not found.passed:
        return Finding(found.judgements, f"with NaN {where} the inputs: {found.message}")
    return Finding(message=written) if written else found


@dataclass(frozen=True)
class Framed:
    """Arrays of a library, each in the middle of a larger one.

    Attributes
    ----------
    frames
        Name → what was put into memory: the array, and NaN around it.
    keys
        Name → where the array lies there.
    parents
        Name → the larger array in the library.
    """

    frames: Mapping[str, NDArray[Any]]
    keys: Mapping[str, tuple[slice, ...]]
    parents: Mapping[str, Any]

    @property
    def inside(self) -> dict[str, Any]:
        """The arrays themselves, as views."""
        return {name: parent[self.keys[name]] for name, parent in self.parents.items()}

    def written(self, arrays: Arrays, where: str, over: tuple[str, ...] = (), of: str = "") -> str:
        """What was written: the first such array, or memory around it; "" if nothing was.

        Parameters
        ----------
        arrays
            The library.
        where
            How a message says where the NaN is.
        over
            Arrays that may be written: what lies around them may not.
        of
            Whose array it is, before its name.
        """
        for name, frame in self.frames.items():
            now, key = np.array(arrays.to_numpy(self.parents[name])), self.keys[name]
            if name not in over and now[key].tobytes() != frame[key].tobytes():
                return f"{of}`{name}` was written"
            now[key] = frame[key]
            if now.tobytes() != frame.tobytes():
                return f"memory {where} {of}`{name}` was written"
        return ""


def _framed(
    arrays: Arrays, stored: Mapping[str, Stored], margins: Callable[[tuple[int, ...]], Margins]
) -> Framed:
    """Arrays inside frames of these margins."""
    kept = {name: _frame(item, margins(item.array.shape)) for name, item in stored.items()}
    frames = {name: frame for name, (frame, _) in kept.items()}
    parents = {name: arrays.from_numpy(frame, stored[name].dtype) for name, frame in frames.items()}
    return Framed(frames, {name: key for name, (_, key) in kept.items()}, parents)


def _frame(item: Stored, margins: Margins) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """The array in the middle of a larger one, and where it lies there."""
    array = item.array
    sentinel = np.iinfo(array.dtype).max if item.index else store(np.array(np.nan), item.dtype)
    shape = tuple(low + size + high for size, (low, high) in zip(array.shape, margins, strict=True))
    frame = np.full(shape, sentinel, dtype=array.dtype)
    key = tuple(slice(low, low + size) for size, (low, _) in zip(array.shape, margins, strict=True))
    frame[key] = array
    return frame, key


def _outer(shape: tuple[int, ...]) -> Margins:
    """Guards along the slowest dimension alone: what lies between is contiguous, aligned as the frame."""
    if not shape:
        return ()
    row = max(prod(shape[1:]), 1)
    whole = VECTOR // gcd(row, VECTOR)
    rows = -(-GUARD // (row * whole)) * whole
    return ((rows, rows), *[(0, 0)] * (len(shape) - 1))


def _around(shape: tuple[int, ...]) -> Margins:
    """Guards of one and of two elements around every dimension, so that few rows begin aligned."""
    return tuple((1, 2) for _ in shape)


def _between(shape: tuple[int, ...]) -> Margins:
    """Guards between rows that all begin aligned as the frame does, and a row of them at either end."""
    if not shape:
        return ()
    row = (VECTOR, VECTOR + -shape[-1] % VECTOR)
    return (*[(1, 1)] * min(len(shape) - 1, 1), *[(0, 0)] * (len(shape) - 2), row)


FRAMES: Final = (
    ("before and after", _outer),
    ("around every row of", _around),
    ("between the aligned rows of", _between),
)
"""How a message says where the NaN is, and how many elements of it lie on either side of each dimension."""
