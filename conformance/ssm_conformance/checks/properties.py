"""What must hold between two calls of one shape: causality, packing, confinement, batches, repetition."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ssm_backends import choose_forms
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import Mask, beyond_two_bounds, changed, in_time_order, spoil
from ssm_conformance.checks.subject import Stored, Subject


def causality(subject: Subject) -> Finding:
    """What happens from t = k on, a NaN too, changes no output before k."""
    length = subject.call.sizes["l"]
    cut = length // 2
    late = np.arange(length) >= cut
    chosen = dict.fromkeys(_streamed(subject), late)
    how = ("other numbers", "nan") if in_time_order(subject) else ("other numbers",)
    return _compare(subject, [(chosen, {"y": ~late}, f"from t = {cut} on")], how)


def packing(subject: Subject) -> Finding:
    """Nothing of the first sequence reaches the next: no number, no NaN, not its initial state."""
    first = _first_sequence(subject)
    chosen = {
        name: first.reshape(first.shape[0], *[1] * (item.array.ndim - 2), first.shape[1])
        for name, item in subject.stored.items()
        if name in _streamed(subject)
    }
    if "initial_state" in subject.stored:
        rows = np.ones(subject.stored["initial_state"].array.shape[0], dtype=bool)
        if "cu_seqlens" in subject.stored:
            rows[1:] = False
        chosen["initial_state"] = rows[:, None, None]
    kept = {"y": ~first[:, None, :]}
    return _compare(subject, [(chosen, kept, "in the first sequence")], ("other numbers", "nan"))


def confinement(subject: Subject) -> Finding:
    """A NaN or an infinity in one element of one input stays where that element may reach."""
    return _compare(subject, list(_reaches(subject)), ("nan", "inf"))


def batches(subject: Subject) -> Finding:
    """Rows of a batch do not know each other: reversed inputs give reversed outputs, within two bounds."""
    forms = choose_forms(subject.case.operator, subject.case.draws | subject.case.plain)
    turned = {
        name: Stored(item.array[::-1].copy(), item.dtype) if forms[name].shape[0] in "br" else item
        for name, item in subject.stored.items()
    }
    before = subject.forward(subject.call)
    after = subject.forward(subject.into(turned))
    for name, item in before.items():
        back = Stored(after[name].array[::-1].copy(), item.dtype)
        moved = beyond_two_bounds(subject, name, item, back)
        if moved.any():
            where = tuple(int(i) for i in np.argwhere(moved)[0])
            return Finding(
                message=f"with the batch reversed, {name}{list(where)} = {back.exact[where]:.9g} "
                f"where it was {item.exact[where]:.9g}"
            )
    return Finding()


def repeats(subject: Subject) -> Finding:
    """The same call gives the same bits."""
    run = subject.gradients if subject.case.options["direction"] == "backward" else subject.forward
    first, second = run(subject.call), run(subject.call)
    differing = [name for name in first if first[name].array.tobytes() != second[name].array.tobytes()]
    if not differing:
        return Finding()
    names = ", ".join(f"`{name}`" for name in differing)
    return Finding(message=f"{names} came out with other bits when the call was repeated")


Comparison = tuple[dict[str, Mask], dict[str, Mask], str]
"""What is changed in the inputs, what must stay in the outputs, and how a message calls the change."""


def _compare(subject: Subject, comparisons: list[Comparison], how: tuple[str, ...]) -> Finding:
    before = subject.forward(subject.call)
    for chosen, kept, place in comparisons:
        for other in how:
            after = subject.forward(subject.into(spoil(subject, chosen, other)))
            complaint = changed(subject, before, after, kept)
            if complaint:
                return Finding(message=f"{other} {place}: {complaint}")
    return Finding()


def _streamed(subject: Subject) -> list[str]:
    """The floating inputs that have a time axis."""
    forms = choose_forms(subject.case.operator, subject.case.draws | subject.case.plain)
    return [
        name
        for name, draw in subject.case.draws.items()
        if draw.dtype is None and forms[name].shape.split()[-1] == "l"
    ]


def _first_sequence(subject: Subject) -> Mask:
    """(b, l): the elements of each row's first sequence."""
    if "seq_idx" in subject.stored:
        index = subject.stored["seq_idx"].array
        return np.asarray(np.cumprod(index == index[:, :1], axis=1), dtype=bool)
    offsets = subject.stored["cu_seqlens"].array
    return np.asarray(np.arange(offsets[-1]) < offsets[1])[None, :]


def _reaches(subject: Subject) -> Iterator[Comparison]:
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
