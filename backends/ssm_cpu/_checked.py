"""Validation once for each kind of call: it depends on metadata alone, and a decode loop repeats one kind."""

from __future__ import annotations

from typing import Any, Final

from ssm_backends import validate

_MOST: Final = 1024
"""Kinds of call that are remembered."""
_valid: Final[set[tuple[Any, ...]]] = set()


def check(op: str, **inputs: Any) -> None:
    """Raise what :func:`ssm_backends.validate` raises; do nothing for a kind of call that was valid before.

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
    if len(_valid) >= _MOST:
        _valid.clear()
    _valid.add(kind)


def _metadata(x: Any) -> tuple[Any, ...]:
    """All that validation reads of an argument."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return type(x), tuple(x.shape), x.dtype, getattr(x, "device", None)
    return type(x), x
