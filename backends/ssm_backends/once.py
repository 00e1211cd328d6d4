"""Validation once for each kind of call: it depends on metadata alone, and a decode loop repeats one kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final

import numpy as np

from ssm_backends.imported import imported_torch
from ssm_backends.validation import validate

MOST: Final = 4096
"""Kinds of call that are remembered."""
_VALID: Final[set[tuple[Any, ...]]] = set()


def metadata(inputs: Iterable[Any]) -> tuple[Hashable, ...]:
    """All that validation and choice read of arguments, to be remembered: nothing of an array's numbers."""
    inputs = tuple(inputs)
    try:
        return tuple([_READERS[type(x)](x) for x in inputs])
    except RuntimeError:  # of a nested tensor, which has no shape
        return tuple([_of_any(x) for x in inputs])


def _of_any(x: Any) -> tuple[Any, ...]:
    if getattr(x, "is_nested", False):  # it has no shape, and is never valid
        return type(x), None
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    if shape is None or dtype is None or isinstance(x, type | np.generic):  # a scalar is its value
        return type(x), x if isinstance(x, bool | int | float | str | None) else repr(x)
    gradient = getattr(x, "requires_grad", None)
    layout = None if gradient is None else x.layout  # PyTorch's
    return type(x), tuple(shape), dtype, getattr(x, "device", None), layout, gradient


def _of_plain(x: Any) -> tuple[Any, ...]:
    return type(x), x


_of_tensor: Final = attrgetter("shape", "dtype", "device", "layout", "requires_grad")
"""The same of a tensor of PyTorch's own type, in a third of the time."""


class _Readers(dict[type, Callable[[Any], tuple[Any, ...]]]):
    """Type → what reads its metadata; PyTorch's types are there once it is imported."""

    def __missing__(self, kind: type) -> Callable[[Any], tuple[Any, ...]]:
        torch = imported_torch()
        if torch is None or kind not in (torch.Tensor, torch.nn.Parameter):
            return _of_any
        self[kind] = _of_tensor
        return _of_tensor


_READERS: Final = _Readers(dict.fromkeys((bool, int, float, str, type(None)), _of_plain))


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
    kind = (op, also, *inputs, *metadata(inputs.values()))
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
