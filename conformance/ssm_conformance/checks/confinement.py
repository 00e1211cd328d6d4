"""Where a NaN or an infinity in one element may reach: its row, its channel or head or group, its time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from ssm_conformance.checks import pooled
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import (
    Comparison,
    Mask,
    beyond_two_bounds,
    compared,
    in_time_order,
    selected,
    spoil,
)
from ssm_conformance.checks.pieces import axes, belongs_to, members, output_axes, time_axis
from ssm_conformance.checks.subject import NotAsked, Stored, Subject

OUTPUT_ALONE: Final[Mapping[str, tuple[str, ...]]] = {
    "ssd": ("C", "D", "z"),
    "mamba3_siso": ("q", "q_bias", "D", "z"),
    "mamba3_siso_step": ("q", "q_bias", "D", "z"),
}
"""Operators with heads, and with no pool of states → the arguments that reach no state."""
SCANS: Final = (
    "selective_scan",
    "selective_state_update",
    "causal_conv1d",
    "causal_conv1d_update",
    "ssd_update",
    *OUTPUT_ALONE,
)
"""Operators each of whose streams comes out where it went in, whatever the order of evaluation."""
CLAMPED: Final[Mapping[str, tuple[str, ...]]] = {
    "ssd": ("dt",),
    "ssd_update": ("dt",),
    "mamba3_siso": ("adt",),
    "mamba3_siso_step": ("adt",),
}
"""Operators → what a minimum or a maximum may be taken of, in which IEEE 754-2008 lets a NaN be lost.

Δ of SSD is clamped to its limits; sums of ΔA may be, to zero.
"""
APART: Final[Mapping[str, str]] = {
    "selective_scan": "d",
    "selective_state_update": "d",
    "causal_conv1d": "d",
    "causal_conv1d_update": "d",
    "ssd": "h",
    "mamba3_siso": "h",
}
"""Operators whose channels, or heads, and groups of them, do not know each other → the symbol of one."""


def confinement(subject: Subject) -> Finding:
    """A NaN or an infinity in one element of one input stays where that may reach, and a NaN shows there."""
    return compared(subject, list(_reaches(subject)), ("nan", "inf"), lambda *of: _hidden(subject, *of))


def _hidden(subject: Subject, chosen: Mapping[str, Mask], how: str, after: Mapping[str, Stored]) -> str:
    """Where a NaN that streams in is a finite number in an output: a maximum, or a mask, has taken its place.

    Of parameters nothing is asked, nor of what may be clamped: a minimum may drop a NaN.
    """
    streams = {name for name, symbols in axes(subject).items() if {"b", "r", "l"} & set(symbols)}
    streams -= set(CLAMPED.get(subject.case.op, ()))
    if how != "nan" or subject.case.op not in SCANS or not chosen.keys() <= streams:
        return ""
    exact = subject.under(spoil(subject.stored, chosen, how)).exact
    for name, bounded in exact.items():
        found, meant = after[name].exact, np.isnan(bounded.value)
        hidden = meant & np.isfinite(found)
        if hidden.any():
            at = tuple(int(i) for i in np.argwhere(hidden)[0])
            count = f"{int(hidden.sum())} of {int(meant.sum())} elements"
            return f"{name}{list(at)} is {found[at]:.9g} where a NaN was expected ({count})"
    return ""


def confinement_gradients(subject: Subject) -> Finding:
    """A NaN in one element of one input, or of a cotangent, reaches no gradient that it has no part in.

    Compared by two bounds, never by bits: what is summed over a batch may be summed in any order.
    """
    exact = subject.exact_gradients(subject.arithmetic())
    before = subject.gradients(subject.call)
    shapes = _symbols(subject)
    shared, asked = pooled.reached if _takes_pool(subject) else _shared, False
    for name, index in _places(subject, shapes):
        other = _with_nan(subject, name, index)
        after = other.gradients(other.call)
        for wanted in before:
            shape = before[wanted].array.shape
            kept = ~shared(subject, shapes[name], index, shapes[wanted])
            asked |= bool(selected({wanted: kept}, before))
            moved = kept & beyond_two_bounds(
                before[wanted], after[wanted], exact[wanted], subject.call.compute
            )
            if moved.any():
                at = [int(i) for i in np.argwhere(moved)[0]]
                return Finding(
                    message=f"nan in {name}{list(index)}: gradient of {wanted}{at} went from "
                    f"{before[wanted].exact[tuple(at)]:.9g} to {after[wanted].exact[tuple(at)]:.9g} "
                    f"({int(moved.sum())} of {int(np.sum(np.broadcast_to(kept, shape)))} elements moved)"
                )
    if not asked:
        raise NotAsked("no gradient that is claimed lies apart from an input, or from a cotangent")
    return Finding()


def _places(subject: Subject, shapes: Mapping[str, list[str]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """An element of each argument and cotangent, in the first row of the batch and in the last.

    Of a pool, in rows and slots of every kind.
    """
    for name, symbols in shapes.items():
        given = subject.stored.get(name) or subject.cotangents[name]
        if given.index or not given.array.size:
            continue
        if _takes_pool(subject):
            for index in pooled.places(subject, symbols, given.array.shape):
                yield name, index
        else:
            for row in _rows(symbols, given.array.shape):
                yield name, _middle_of(symbols, given.array.shape, row)


def _with_nan(subject: Subject, name: str, index: tuple[int, ...]) -> Subject:
    """The call with a NaN in one element of an argument, or of a cotangent."""
    arrays = subject.stored if name in subject.stored else subject.cotangents
    chosen = np.zeros(arrays[name].array.shape, dtype=bool)
    chosen[index] = True
    spoiled = spoil(arrays, {name: chosen}, "nan")
    if name in subject.stored:
        return subject.put(spoiled, cotangents=subject.cotangents)
    return subject.put(subject.stored, cotangents=spoiled)


def _rows(symbols: list[str], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The first row of the batch and the last: what reads past its own may read on, or back."""
    rows = shape[symbols.index("b")] if "b" in symbols else 1
    return (0, rows - 1) if rows > 1 else (0,)


