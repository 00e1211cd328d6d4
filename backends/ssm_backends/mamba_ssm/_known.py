"""The kinds of call of a drop-in: what it asks of its arguments, it asks once of each."""

from __future__ import annotations

from collections.abc import Hashable
from types import NoneType
from typing import Any

from ssm_backends.front.kinds import Kind, kind_of


def known_kind(call: Hashable, backend: str | None, inputs: tuple[Any, ...]) -> Kind | None:
    """All that a drop-in's checks and its choice depend on, of arguments of plain types.

    Parameters
    ----------
    call
        The drop-in, and what else sets the call apart.
    backend
        Who has to serve it.
    inputs
        Its arguments, always in one order.

    Returns
    -------
    None while a graph is traced, and where an argument is of another type: a subclass may do as it likes.
    """
    import torch

    if torch.compiler.is_compiling():
        return None
    if not {torch.Tensor, torch.nn.Parameter, NoneType, bool, str}.issuperset(map(type, inputs)):
        return None
    return kind_of(call, backend, inputs)
