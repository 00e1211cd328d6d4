"""One call as the oracle is asked about it: exact inputs, the types in which it was computed and stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import ssm_spec
from ssm_backends import OPERATORS, ArgumentError, Call, ContractError, DTypeError, outputs_of, validate
from ssm_backends.dtypes import compute_dtype, dtype_name, real_of
from ssm_conformance.storage import widen

T = TypeVar("T")
Stored = tuple[NDArray[Any], str]
"""An array as its dtype stores it, bfloat16 as its bits, and the dtype's name."""


@dataclass(frozen=True)
class Question:
    """What the oracle is asked.

    Attributes
    ----------
    op
        The operator's name.
    inputs
        Its arguments as the oracle takes them.
    compute, storage
        The type of the arithmetic, the widest input type and at least float32, and that of the streams.
    answers
        Output name → what the kernel gave.
    """

    op: str
    inputs: dict[str, Any]
    compute: str
    storage: str
    answers: dict[str, Stored]


def question(op: str, actual: Any, inputs: Mapping[str, Any]) -> Question:
    """Put a call and what a kernel made of it.

    Raises
    ------
    ArgumentError
        If there is no such operator, or `actual` does not hold its outputs.
    ShapeError, DTypeError
        If the inputs are no valid call.
    """
    if not isinstance(op, str) or op not in ssm_spec.REFERENCES:
        raise ArgumentError(f"`op` must be one of {', '.join(ssm_spec.REFERENCES)}; got {op!r}")
    inputs = {name: _handed(f"`{name}`", "", value) for name, value in inputs.items()}
    if op in OPERATORS:
        call = validate(op, **inputs)
        one = not isinstance(actual, Sequence | Mapping) and bool(call.operator.outputs[0].when)
        named = {call.operator.outputs[0].name: actual} if one else actual
        answers = all_stored("actual", named if isinstance(named, Mapping) else _in_order(call, named))
        asked = Question(op, _exact(call.inputs), call.compute, call.dtype, answers)
    else:
        answers = all_stored("actual", _by_name(op, actual))
        types = [real_of(name) for name in _float_types(inputs)] or [real_of(t) for _, t in answers.values()]
        if not types:  # no input has a gradient either
            raise ArgumentError(f"`actual` must hold an output of {op}; got {actual!r}")
        asked = Question(op, _exact(inputs), compute_dtype(types), types[0], answers)
    outputs = ssm_spec.REFERENCES[op].outputs
    for name in answers:
        if name not in outputs:
            raise ArgumentError(f"`actual` must name outputs of {op}, {', '.join(outputs)}; got {name!r}")
    return asked


def _in_order(call: Call, given: Any) -> Mapping[str, Any]:
    """The outputs of a call, which its flags may ask for."""
    try:
        return outputs_of(call, given)
    except ContractError as error:
        others = [
            output for output in call.operator.outputs if output.when and not call.inputs.get(output.when)
        ]
        hint = "".join(f"; {output.name} is one with {output.when}=True" for output in others)
        raise ArgumentError(f"`actual` must hold the outputs of the call, in order: {error}{hint}") from error


def stored(value: Any) -> Stored:
    """An array of any library as NumPy storage, and its dtype's name; bfloat16 as its bits."""
    name = dtype_name(value)
    if hasattr(value, "detach"):
        value = value.detach().resolve_conj().resolve_neg().cpu()
        if name == "bfloat16":
            import torch

            return np.asarray(value.contiguous().view(torch.int16).numpy()).view(np.uint16), name
        return np.asarray(value.numpy()), name
    array = np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    return (array.view(np.uint16) if name == "bfloat16" else array), name


def all_stored(argument: str, arrays: Mapping[str, Any]) -> dict[str, Stored]:
    """Each array of a mapping as :func:`stored` gives it.

    Raises
    ------
    ArgumentError
        If one is no array, or has no numbers to read; `argument` is the mapping's name.
    DTypeError
        If one is masked.
    """
    plain = _all_plain(argument, arrays)
    for name, value in plain.items():
        if not _is_array(value):
            raise ArgumentError(f"`{argument}` must hold arrays; got {type(value).__name__} for {name}")
    return {name: _read(f"`{argument}`", f" for {name}", stored, value) for name, value in plain.items()}


def all_exact(argument: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Each value of a mapping as :func:`exact` gives it.

    Raises
    ------
    ArgumentError
        If one is an array that has no numbers to read; `argument` is the mapping's name.
    DTypeError
        If one is masked.
    """
    plain = _all_plain(argument, arrays)
    return {name: _read(f"`{argument}`", f" for {name}", exact, value) for name, value in plain.items()}


def exact(value: Any) -> Any:
    """An argument as the oracle takes it: exact numbers, index arrays and plain values as they are."""
    if not _is_array(value):
        return value
    array, dtype = stored(value)
    return widen(array, dtype) if array.dtype.kind in "fc" or dtype == "bfloat16" else array


def _exact(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _read(f"`{name}`", "", exact, value) for name, value in inputs.items()}


def _all_plain(argument: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a mapping, of which none may be masked: the numbers behind a mask are nobody's."""
    for name, value in arrays.items():
        if isinstance(value, np.ma.MaskedArray):
            raise DTypeError(f"`{argument}` must hold arrays without a mask; got MaskedArray for {name}")
    return {name: _handed(f"`{argument}`", f" for {name}", value) for name, value in arrays.items()}


def _handed(argument: str, which: str, value: Any) -> Any:
    """A value as it is, but for an array that has DLPack and neither shape nor dtype: NumPy's view of it."""
    if not hasattr(value, "__dlpack__") or _is_array(value) or isinstance(value, type):
        return value
    return _read(argument, which, np.from_dlpack, value)


def _read(argument: str, which: str, read: Callable[[Any], T], value: Any) -> T:
    """What `read` makes of a value, whose numbers may be nowhere, or laid out as NumPy cannot have them."""
    try:
        return read(value)
    except (TypeError, RuntimeError, BufferError) as error:
        # PyTorch's, of the meta device, a fake or a sparse tensor; and DLPack's.
        kind = f"{type(value).__name__} on {getattr(value, 'device', 'no device')}{which}"
        raise ArgumentError(f"{argument} must hold numbers that can be read; got {kind}: {error}") from error


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _float_types(inputs: Mapping[str, Any]) -> list[str]:
    names = [dtype_name(value) for value in inputs.values() if _is_array(value)]
    return [name for name in names if "float" in name or "complex" in name]


def _by_name(op: str, actual: Any) -> dict[str, Any]:
    """Outputs by name: one array is the first output, several are all of them in order."""
    outputs = ssm_spec.REFERENCES[op].outputs
    if isinstance(actual, Mapping):
        return dict(actual)
    several = list(actual) if isinstance(actual, Sequence) else [actual]
    if isinstance(actual, Sequence) and len(several) != len(outputs):
        raise ArgumentError(
            f"`actual` must hold the outputs ({', '.join(outputs)}); got {len(several)} arrays"
        )
    return dict(zip(outputs, several, strict=False))
