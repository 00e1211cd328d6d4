"""The kinds of call of a drop-in: what it asks of its arguments, it asks once of each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import NoneType
from typing import Any

from ssm_backends.front.calling import served
from ssm_backends.front.kinds import Kind, Served, kind_of, remember
from ssm_backends.mamba_ssm._tensors import under_names
from ssm_backends.schema import Operator


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


def call_as(
    kind: Kind | None,
    known: Served | None,
    names: Mapping[str, str],
    operator: Operator,
    inputs: dict[str, Any],
    backend: str | None = None,
) -> Any:
    """Call who serves a kind of call; where nobody is known, who is chosen for it, to be known from then on.

    Parameters
    ----------
    kind, known
        As :func:`known_kind` gives it, and what is remembered of it.
    names
        As :func:`under_names` takes them.
    operator, inputs
        What the drop-in calls, and with what: always the same for a kind, but for numbers and strides.
    backend
        Who has to serve it.
    """
    if known is not None:
        fn, given = known
        return under_names(names, fn, **{name: inputs[name] for name in given})
    fn, chosen = under_names(names, served, operator, inputs, backend)
    if kind is not None:
        remember(kind, (fn, tuple(chosen)))
    return under_names(names, fn, **chosen)
