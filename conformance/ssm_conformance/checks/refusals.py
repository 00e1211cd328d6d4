"""Bad input is refused with its name, and a call that is not claimed is refused too."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from ssm_backends import NotSupportedError, call
from ssm_backends.raised import in_words, text_of
from ssm_conformance.cases._refusals import shared_axis
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.inputs import written
from ssm_conformance.checks.pieces import axes
from ssm_conformance.checks.subject import NotAsked, Stored, Subject

SHARED: Final = ("size", "device", "groups", "together", "batch", "rows")
"""Faults that are between arguments: an error may name the other one."""


def bad_input(subject: Subject) -> Finding:
    """One rule is broken: the error is a ValueError or TypeError that names an argument."""
    argument, fault = subject.case.options["argument"], subject.case.options["fault"]
    inputs = dict(subject.call.inputs)
    spoiled = _spoil(subject, inputs, argument, fault)
    others = {name: value for name, value in inputs.items() if name != argument}
    try:
        call(subject.backend, subject.case.op, **spoiled)
    except (ValueError, TypeError) as error:
        names = [a.name for a in subject.case.operator.arguments]
        accepted = names if fault in SHARED else [argument]
        if not any(re.search(rf"\b{re.escape(name)}\b", text_of(error)) for name in accepted):
            return Finding(message=f"the error does not name `{argument}`: {in_words(error)}")
        return Finding(
            message=written(subject, subject.stored, others, "the refused call"),
            details={"raised": in_words(error)},
        )
    except Exception as error:  # of another type: that is the finding
        return Finding(
            message=f"`{argument}`, {_words(fault)}, must raise a ValueError or a TypeError; "
            f"got {in_words(error)}"
        )
    return Finding(message=f"`{argument}`, {_words(fault)}, was accepted; expected an error that names it")


def not_supported(subject: Subject) -> Finding:
    """A valid call that is not claimed raises NotSupportedError, and writes nothing."""
    try:
        inputs = dict(subject.call.inputs)
    except NotSupportedError as error:  # the library itself has no such array
        raise NotAsked(str(error)) from error
    needs = ", ".join(sorted(subject.call.features)) or "no feature"
    what = f"{subject.case.dtype}, {needs}"
    try:
        call(subject.backend, subject.case.op, **inputs)
    except NotSupportedError as error:
        message = written(subject, subject.stored, inputs, "the refused call")
        return Finding(message=message, details={"raised": f"NotSupportedError: {error}"})
    except Exception as error:  # of another type: that is the finding
        return Finding(
            message=f"an unclaimed call ({what}) must raise NotSupportedError; got {in_words(error)}"
        )
    return Finding(message=f"an unclaimed call ({what}) was accepted; expected NotSupportedError")


def _spoil(subject: Subject, inputs: Mapping[str, Any], argument: str, fault: str) -> dict[str, Any]:
    """The call with one rule broken."""
    if fault == "missing":
        return {name: value for name, value in inputs.items() if name != argument}
    if fault in PLAIN:
        value = PLAIN[fault]
        whole = isinstance(subject.case.plain.get(argument), int)
        return dict(inputs) | {argument: int(value) if fault == "interval" and whole else value}
    if fault == "device":
        return dict(inputs) | {argument: _elsewhere(subject, argument)}
    if fault in ("together", "batch"):
        return dict(inputs) | {argument: _offsets(subject)}
    item = ARRAYS[fault](subject, argument)
    return dict(inputs) | {argument: subject.arrays.from_numpy(item.array, item.dtype)}


PLAIN: Final[Mapping[str, Any]] = {
    "unknown": 1,
    "choice": "no such choice",
    "not-a-flag": "yes",
    "not-a-number": "many",
    "not-a-pair": 0.5,
    "disorder": (1.0, 0.5),
    "not-an-array": [0.5, 0.25],
    "interval": -1.0,
}
"""Fault → a value that is no array and that the rule does not allow."""


def _deeper(subject: Subject, argument: str) -> Stored:
    item = subject.stored[argument]
    return Stored(np.expand_dims(item.array, (0, 1)), item.dtype)


def _longer(subject: Subject, argument: str, axis: int) -> Stored:
    item = subject.stored[argument]
    repeated = np.concatenate([item.array, np.take(item.array, [0], axis=axis)], axis=axis)
    return Stored(repeated, item.dtype)


def _shorter(subject: Subject, argument: str) -> Stored:
    """A state of one input less than the filter reads."""
    return subject.stored[argument].take((..., slice(1, None)))


def _another_size(subject: Subject, argument: str) -> Stored:
    axis = shared_axis(subject.case.recipe, argument)
    if axis is None:
        raise AssertionError(f"no size of `{argument}` is shared with another argument")
    return _longer(subject, argument, axis)


def _groups(subject: Subject, argument: str) -> Stored:
    """One group more than there are channels, or heads."""
    item, sizes = subject.stored[argument], subject.call.sizes
    groups = sizes["d" if "d" in sizes else "h"] + 1
    axis = next(i for i, symbol in enumerate(axes(subject)[argument]) if symbol.startswith("g"))
    first = np.take(item.array, [0], axis=axis)
    return Stored(np.repeat(first, groups, axis=axis), item.dtype)


def _of_dtype(dtype: str) -> Callable[[Subject, str], Stored]:
    def ones(subject: Subject, argument: str) -> Stored:
        return Stored(np.ones(subject.stored[argument].array.shape, dtype=dtype), dtype)

    return ones


ARRAYS: Final[Mapping[str, Callable[[Subject, str], Stored]]] = {
    "rank": _deeper,
    "size": _another_size,
    "rows": lambda subject, argument: _longer(subject, argument, 0),
    "short": _shorter,
    "groups": _groups,
    "bool-dtype": _of_dtype("bool"),
    "integer-dtype": _of_dtype("int64"),
    "float-dtype": _of_dtype("float32"),
    "half-dtype": _of_dtype("float16"),
    "complex": _of_dtype("complex64"),
    "real": _of_dtype("float32"),
}
"""Fault → the array that has it."""


def _words(fault: str) -> str:
    return f"with a wrong {fault}" if fault in ("rank", "size", "choice", "device") else fault


def _offsets(subject: Subject) -> Any:
    """cu_seqlens of one sequence."""
    return subject.arrays.from_numpy(np.array([0, subject.call.sizes["l"]], dtype=np.int32), "int32")


def _elsewhere(subject: Subject, argument: str) -> Any:
    """The array on another device, without its values."""
    if subject.arrays.name != "torch" or len(subject.stored) < 2:
        raise NotAsked(f"{subject.arrays.name} arrays live on one device: no other can be given")
    return subject.call.inputs[argument].to("meta")
