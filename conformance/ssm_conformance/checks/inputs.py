"""Inputs are never written, but for the state of a step that is asked to write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ssm_backends import Call, Layout
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import bits
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.verdict import LIKELY


def unchanged(subject: Subject) -> Finding:
    """A call writes none of its inputs, nor a backward pass its cotangents: not even to put them back.

    PyTorch counts what is written to a tensor. NumPy's arrays are then made read-only, as those are that
    another library lends.
    """
    call, cotangents = subject.call, subject.into_cotangents() if subject.takes_gradients else {}
    counts, given = _writes(call.inputs), _writes(cotangents)
    subject.forward(call)
    message = written(subject, subject.stored, call.inputs, "the forward call")
    message = message or _put_back(counts, call.inputs, "the forward call")
    if message or not subject.takes_gradients:
        return _read_only(subject, call, cotangents, message)
    subject.gradients(call, cotangents)
    messages = (
        written(subject, subject.stored, call.inputs, "the backward call")
        or _put_back(counts, call.inputs, "the backward call"),
        written(subject, subject.cotangents, cotangents, "the backward call, as a cotangent")
        or _put_back(given, cotangents, "the backward call, as a cotangent"),
    )
    return _read_only(subject, call, cotangents, "; ".join(filter(None, messages)))


def _read_only(subject: Subject, call: Call, cotangents: Mapping[str, Any], message: str) -> Finding:
    """The message; if there is none, the same once more with arrays that nobody can write."""
    lent = [x for x in (*call.inputs.values(), *cotangents.values()) if isinstance(x, np.ndarray)]
    if message or not lent:
        return Finding(message=message)
    for x in lent:
        x.flags.writeable = False
    subject.forward(call)
    if subject.takes_gradients:
        subject.gradients(call, cotangents)
    return Finding()


def _writes(arrays: Mapping[str, Any]) -> dict[str, int]:
    """How often each tensor of PyTorch was written so far."""
    return {name: x._version for name, x in arrays.items() if hasattr(x, "_version")}


def _put_back(counts: Mapping[str, int], arrays: Mapping[str, Any], what: str) -> str:
    """Which tensors were written since, though they hold what they held; "" if none was."""
    changed = [f"`{name}`" for name, count in counts.items() if arrays[name]._version != count]
    return f"{what} wrote {', '.join(changed)} and put back what was there" if changed else ""


def in_place(subject: Subject) -> Finding:
    """The array that was given as the state holds the new state, and nothing else was written.

    Then once more where the state lies out of order, with gaps: a contiguous copy of it is not the state.
    """
    rank = subject.stored["state"].array.ndim
    apart = Layout(order=(*range(rank - 2), rank - 1, rank - 2), pad=3)
    for layouts in ({}, {"state": apart}):
        inputs = subject.into(subject.stored, layouts)
        new = subject.forward(inputs)["state"]
        held = subject.out(inputs.inputs["state"], "`state`")
        if held.array.tobytes() != new.array.tobytes():
            how = ", which is not contiguous," if layouts else ""
            message = f"with `inplace`, the array given as `state`{how} does not hold the new state"
            return Finding(message=message)
        others = {name: item for name, item in subject.stored.items() if name != "state"}
        message = written(subject, others, inputs.inputs, "the forward call")
        if message:
            return Finding(message=message)
    return Finding()


def written(subject: Subject, stored: Mapping[str, Stored], arrays: Mapping[str, Any], what: str) -> str:
    """Which arrays of a call no longer hold what was put into them; "" if all do.

    Parameters
    ----------
    subject
        Whose arrays.
    stored
        What was put into them.
    arrays
        The arrays in the library; some may be missing.
    what
        Who may have written, as a message says it.
    """
    compared = {
        f"`{name}`": difference(f"`{name}`", item, Stored(subject.arrays.to_numpy(arrays[name]), item.dtype))
        for name, item in stored.items()
        if name in arrays
    }
    changed = {name: said for name, said in compared.items() if said}
    if not changed:
        return ""
    are = "are" if len(changed) > 1 else "is"
    likely = f"{' and '.join(changed)} {are} written in place"
    return f"{what} changed {'; '.join(changed.values())}{LIKELY}{likely}"


def difference(name: str, before: Stored, after: Stored) -> str:
    """Where two arrays differ in their bits first, and how often; "" if nowhere.

    Parameters
    ----------
    name
        As a message calls them.
    before, after
        Two arrays that should be one.
    """
    a, b = before.array, after.array
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{name} from {a.dtype}{list(a.shape)} to {b.dtype}{list(b.shape)}"
    moved = bits(a) != bits(b)
    if not moved.any():
        return ""
    where = tuple(int(i) for i in np.argwhere(moved)[0])
    return (
        f"{name}{list(where) if where else ''} from {before.exact[where]:.9g} to {after.exact[where]:.9g} "
        f"({int(moved.sum())} of {moved.size} elements)"
    )
