"""Validation once for each kind of call: it depends on metadata alone, and a decode loop repeats one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends import DTypeError, validate
from ssm_cpu._library import is_tensor

_MOST: Final = 1024
"""Kinds of call that are remembered."""
_valid: Final[set[tuple[Any, ...]]] = set()


def check(op: str, **inputs: Any) -> None:
    """Raise what :func:`ssm_backends.validate` raises, or DTypeError for arrays of two libraries.

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
    if is_tensor(x):
        return type(x), tuple(x.shape), x.dtype, x.device, x.layout
    return type(x), x


def _check_library(inputs: Mapping[str, Any]) -> None:
    """Refuse arrays of two libraries: a kernel is given the memory of one."""
    kinds = {name: is_tensor(x) for name, x in inputs.items() if isinstance(x, np.ndarray) or is_tensor(x)}
    names = {True: "a PyTorch tensor", False: "a NumPy array"}
    for name, tensor in kinds.items():
        if tensor != kinds.get("u", tensor):
            raise DTypeError(f"`{name}` must be {names[kinds['u']]}, as `u` is; got {names[tensor]}")
