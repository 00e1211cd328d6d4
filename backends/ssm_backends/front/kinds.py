"""What is settled once for each kind of call: who serves it, and which of its inputs are handed over."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

from ssm_backends.front.preference import wishes
from ssm_backends.imported import imported_torch
from ssm_backends.once import MOST, can_be_remembered, metadata

Function = Callable[..., Any]
Kind = tuple[Any, ...]
Served = tuple[Function, tuple[str, ...]]
"""A backend's function, and the names of its inputs that are not at their defaults."""
_REMEMBERED: Final[dict[Kind, Served]] = {}


def kind_of(call: Hashable, backend: str | None, inputs: Iterable[Any]) -> Kind:
    """All that validity and choice depend on.

    Parameters
    ----------
    call
        The function that is called, and the names of the arguments.
    backend
        The call's own wish.
    inputs
        Its arguments; of arrays the metadata alone are read.
    """
    torch = imported_torch()
    recording = torch is not None and torch.is_grad_enabled()
    return call, backend, wishes(), recording, *metadata(inputs)


def recall(kind: Kind) -> Served | None:
    """What was remembered of a kind of call."""
    try:
        return _REMEMBERED.get(kind)
    except TypeError:  # a trace leaves sizes open, which have no hash
        return None


def remember(kind: Kind, served: Served) -> None:
    """Let the next call of a kind find what serves this one."""
    if can_be_remembered(kind):
        if len(_REMEMBERED) >= MOST:
            _REMEMBERED.clear()
        _REMEMBERED[kind] = served
