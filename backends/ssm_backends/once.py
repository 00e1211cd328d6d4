"""Validation once for each kind of call: it depends on metadata alone, and a decode loop repeats one kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.validation import validate

MOST: Final = 4096
"""Kinds of call that are remembered."""
_VALID: Final[set[tuple[Any, ...]]] = set()


def metadata(x: Any) -> tuple[Any, ...]:
    """All that validation reads of an argument, to be remembered: nothing of an array's numbers."""
    if getattr(x, "is_nested", False):  # it has no shape, and is never valid
        return type(x), None
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    if shape is None or dtype is None or isinstance(x, type | np.generic):  # a scalar is its value
        return type(x), x if isinstance(x, bool | int | float | str | None) else repr(x)
    layout = x.layout if hasattr(x, "requires_grad") else None  # PyTorch's
    return type(x), tuple(shape), dtype, getattr(x, "device", None), layout


def can_be_remembered(kind: tuple[Any, ...]) -> bool:
    """Whether a kind of call can be looked up: the sizes that a trace leaves open have no hash."""
    try:
        hash(kind)
    except TypeError:
        return False
    return True


def validate_once(op: str, also: Callable[[Mapping[str, Any]], None] | None = None, **inputs: Any) -> None:
    """Raise what :func:`ssm_backends.validate` raises; a kind of call that was valid is not asked again.

    Parameters
    ----------
    op
        Name of the operator.
    also
        What else is asked of the inputs, of their metadata alone; one function for all calls of `op`.
    **inputs
        Its arguments.
    """
    kind = (op, also, *inputs, *map(metadata, inputs.values()))
    known = can_be_remembered(kind)
    if known and kind in _VALID:
        return
    validate(op, **inputs)
    if also is not None:
        also(inputs)
    if known:
        if len(_VALID) >= MOST:
            _VALID.clear()
        _VALID.add(kind)
