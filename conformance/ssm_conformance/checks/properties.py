"""What must hold between two calls: causality, packing, repetition. Compared bit by bit, at one shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_backends import choose_forms
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.storage import store

NOT_IN_TIME_ORDER = ("fft", "matmul_chunk")
"""Declared evaluations whose results may move by two bounds where another element changes."""


def causality(subject: Subject) -> Finding:
    """What happens from t = k on, a NaN too, changes no output before k."""
    length = subject.call.sizes["l"]
    cut = length // 2
    before = subject.forward(subject.call)
    messages = []
    for spoil in ("other numbers", "nan"):
        if spoil == "nan" and _moves(subject):
            continue
        spoiled = spoil_inputs(subject, lambda t: t >= cut, spoil)
        after = subject.forward(subject.into(spoiled))
        messages.append(
            _compare(subject, "y", before, after, np.arange(length) < cut, f"{spoil} from t = {cut} on")
        )
    return Finding(message="; ".join(filter(None, messages)))


def packing(subject: Subject) -> Finding:
    """Nothing of the first sequence of a row reaches the next: not even a NaN, nor its initial state."""
    index = subject.stored["seq_idx"].array
    first = np.cumprod(index == index[:, :1], axis=1).astype(bool)
    before = subject.forward(subject.call)
    messages = []
    for spoil in ("other numbers", "nan"):
        spoiled = spoil_inputs(subject, first, spoil)
        after = subject.forward(subject.into(spoiled))
        messages.append(
            _compare(subject, "y", before, after, ~first, f"{spoil} in the first sequence of each row")
        )
    return Finding(message="; ".join(filter(None, messages)))


def repeats(subject: Subject) -> Finding:
    """The same call gives the same bits."""
    run = subject.gradients if subject.case.options["direction"] == "backward" else subject.forward
    first, second = run(subject.call), run(subject.call)
    differing = [name for name in first if first[name].array.tobytes() != second[name].array.tobytes()]
    if not differing:
        return Finding()
    changed = ", ".join(f"`{name}`" for name in differing)
    return Finding(message=f"{changed} came out with other bits when the call was repeated")


def spoil_inputs(subject: Subject, chosen: Any, how: str) -> dict[str, Stored]:
    """Inputs with other numbers, or one NaN each, at the chosen times.

    Parameters
    ----------
    subject
        Whose inputs.
    chosen
        Mask (b, l) of the times, or a function from t to whether it is chosen; with a
        mask, the initial state is replaced as well.
    how
        "other numbers" or "nan".
    """
    forms = choose_forms(subject.case.operator, subject.case.draws | subject.case.plain)
    spoiled = dict(subject.stored)
    for name, item in subject.stored.items():
        symbols = forms[name].shape.split()
        if subject.case.draws[name].dtype is not None:
            continue
        if symbols[-1] == "l":
            mask = _mask(chosen, item.array.shape)
        elif name == "initial_state" and not callable(chosen):
            mask = np.ones(item.array.shape, dtype=bool)
        else:
            continue
        spoiled[name] = Stored(_replace(item, mask, how), item.dtype)
    return spoiled


def _mask(chosen: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if callable(chosen):
        return np.broadcast_to(chosen(np.arange(shape[-1])), shape)
    rows = chosen.reshape(chosen.shape[0], *[1] * (len(shape) - 2), chosen.shape[1])
    return np.broadcast_to(rows, shape)


def _replace(item: Stored, mask: NDArray[np.bool_], how: str) -> NDArray[Any]:
    exact = item.exact
    other = np.full_like(exact, np.nan) if how == "nan" else 0.25 - 1.5 * exact
    return store(np.where(mask, other, exact), item.dtype)


def _moves(subject: Subject) -> bool:
    return subject.arithmetic().evaluation in NOT_IN_TIME_ORDER


def _compare(
    subject: Subject,
    name: str,
    before: Mapping[str, Stored],
    after: Mapping[str, Stored],
    kept: NDArray[np.bool_],
    what: str,
) -> str:
    """Complain if kept elements moved: by a bit, or by two bounds where evaluation is not in time order."""
    a, b = before[name], after[name]
    keep = np.broadcast_to(
        kept if kept.ndim == 1 else kept.reshape(kept.shape[0], *[1] * (a.array.ndim - 2), kept.shape[1]),
        a.array.shape,
    )
    if _moves(subject):
        exact = subject.exact[name]
        moved = np.abs(a.exact - b.exact) > 2 * (exact.bound + exact.own)
    else:
        moved = _bits(a.array) != _bits(b.array)
    moved &= keep
    if not moved.any():
        return ""
    where = tuple(int(i) for i in np.argwhere(moved)[0])
    return (
        f"{what} changed {name}{list(where)} from {a.exact[where]:.9g} to {b.exact[where]:.9g} "
        f"({int(moved.sum())} elements in all)"
    )


def _bits(x: NDArray[Any]) -> NDArray[Any]:
    raw = np.ascontiguousarray(x)
    return raw.view(np.uint8).reshape(*raw.shape, raw.itemsize).copy().view(f"V{raw.itemsize}")[..., 0]
