"""Changing chosen elements of the inputs, and finding what that changed in the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ssm_conformance.checks.agreement import apart
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.checks.vacuous import some
from ssm_conformance.storage import store
from ssm_conformance.verdict import LEFT, LIKELY
from ssm_spec import Bounded

NOT_IN_TIME_ORDER: Final = ("fft", "matmul_chunk")
"""Declared evaluations whose results may move by two bounds where another element changes."""
Mask = NDArray[np.bool_]


def in_time_order(subject: Subject) -> bool:
    """Whether elements that must not change must keep their bits."""
    return subject.arithmetic().evaluation not in NOT_IN_TIME_ORDER


def spoil(arrays: Mapping[str, Stored], chosen: Mapping[str, Mask], how: str) -> dict[str, Stored]:
    """Inputs, or cotangents, with chosen elements replaced.

    Parameters
    ----------
    arrays
        By name.
    chosen
        Argument name → mask, broadcastable to its shape.
    how
        "other numbers", "nan" or "inf".
    """
    spoiled = dict(arrays)
    for name, mask in chosen.items():
        item = spoiled[name]
        exact = item.exact
        other = {"nan": np.full_like(exact, np.nan), "inf": np.full_like(exact, np.inf)}.get(
            how, 0.25 - 1.5 * exact
        )
        spoiled[name] = Stored(store(np.where(mask, other, exact), item.dtype), item.dtype)
    return spoiled


def changed(
    subject: Subject,
    before: Mapping[str, Stored],
    after: Mapping[str, Stored],
    kept: Mapping[str, Mask],
    exact: Mapping[str, Bounded],
    direction: Literal["forward", "backward"] = "forward",
) -> str:
    """What moved that had to stay; "" if nothing did.

    Bit by bit where evaluation is in time order and the same bits are claimed from run to run, otherwise by
    more than two bounds.

    Parameters
    ----------
    subject
        Whose outputs.
    before, after
        Output or gradient → array, of two calls of one shape.
    kept
        Name → mask of the elements that must stay, broadcastable to its shape.
    exact
        The bounds of all.
    direction
        Of which pass they are.
    """
    keeps_bits = in_time_order(subject) and subject.op.is_deterministic(direction)
    for name, mask in kept.items():
        a, b = before[name], after[name]
        if keeps_bits:
            moved = bits(a.array) != bits(b.array)
        else:
            moved = beyond_two_bounds(a, b, exact[name], subject.call.compute, subject.periods.get(name))
        moved &= mask
        if moved.any():
            where = tuple(int(i) for i in np.argwhere(moved)[0])
            allowed = "must keep its bits" if keeps_bits else "may move by two bounds"
            return (
                f"{name}{list(where)} went from {a.exact[where]:.9g} to {b.exact[where]:.9g}, and {allowed} "
                f"({int(moved.sum())} of {int(np.sum(np.broadcast_to(mask, moved.shape)))} elements moved)"
            )
    return ""


def beyond_two_bounds(
    a: Stored, b: Stored, exact: Bounded, compute: str, period: float | None = None
) -> Mask:
    """Where two results lie further apart than two bounds, modulo a period; a NaN on either side counts."""
    allowed = 2 * (exact.bound + exact.own)
    return np.asarray(~(apart(a, b, compute, period) <= allowed) & exact.judged)


def bits(x: NDArray[Any]) -> NDArray[Any]:
    """Each element as an opaque block of bytes, so that equal means the same bits."""
    return np.ascontiguousarray(x).view(f"V{x.itemsize}").reshape(x.shape)


Comparison = tuple[dict[str, Mask], dict[str, Mask], str]
"""What is changed in the inputs, what must stay in the outputs, and how a message calls the change."""


def _nothing(chosen: Mapping[str, Mask], how: str, after: Mapping[str, Stored]) -> str:
    return ""


def compared(
    subject: Subject,
    comparisons: Sequence[Comparison],
    how: Sequence[str],
    also: Callable[[Mapping[str, Mask], str, Mapping[str, Stored]], str] = _nothing,
) -> Finding:
    """Whether what must stay does, for every change and every way of it.

    Parameters
    ----------
    subject
        Whose outputs.
    comparisons
        What is changed, what must stay, and where.
    how
        As for :func:`spoil`.
    also
        What was changed, in which way, and the outputs → what else is wrong with these; "" if nothing is.

    Raises
    ------
    Vacuous
        If one of them changes nothing, or leaves nothing that must stay.
    """
    before = subject.forward(subject.into(subject.stored))  # a call of its own: a step may write its state
    for chosen, kept, place in comparisons:
        some(selected(chosen, subject.stored), f"element {place}")
        some(selected(kept, before), f"element that must stay where others change {place}")
    for chosen, kept, place in some(comparisons, "element that is changed"):
        for other in how:
            after = subject.forward(subject.into(spoil(subject.stored, chosen, other)))
            complaint = changed(subject, before, after, kept, subject.exact)
            if complaint:
                return Finding(message=f"{other} {place}: {complaint}{_unrepeated(subject, before, kept)}")
            complaint = also(chosen, other, after)
            if complaint:
                return Finding(message=f"{other} {place}: {complaint}")
    return Finding()


def selected(masks: Mapping[str, Mask], arrays: Mapping[str, Stored]) -> list[str]:
    """The names under which masks choose an element of the arrays."""
    return [name for name, mask in masks.items() if np.broadcast_to(mask, arrays[name].array.shape).any()]


def _unrepeated(subject: Subject, before: Mapping[str, Stored], kept: Mapping[str, Mask]) -> str:
    """What explains that something moved, if it moves where nothing was changed; "" if it does not."""
    again = subject.forward(subject.into(subject.stored))
    moved = changed(subject, before, again, kept, subject.exact)
    return f"; so it does where the same call is made again{LIKELY}{LEFT}" if moved else ""