def _symbols(subject: Subject) -> dict[str, list[str]]:
    """Argument, or output with a cotangent → its symbols; its batch alone, where they do not fit its form."""
    known = _of_batch(subject, axes(subject) | output_axes(subject.case.operator))
    arrays = subject.stored | subject.cotangents
    return {
        name: known[name]
        if len(known[name]) == arrays[name].array.ndim
        else [known[name][0], *[""] * (arrays[name].array.ndim - 1)]
        for name in known
        if name in arrays
    }


def _of_batch(subject: Subject, symbols: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The symbols, where a row of state is the batch's, which it is not in a pool or of packed sequences."""
    if _takes_pool(subject) or "cu_seqlens" in subject.stored:
        return dict(symbols)
    return {name: ["b" if s == "r" else s for s in shape] for name, shape in symbols.items()}


def _middle_of(symbols: list[str], shape: tuple[int, ...], row: int) -> tuple[int, ...]:
    """An element of a row, inside along the other axes."""
    return tuple(row if s == "b" else size // 2 for s, size in zip(symbols, shape, strict=True))


def _shared(subject: Subject, symbols: list[str], index: tuple[int, ...], shape: list[str]) -> Mask:
    """Of a gradient, the elements that an element of an argument has a part in."""
    place = dict(zip(symbols, index, strict=True))
    unit = APART.get(subject.case.op)
    reached = np.ones((1,) * len(shape), dtype=bool)
    for axis, symbol in enumerate(shape):
        if symbol == "b" and "b" in place:
            own = np.arange(subject.call.sizes["b"]) == place["b"]
        elif unit and belongs_to(symbol, unit):
            own = members(subject, unit, place, symbol)
        else:
            continue
        reached = reached & own.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return reached


def _reaches(subject: Subject) -> Iterator[Comparison]:
    """For one element of each input: what it may not reach."""
    if _takes_pool(subject):
        yield from pooled.reaches(subject)
    elif subject.case.op == "selective_scan":
        yield from _reaches_of_scan(subject)
    elif subject.case.op in OUTPUT_ALONE:
        yield from _reaches_of_heads(subject)
    else:
        yield from _reaches_of_stream(subject)


def _takes_pool(subject: Subject) -> bool:
    """Whether it is a step of states in a pool: without indices each row names the slot of its number."""
    return any(argument.name == "state_indices" for argument in subject.case.operator.arguments)


def _reaches_of_stream(subject: Subject) -> Iterator[Comparison]:
    """For one element of each input of a row, or of a channel: rows and channels apart from it, its time."""
    outputs = _of_batch(
        subject, {output.name: output.shape.split() for output in subject.case.operator.outputs}
    )
    apart = {"b", APART.get(subject.case.op)}
    for name, symbols in _of_batch(subject, axes(subject)).items():
        item = subject.stored[name]
        if not apart & set(symbols) or item.index or not item.array.size:
            continue
        for index in _elements(symbols, item.array.shape, subject.case.op == "causal_conv1d"):
            chosen = np.zeros(item.array.shape, dtype=bool)
            chosen[index] = True
            kept = {}
            for output, shape in outputs.items():
                if output not in subject.exact:
                    continue
                size = subject.exact[output].value.shape
                mask = _others(subject, symbols, index, shape, size)
                if symbols[-1] == "l" and shape[-1] == "l" and in_time_order(subject):
                    mask = mask | (np.arange(size[-1]) < index[-1])
                if output != "y" and name in pooled.NO_STATE.get(subject.case.op, ()):
                    mask = np.ones(1, dtype=bool)
                kept[output] = mask
            yield {name: chosen}, kept, f"in {name}{list(index)}"


def _elements(symbols: list[str], shape: tuple[int, ...], forgets: bool) -> Iterator[tuple[int, ...]]:
    """An element in the first row and in the last; the last of all too, where states hold what is newest."""
    first, *rest = (size // 3 for size in shape)
    for row in _rows(symbols, shape):
        yield (row if symbols[0] == "b" else first, *rest)
    if forgets and symbols[-1] == "l":
        yield tuple(size - 1 for size in shape)


def _others(
    subject: Subject, symbols: list[str], index: tuple[int, ...], shape: list[str], size: tuple[int, ...]
) -> Mask:
    """Of an output, the rows and channels that do not know an element."""
    unit = APART.get(subject.case.op)
    mask = np.zeros((1,) * len(size), dtype=bool)
    for symbol in ("b", unit):
        if symbol not in symbols or symbol not in shape:
            continue
        axis = shape.index(symbol)
        other = np.arange(size[axis]) != index[symbols.index(symbol)]
        mask = mask | other.reshape([-1 if i == axis else 1 for i in range(len(size))])
    return mask


def _reaches_of_scan(subject: Subject) -> Iterator[Comparison]:
    """For one element of each input of a selective scan, in two rows: what it may not reach."""
    for row in _rows(["b"], (subject.call.sizes["b"],)):
        yield from _reaches_of_row(subject, row)


def _reaches_of_row(subject: Subject, row: int) -> Iterator[Comparison]:
    sizes = subject.call.sizes
    b, d, l = sizes["b"], sizes["d"], sizes["l"]
    channel, time = d // 2, l // 3
    rows, channels, times = np.arange(b)[:, None, None], np.arange(d)[None, :, None], np.arange(l)
    for name, item in subject.stored.items():
        if name in ("u", "delta", "z"):
            index: tuple[int, ...] = (row, channel, time)
            mine = channels == channel
        elif name in ("B", "C") and item.array.ndim == 4:
            groups = item.array.shape[1]
            group = channel // (d // groups)
            index = (row, group, 0, time)
            mine = channels // (d // groups) == group
        elif name in ("B", "C") and item.array.ndim == 3:
            index, mine = (row, 0, time), channels >= 0
        elif name in ("A", "D", "delta_bias"):
            index, mine = (channel, 0)[: item.array.ndim], channels == channel
        elif name == "initial_state":
            index, mine, time = (row, channel, 0), channels == channel, 0
        else:
            continue
        chosen = np.zeros(item.array.shape, dtype=bool)
        chosen[index] = True
        parameter = name in ("A", "D", "delta_bias")
        reached = mine & (times >= (0 if parameter or not in_time_order(subject) else time))
        reached = reached if parameter else reached & (rows == row)
        state = (mine if parameter else mine & (rows == row))[..., 0][..., None]
        kept = {
            "y": ~reached,
            "last_state": ~state if name not in ("z", "C", "D") else np.ones(1, dtype=bool),
        }
        returned = {output: mask for output, mask in kept.items() if output in subject.exact}
        yield {name: chosen}, returned, f"in {name}{list(index)}"


def _reaches_of_heads(subject: Subject) -> Iterator[Comparison]:
    """For one element of each input of an operator with heads: what it may not reach, symbol by symbol."""
    for row in _rows(["b"], (subject.call.sizes["b"],)):
        yield from _reaches_of_heads_in(subject, row)


def _reaches_of_heads_in(subject: Subject, row: int) -> Iterator[Comparison]:
    sizes, outputs = subject.call.sizes, output_axes(subject.case.operator)
    middle = {"b": row, "h": sizes["h"] // 2, "p": sizes["p"] // 2}
    middle["g"] = middle["h"] // (sizes["h"] // sizes["g"])
    for name, symbols in axes(subject).items():
        item = subject.stored[name]
        if item.index or not item.array.size:
            continue
        index = tuple(middle.get(s, sizes[s] // 3 if s == "l" else 0) for s in symbols)
        chosen = np.zeros(item.array.shape, dtype=bool)
        chosen[index] = True
        time = None
        if in_time_order(subject) and time_axis(symbols) is not None:
            time = index[symbols.index("l")]
        kept = {
            output: np.ones((1,) * len(shape), dtype=bool)
            if time_axis(shape) is None and name in OUTPUT_ALONE[subject.case.op] and output != "y"
            else ~_reached(symbols, middle, time, shape, sizes)
            for output, shape in outputs.items()
            if output in subject.exact
        }
        yield {name: chosen}, kept, f"in {name}{list(index)}"


def _reached(
    symbols: list[str],
    middle: Mapping[str, int],
    time: int | None,
    shape: list[str],
    sizes: Mapping[str, int],
) -> Mask:
    """Of an output, what an element may reach: its row, its head or group, its channel, later times."""
    reached = np.ones((1,) * len(shape), dtype=bool)
    for axis, symbol in enumerate(shape):
        here = np.arange(sizes[symbol])
        if symbol == "h" and "g" in symbols:
            own = here // (sizes["h"] // sizes["g"]) == middle["g"]
        elif symbol in symbols and symbol in middle:
            own = here == middle[symbol]
        elif symbol == "l" and time is not None:
            own = here >= time
        else:
            continue
        reached = reached & own.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return reached
