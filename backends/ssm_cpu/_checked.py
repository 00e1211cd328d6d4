"""Validation once for each kind of call: it depends on metadata alone, and a decode loop repeats one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends import DTypeError, validate
from ssm_cpu._library import is_tensor, library_of

_MOST: Final = 1024
"""Kinds of call that are remembered."""
_valid: Final[set[tuple[Any, ...]]] = set()


def check(op: str, **inputs: Any) -> None:
    """Raise what :func:`ssm_backends.validate` raises, and refuse arrays of two libraries or of a third.

    It does nothing for a kind of call that was valid before.

    Parameters
    ----------
    op
        Name of the operator.
    **inputs
        Its arguments.
    """
    kind = (op, *inputs, *map(_metadata, inputs.values()))
    try:
        if kind in _valid:
            return
    except TypeError:  # what cannot be hashed is not metadata of an array
        validate(op, **inputs)
        _check_library(inputs)
        return
    validate(op, **inputs)
    _check_library(inputs)
    if len(_valid) >= _MOST:
        _valid.clear()
    _valid.add(kind)


def _metadata(x: Any) -> tuple[Any, ...]:
    """All that validation reads of an argument."""
    if isinstance(x, np.ndarray):
        return type(x), x.shape, x.dtype
    if is_tensor(x) and not x.is_nested:
        return type(x), tuple(x.shape), x.dtype, x.device, x.layout
    return type(x), x


def _check_library(inputs: Mapping[str, Any]) -> None:
    """Refuse an array that is not of u's library: a kernel is given the memory of one."""
    library_of(inputs["u"])
    wanted = _kind(inputs["u"])
    for name, x in inputs.items():
        is_array = hasattr(x, "dtype") and not isinstance(x, np.generic)
        if is_array and _kind(x) != wanted:
            raise DTypeError(f"`{name}` must be {wanted}, as `u` is; got {_kind(x)}")


def _kind(x: Any) -> str:
    if is_tensor(x):
        return "a PyTorch tensor"
    return "a NumPy array" if isinstance(x, np.ndarray) else f"{type(x).__module__}.{type(x).__name__}"
