"""What declared facts about arithmetic amount to: whether the verdict needs them, and by how much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ssm_conformance.reports.matrix import show_ratio, worse
from ssm_conformance.verdict import Verdict


@dataclass
class Declaration:
    """The same facts about one operator, over the cases of some dtypes.

    Attributes
    ----------
    op, facts
        The operator, and the facts in words.
    dtypes
        Those to which all this applies.
    cases
        How many were judged with the facts.
    needed
        How many of them pass, and would not without the facts.
    stricter, moved
        In how many the facts made the ratio larger; in how many they changed it at all.
    failed
        How many do not pass.
    worst, without
        The worst ratio with the facts, and without them.
    """

    op: str
    facts: str
    dtypes: list[str] = field(default_factory=list)
    cases: int = 0
    needed: int = 0
    stricter: int = 0
    moved: int = 0
    failed: int = 0
    worst: float = 0.0
    without: float = 0.0

    def add(self, ratio: float, without: float) -> None:
        """Count one case."""
        self.cases += 1
        self.needed += ratio <= 1.0 and not without <= 1.0
        self.stricter += ratio > without
        self.moved += ratio != without
        self.failed += not ratio <= 1.0
        self.worst, self.without = worse(self.worst, ratio), worse(self.without, without)

    def merge(self, other: Declaration) -> None:
        """Take in the cases of other dtypes."""
        self.dtypes += other.dtypes
        self.cases += other.cases
        self.needed += other.needed
        self.stricter += other.stricter
        self.moved += other.moved
        self.failed += other.failed
        self.worst, self.without = worse(self.worst, other.worst), worse(self.without, other.without)

    @property
    def outcome(self) -> str:
        """What the declaration does, in words."""
        if self.needed:
            return f"{self.needed} of {self.cases} cases pass by it"
        if self.stricter:
            return "it narrows the bound"
        if self.failed:  # what a wrong result needs cannot be said
            return "no case passes by it alone"
        if self.moved:
            return "unnecessary, for every case passes without it"
        return "unnecessary, for it changes nothing"

    @property
    def unnecessary(self) -> bool:
        """Whether the backend would do as well without it."""
        return not self.needed and not self.stricter and not self.failed

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        ratios = f"worst ratio {show_ratio(self.worst)}, without it {show_ratio(self.without)}"
        return f"{self.op} declares {self.facts} ({', '.join(self.dtypes)}): {self.outcome}; {ratios}"


def declarations(verdicts: Iterable[Verdict]) -> list[Declaration]:
    """What each operator declared, dtype by dtype; dtypes of one outcome are told together."""
    single: dict[tuple[str, str, str], Declaration] = {}
    for verdict in verdicts:
        if verdict.ratio is None or "declared" not in verdict.details:
            continue
        facts = _words(verdict.details["declared"])
        found = single.setdefault((verdict.op, facts, verdict.dtype), Declaration(verdict.op, facts))
        found.dtypes = [verdict.dtype]
        found.add(verdict.ratio, float(verdict.details["ratio_undeclared"]))
    merged: dict[tuple[str, str, str], Declaration] = {}
    for item in single.values():
        word = "needed" if item.needed else item.outcome
        whole = merged.setdefault((item.op, item.facts, word), Declaration(item.op, item.facts))
        whole.merge(item)
    return list(merged.values())


def _words(facts: dict[str, Any]) -> str:
    return ", ".join(f"{fact} {value}" for fact, value in facts.items())
