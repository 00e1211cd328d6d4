"""A call cut along time or along the batch: which arguments are cut, and the smaller calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_backends import Operator, choose_forms
from ssm_conformance.checks.subject import Stored, Subject


def axes(subject: Subject) -> dict[str, list[str]]:
    """Argument → the symbols of its shape, slowest first."""
    forms = choose_forms(subject.case.operator, subject.case.draws | subject.case.plain)
    return {name: forms[name].shape.split() for name in subject.case.draws}


def output_axes(operator: Operator) -> dict[str, list[str]]:
    """Output → the symbols of its shape, the first one where there are several."""
    return {output.name: output.shape.partition("|")[0].split() for output in operator.outputs}


def belongs_to(symbol: str, unit: str) -> bool:
    """Whether a symbol is that of a channel, or head, or that of groups of them, as g, g_B and g_C are."""
    return symbol == unit or symbol == "g" or symbol.startswith("g_")


def members(subject: Subject, unit: str, place: Mapping[str, int], symbol: str) -> NDArray[np.bool_]:
    """Which channels, or heads, or groups of them, belong to the same ones as an element does.

    Parameters
    ----------
    subject
        The call, whose sizes say how many of each there are.
    unit
        The symbol of a channel, or of a head.
    place
        Symbol → where the element lies; it belongs to all where it has neither a channel nor a group.
    symbol
        What is asked of: the unit, or a group of it.

    Returns
    -------
    (how many there are of the symbol,)
    """
    sizes = subject.call.sizes
    every = np.arange(sizes[unit])
    own = np.ones(every.size, dtype=bool)
    for along, at in place.items():
        if belongs_to(along, unit):
            own &= every // (every.size // sizes[along]) == at
    return np.isin(np.arange(sizes[symbol]), every[own] // (every.size // sizes[symbol]))


def time_axis(symbols: Sequence[str]) -> int | None:
    """Where time runs, counted from the end; None where it does not."""
    return symbols.index("l") - len(symbols) if "l" in symbols else None


def over_time(subject: Subject) -> dict[str, int]:
    """The arguments that have a time axis, index arrays too → that axis, from the end."""
    found = {name: time_axis(symbols) for name, symbols in axes(subject).items()}
    return {name: axis for name, axis in found.items() if axis is not None}


def streamed(subject: Subject) -> dict[str, int]:
    """The floating arguments that have a time axis → that axis, from the end."""
    return {name: axis for name, axis in over_time(subject).items() if not subject.stored[name].index}


def outputs_over_time(operator: Operator) -> dict[str, int]:
    """The outputs that have a time axis → that axis, from the end."""
    found = {name: time_axis(symbols) for name, symbols in output_axes(operator).items()}
    return {name: axis for name, axis in found.items() if axis is not None}


def carried(operator: Operator) -> dict[str, str]:
    """What is handed from one call to the next: output → the argument that takes it, in declared order.

    Nothing, where none comes out or none goes in.
    """
    outputs = [output.name for output in operator.outputs if output.role == "state"]
    arguments = [a.name for a in operator.arguments if a.forms and a.forms[0].role == "state"]
    return dict(zip(outputs, arguments, strict=True)) if outputs and arguments else {}


def along(axis: int, key: Any) -> tuple[Any, ...]:
    """An index along one axis, counted from the end, and whole along the others."""
    return (..., key, *[slice(None)] * (-axis - 1))


def cut_time(subject: Subject, span: slice) -> dict[str, Stored]:
    """The arguments of the same call over a span of time."""
    times = over_time(subject)
    return {
        name: item.take(along(times[name], span)) if name in times else item
        for name, item in subject.stored.items()
    }


def by_row(subject: Subject) -> tuple[str, ...]:
    """The arguments whose first axis is the batch."""
    return tuple(name for name, symbols in axes(subject).items() if symbols[0] in ("b", "r"))


def cut_batch(subject: Subject, rows: slice) -> dict[str, Stored]:
    """The arguments of the same call for some rows of the batch."""
    names = by_row(subject)
    return {name: item.take(rows) if name in names else item for name, item in subject.stored.items()}


def joined(pieces: Sequence[Mapping[str, Stored]], name: str, axis: int) -> Stored:
    """One output of several calls, joined along an axis."""
    arrays = [piece[name] for piece in pieces]
    return Stored(np.concatenate([item.array for item in arrays], axis=axis), arrays[0].dtype)
