"""How near every judged element comes to its bound: a histogram for each operator, and what was excused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ssm_conformance.verdict import EDGES, Verdict

BARS: Final = " ▁▂▃▄▅▆▇█"
WITHIN: Final = sum(edge <= 1.0 for edge in EDGES)
"""The first so many bins lie within the bound."""


@dataclass
class Headroom:
    """The elements of one operator, by their ratio of error to bound.

    Attributes
    ----------
    counts
        Elements with a ratio up to each of ``EDGES``, then those beyond the last, NaN too.
    excused
        Elements that were not judged: what feeds them leaves the range of the compute type.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    excused: int = 0

    @property
    def judged(self) -> int:
        """How many elements were judged."""
        return sum(self.counts)

    @property
    def bars(self) -> str:
        """One character a bin, its height the share of the largest; a bin that holds anything shows."""
        most = max(self.counts)
        return "".join(
            BARS[-(-count * (len(BARS) - 1) // most)] if most and count else BARS[0] for count in self.counts
        )

    def share(self, edge: float) -> float:
        """The share of the judged elements with a ratio of at most one of ``EDGES``."""
        return sum(self.counts[: EDGES.index(edge) + 1]) / self.judged if self.judged else 0.0


def headroom(verdicts: Iterable[Verdict]) -> dict[str, Headroom]:
    """Operator → histogram, for the operators of which any element was judged."""
    found: dict[str, Headroom] = {}
    for verdict in verdicts:
        counts = verdict.details.get("headroom")
        if counts is None:
            continue
        entry = found.setdefault(verdict.op, Headroom())
        entry.counts = [a + b for a, b in zip(entry.counts, counts, strict=True)]
        entry.excused += int(verdict.details.get("excused", 0))
    return {op: entry for op, entry in found.items() if entry.judged}


def headroom_data(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The same as JSON-ready data."""
    return {
        "edges": list(EDGES),
        "operators": {
            op: {"counts": entry.counts, "excused": entry.excused} for op, entry in headroom(verdicts).items()
        },
    }


def labels() -> list[str]:
    """What each bin holds, in words."""
    return [f"≤{edge:g}" for edge in EDGES] + [f">{EDGES[-1]:g}"]
