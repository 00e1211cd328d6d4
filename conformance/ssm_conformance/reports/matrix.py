"""Many verdicts as few numbers: a cell for each operator and check, with its counts and worst ratio."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from ssm_conformance.case import Check
from ssm_conformance.verdict import LIKELY, Status, Verdict

Mark = Literal["pass", "fail", "expected", "error", "unavailable", "not_claimed"]
WEIGHT: Final[tuple[Mark, ...]] = ("not_claimed", "pass", "unavailable", "expected", "error", "fail")
"""From the mildest to the gravest mark of a cell; "expected" is a failure that was announced."""

CHECKS: Final[tuple[Check, ...]] = get_args(Check)
"""The words that verdicts are filed under, in the order of a report."""


@dataclass
class Cell:
    """Verdicts of one operator under one check.

    Attributes
    ----------
    counts
        Status → how many.
    expected
        How many of the failures were announced.
    worst
        The worst ratio; None where none was measured.
    """

    counts: Counter[Status] = field(default_factory=Counter)
    expected: int = 0
    worst: float | None = None

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.counts[verdict.status] += 1
        self.expected += verdict.status == "fail" and verdict.expected is not None
        if verdict.ratio is not None:
            self.worst = worse(self.worst, verdict.ratio)

    @property
    def mark(self) -> Mark:
        """The gravest of the cell: a status, or "expected" where every failure was announced."""
        marks: set[Mark] = {status for status, count in self.counts.items() if count}
        if self.expected and self.expected == self.counts["fail"]:
            marks = (marks - {"fail"}) | {"expected"}
        return max(marks, key=WEIGHT.index, default="not_claimed")

    @property
    def judged(self) -> int:
        """How many say something about the backend."""
        return self.counts["pass"] + self.counts["fail"]


Matrix = dict[tuple[str, str], Cell]


def tabulate(verdicts: Iterable[Verdict]) -> Matrix:
    """(operator, check) → cell: operators in the order of the verdicts, the checks of one together."""
    matrix: dict[str, dict[str, Cell]] = {}
    for verdict in verdicts:
        matrix.setdefault(verdict.op, {}).setdefault(verdict.check, Cell()).add(verdict)
    return {(op, check): row[check] for op, row in matrix.items() for check in CHECKS if check in row}


def asked(matrix: Matrix) -> list[str]:
    """The operators of which anything was asked; the others are not claimed at all."""
    return list(dict.fromkeys(op for (op, _), cell in matrix.items() if cell.mark != "not_claimed"))


def worse(a: float | None, b: float) -> float:
    """The larger of two ratios; NaN is the largest of all."""
    if a is None or math.isnan(b):
        return b
    return a if math.isnan(a) else max(a, b)


def show_ratio(ratio: float | None) -> str:
    """A ratio for a reader: three digits, or "" if there is none."""
    if ratio is None:
        return ""
    if not math.isfinite(ratio):
        return str(ratio)
    return f"{ratio:.2f}" if 0.005 <= ratio < 100 or ratio == 0 else f"{ratio:.1e}"


def alike(verdicts: Iterable[Verdict]) -> list[list[Verdict]]:
    """Findings of one operator that say the same, or look like one mistake, together: one fault."""
    groups: dict[tuple[str, str, str | None], list[Verdict]] = {}
    for verdict in verdicts:
        said = verdict.message.partition("\n")[0]
        key = (verdict.op, said.partition(LIKELY)[2] or said, verdict.expected)
        groups.setdefault(key, []).append(verdict)
    return list(groups.values())


def failing_outputs(verdicts: Iterable[Verdict]) -> str:
    """What lies beyond its bounds though nobody announced it, with the number of cases; "" if nothing."""
    counts: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        if verdict.unexpected and verdict.status == "fail":
            beyond = (output.name for output in verdict.outputs if not output.ratio <= 1)
            counts.setdefault(verdict.op, Counter()).update(beyond)
    return "; ".join(f"{op}: {_with_cases(found)}" for op, found in counts.items() if found)


def unverified(verdicts: Iterable[Verdict]) -> str:
    """What there was no instrument for, with the number of cases; "" if nothing."""
    return _with_cases(
        Counter(v.message.partition("\n")[0] for v in verdicts if v.status == "unavailable"), "; "
    )


def side_effects(verdicts: Iterable[Verdict]) -> str:
    """What a backend left changed in its process, with the number of cases; "" if nothing."""
    counts = Counter(effect for verdict in verdicts for effect in verdict.details.get("side_effects", ()))
    return _with_cases(counts)


def _with_cases(counts: Counter[str], between: str = ", ") -> str:
    return between.join(f"{what} ({count} case{'s' * (count > 1)})" for what, count in counts.most_common())
