"""What one part of a call may not do to another, bit by bit: causality, packing, confinement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import Mask, changed, in_time_order, spoil
from ssm_conformance.checks.pieces import (
    axes,
    carried,
    output_axes,
    outputs_over_time,
    streamed,
    time_axis,
)
from ssm_conformance.checks.sequences import spans
from ssm_conformance.checks.subject import Subject

OUTPUT_ALONE: Final[Mapping[str, tuple[str, ...]]] = {
    "ssd": ("C", "D", "z"),
    "ssd_update": ("C", "D", "z"),
    "mamba3_siso": ("q", "q_bias", "D", "z"),
    "mamba3_siso_step": ("q", "q_bias", "D", "z"),
}
"""Operators with heads → the arguments that reach no state."""


def causality(subject: Subject) -> Finding:
    """What happens from t = k on, a NaN too, changes no output before k.

    The option ``cuts`` names the ks: the middle if it is absent, several others if it is empty.
    """
    length = subject.call.sizes["l"]
    cuts = subject.case.options.get("cuts", (length // 2,)) or sorted({1, length // 3, length - 1})
    comparisons = []
    for cut in cuts:
        late = np.arange(length) >= cut
        chosen = {name: _spread(late, axis) for name, axis in streamed(subject).items()}
        kept = {name: _spread(~late, axis) for name, axis in outputs_over_time(subject.case.operator).items()}
        comparisons.append((chosen, kept, f"from t = {cut} on"))
    how = ("other numbers", "nan") if in_time_order(subject) else ("other numbers",)
    return _compare(subject, comparisons, how)


def packing(subject: Subject) -> Finding:
    """Nothing of one sequence reaches another: no number, not its initial state; no NaN in time order."""
    comparisons = []
    for which in (0, -1):
        own, states = _sequence(subject, which)
        chosen = _of_sequence(subject, own, states)
        kept = {name: ~_masks(own, rank, axis) for name, rank, axis in _outputs(subject)}
        comparisons.append((chosen, kept, f"in the {'last' if which else 'first'} sequence"))
    how = ("other numbers", "nan") if in_time_order(subject) else ("other numbers",)
    return _compare(subject, comparisons, how)


def packing_gradients(subject: Subject) -> Finding:
    """No gradient of one sequence depends on another: not on its inputs, not on its cotangents."""
    exact = subject.exact_gradients(subject.arithmetic())
    before = subject.gradients(subject.call)
    for which in (0, -1):
        own, states = _sequence(subject, which)
        inputs = spoil(subject.stored, _of_sequence(subject, own, states), "other numbers")
        given = {name: _masks(own, rank, axis) for name, rank, axis in _outputs(subject)}
        for name in carried(subject.case.operator) if which else ():
            if name in subject.exact:
                given[name] = _rows(states, subject.exact[name].value.ndim)
        known = {name: mask for name, mask in given.items() if name in subject.cotangents}
        other = subject.put(inputs, cotangents=spoil(subject.cotangents, known, "other numbers"))
        kept = {
            name: ~_masks(own, subject.stored[name].array.ndim, axis)
            for name, axis in streamed(subject).items()
            if name in before
        }
        complaint = changed(subject, before, other.gradients(other.call), kept, exact)
        if complaint:
            word = "last" if which else "first"
            return Finding(message=f"other numbers in the {word} sequence: gradient of {complaint}")
    return Finding()


def confinement(subject: Subject) -> Finding:
    """A NaN or an infinity in one element of one input stays where that element may reach."""
    return _compare(subject, list(_reaches(subject)), ("nan", "inf"))


Comparison = tuple[dict[str, Mask], dict[str, Mask], str]
"""What is changed in the inputs, what must stay in the outputs, and how a message calls the change."""


def _compare(subject: Subject, comparisons: list[Comparison], how: tuple[str, ...]) -> Finding:
    before = subject.forward(subject.call)
    for chosen, kept, place in comparisons:
        for other in how:
            after = subject.forward(subject.into(spoil(subject.stored, chosen, other)))
            complaint = changed(subject, before, after, kept, subject.exact)
            if complaint:
                return Finding(message=f"{other} {place}: {complaint}")
    return Finding()


def _sequence(subject: Subject, which: int) -> tuple[Mask, Mask]:
    """The first or the last sequence of each row: its steps (b, l), and its rows of state (r).

    Of offsets, the first or the last sequence that is not empty.
    """
    sizes = subject.call.sizes
    own = np.zeros((sizes["b"], sizes["l"]), dtype=bool)
    whole = [span for span in spans(subject) if span.times.start < span.times.stop]
    if "cu_seqlens" in subject.stored:
        chosen = [whole[which]]
        rows = np.zeros(subject.stored["cu_seqlens"].array.size - 1, dtype=bool)
    else:
        chosen = [[s for s in whole if s.row == row][which] for row in range(sizes["b"])]
        rows = np.zeros(sizes["b"], dtype=bool)
    for span in chosen:
        own[span.row, span.times] = True
        state = span.last if which else span.initial
        if state is not None:
            rows[state] = True
    return own, rows


def _of_sequence(subject: Subject, own: Mask, states: Mask) -> dict[str, Mask]:
    """Input → the elements that belong to a sequence."""
    chosen = {
        name: _masks(own, subject.stored[name].array.ndim, axis) for name, axis in streamed(subject).items()
    }
    begins = own[:, 0].any() or "cu_seqlens" in subject.stored
    for name in carried(subject.case.operator).values() if begins else ():
        if name in subject.stored:
            chosen[name] = _rows(states, subject.stored[name].array.ndim)
    return chosen


def _outputs(subject: Subject) -> Iterator[tuple[str, int, int]]:
    """The outputs that have a time axis: name, rank, that axis."""
    for name, axis in outputs_over_time(subject.case.operator).items():
        yield name, subject.exact[name].value.ndim, axis


def _spread(times: Mask, axis: int) -> Mask:
    """(l) along an axis, counted from the end."""
    return times.reshape(-1, *[1] * (-axis - 1))


def _masks(own: Mask, rank: int, axis: int) -> Mask:
    """(b, l) over the other axes."""
    shape = [1] * rank
    shape[0], shape[axis] = own.shape
    return own.reshape(shape)


def _rows(rows: Mask, rank: int) -> Mask:
    """(r) over the other axes."""
    return rows.reshape(-1, *[1] * (rank - 1))


def _reaches(subject: Subject) -> Iterator[Comparison]:
    """For one element of each input: what it may not reach."""
    if subject.case.op == "selective_scan":
        yield from _reaches_of_scan(subject)
    elif subject.case.op in OUTPUT_ALONE:
        yield from _reaches_of_heads(subject)
    else:
        yield from _reaches_of_stream(subject)


def _reaches_of_stream(subject: Subject) -> Iterator[Comparison]:
    """For one element of each input that has a batch: the other rows; its time too, where it has one."""
    outputs = {output.name: output.shape.split() for output in subject.case.operator.outputs}
    for name, symbols in axes(subject).items():
        item = subject.stored[name]
        if symbols[0] != "b" or item.index or not item.array.size:
            continue
        chosen = np.zeros(item.array.shape, dtype=bool)
        index = (0, *(size // 3 for size in item.array.shape[1:]))
        chosen[index] = True
        kept = {}
        for output, shape in outputs.items():
            if output not in subject.exact:
                continue
            size = subject.exact[output].value.shape
            reached = np.arange(size[0]) == 0
            mask = ~reached.reshape(-1, *[1] * (len(size) - 1))
            if symbols[-1] == "l" and shape[-1] == "l" and in_time_order(subject):
                mask = mask | (np.arange(size[-1]) < index[-1])
            kept[output] = mask
        yield {name: chosen}, kept, f"in {name}{list(index)}"


def _reaches_of_scan(subject: Subject) -> Iterator[Comparison]:
    """For one element of each input of a selective scan: what it may not reach."""
    sizes = subject.call.sizes
    b, d, l = sizes["b"], sizes["d"], sizes["l"]
    row, channel, time = 0, d // 2, l // 3
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
        yield {name: chosen}, kept, f"in {name}{list(index)}"


def _reaches_of_heads(subject: Subject) -> Iterator[Comparison]:
    """For one element of each input of an operator with heads: what it may not reach, symbol by symbol."""
    sizes, outputs = subject.call.sizes, output_axes(subject.case.operator)
    middle = {"b": 0, "h": sizes["h"] // 2, "p": sizes["p"] // 2}
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
