"""Where a NaN may reach of states in a pool: the row that names a slot, that slot, and nobody else.

Where there are no indices each row names the slot of its own number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ssm_conformance.checks.perturb import Comparison, Mask
from ssm_conformance.checks.pieces import axes, belongs_to, members, output_axes
from ssm_conformance.checks.subject import Subject

NO_STATE: Final[Mapping[str, tuple[str, ...]]] = {
    "selective_state_update": ("C", "D", "z"),
    "causal_conv1d": ("weight", "bias"),
    "causal_conv1d_update": ("weight", "bias"),
    "ssd_update": ("C", "D", "z"),
}
"""Operators → the arguments that reach no state."""
MODES: Final = ("selective_state_update", "ssd_update")
"""Steps whose states n do not know each other."""


@dataclass(frozen=True)
class Pool:
    """Who names which slot.

    Attributes
    ----------
    indices : int, (b,)
        The slot of each row, −1 for a skipped one.
    slots
        How many there are.
    """

    indices: NDArray[np.integer]
    slots: int

    @classmethod
    def of(cls, subject: Subject) -> Pool:
        """The pool of a step."""
        given, sizes = subject.stored.get("state_indices"), subject.call.sizes
        return cls(np.arange(sizes["b"]) if given is None else given.array, sizes["r"])

    @property
    def named(self) -> Mask:
        """Whether a row names a slot, (r,)."""
        named = np.zeros(self.slots, dtype=bool)
        named[self.indices[self.indices >= 0]] = True
        return named

    def along(self, symbol: str) -> tuple[int, ...]:
        """Rows, or slots, to put a NaN into: of the first and the last row that steps, and of none."""
        steps = np.flatnonzero(self.indices >= 0)
        slots = symbol == "r"
        taken = self.indices[steps] if slots else steps
        left = np.flatnonzero(~self.named if slots else self.indices < 0)
        return tuple(dict.fromkeys(int(i) for part in (taken, left) if part.size for i in part[[0, -1]]))

    def rows(self, place: Mapping[str, int]) -> Mask:
        """The rows that an element there may reach, (b,)."""
        steps = self.indices >= 0
        if "b" in place:
            return np.asarray(steps & (np.arange(self.indices.size) == place["b"]))
        return np.asarray(self.indices == place["r"] if "r" in place else steps)

    def reached(self, place: Mapping[str, int]) -> Mask:
        """The slots that it may reach, (r,): those that its rows name, and its own."""
        slots = np.arange(self.slots) == place.get("r", -1)
        return np.asarray(slots | np.isin(np.arange(self.slots), self.indices[self.rows(place)]))


def places(subject: Subject, symbols: list[str], shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Elements of an array: in rows or slots of every kind, inside along the other axes."""
    pool, first = Pool.of(subject), symbols[0] if symbols[0] in ("b", "r") else ""
    for at in pool.along(first) if first else (-1,):
        yield tuple(at if s == first else size // 2 for s, size in zip(symbols, shape, strict=True))


def reached(subject: Subject, symbols: list[str], index: tuple[int, ...], shape: list[str]) -> Mask:
    """Of a result, the elements that an element of an argument, or of a cotangent, has a part in."""
    pool, place = Pool.of(subject), dict(zip(symbols, index, strict=True))
    unit = "h" if "h" in subject.call.sizes else "d"
    found = np.ones((1,) * len(shape), dtype=bool)
    if not {"b", "r"} & set(shape):  # a parameter's gradient: of the rows that step
        found = found & pool.rows(place).any()
    for axis, symbol in enumerate(shape):
        if symbol == "b":
            own = pool.rows(place)
        elif symbol == "r":
            own = pool.reached(place)
        elif belongs_to(symbol, unit):
            own = members(subject, unit, place, symbol)
        else:
            continue
        found = found & own.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return found


def reaches(subject: Subject) -> Iterator[Comparison]:
    """For an element of each input, in rows and slots of every kind: what it may not reach."""
    named, outputs = Pool.of(subject).named, output_axes(subject.case.operator)
    last = subject.stored["state"].array.shape[-1]
    for name, symbols in axes(subject).items():
        item = subject.stored[name]
        if item.index or not item.array.size:
            continue
        for index in places(subject, symbols, item.array.shape):
            chosen = np.zeros(item.array.shape, dtype=bool)
            chosen[index] = True
            place = dict(zip(symbols, index, strict=True))
            kept = {
                output: ~reached(subject, symbols, index, shape) | _other_widths(subject, place, shape)
                for output, shape in outputs.items()
            }
            idle = symbols[0] == "r" and not named[index[0]]
            if name in NO_STATE[subject.case.op]:
                kept["state"] = np.ones(1, dtype=bool)
            elif idle or (subject.case.op in MODES and "n" in symbols):  # it reaches its own place alone
                kept["state"] = kept["state"] | (np.arange(last) != index[-1])
            yield {name: chosen}, kept, f"in {name}{list(index)}"


def _other_widths(subject: Subject, place: Mapping[str, int], shape: list[str]) -> Mask:
    """Of an output of heads, the channels of a head that an element of another one of it does not reach."""
    if "p" not in place or "p" not in shape:
        return np.zeros((1,) * len(shape), dtype=bool)
    others: Mask = np.arange(subject.call.sizes["p"]) != place["p"]
    return others.reshape([-1 if symbol == "p" else 1 for symbol in shape])
