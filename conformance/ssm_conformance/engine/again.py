"""Whether a failure is its call's own: it is judged once more, then alone, and what differs is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import inf, isnan
from typing import Final

from ssm_conformance.case import Case
from ssm_conformance.verdict import LIKELY, Verdict

QUICK: Final = 5.0
"""Seconds beyond which a case is not judged again."""
OF_AN_OPERATOR: Final = 2
OF_ALL: Final = 8
"""Failures of one operator that are judged alone in vain, and all: each costs the start of a process."""
MOVED: Final = 2.0
"""How far apart two ratios may be of results that are each within one bound of the same."""
ALONE: Final = "state is left from one call to the next, in a cache, a buffer or a global"


class Allowance:
    """How many failures may still be judged alone."""

    def __init__(self) -> None:
        self._spent, self._in_vain = 0, Counter[str]()

    def left(self, case: Case) -> bool:
        """Whether this one may."""
        return self._spent < OF_ALL and self._in_vain[case.op] < OF_AN_OPERATOR

    def spend(self, case: Case, told: str) -> None:
        """Count one, and what it told; "" if nothing."""
        self._spent += 1
        self._in_vain[case.op] += not told


def worth_asking_again(verdict: Verdict) -> bool:
    """Whether it is a failure of some call, and a quick one: not a crash, nor about repetition itself."""
    of_one = verdict.check not in ("memory", "determinism") and "cause" not in verdict.details
    return verdict.status == "fail" and of_one and verdict.seconds <= QUICK


def differing(first: Verdict, second: Verdict) -> str:
    """How the second verdict on one case differs from the first, a failure; "" if it does not."""
    if second.status == "pass":
        return "it passes"
    before = {output.name: output.ratio for output in first.outputs}
    after = {output.name: output.ratio for output in second.outputs}
    moved = [name for name in before if name in after and _apart(before[name], after[name])]
    if not moved:
        return ""
    name, *others = moved
    told = f"{name} is {after[name]:.3g} times the bound off, not {before[name]:.3g}"
    return f"{told}; {', '.join(others)} differ too" if others else told


def explained(verdict: Verdict, told: str, likely: str) -> Verdict:
    """The failure with what was found out about it, in place of a mistake that it looks like."""
    first, newline, rest = verdict.message.partition("\n")
    message = f"{first.partition(LIKELY)[0]}; {told}{LIKELY}{likely}{newline}{rest}"
    return replace(verdict, message=message)


def _apart(first: float, second: float) -> bool:
    first, second = (inf if isnan(ratio) else ratio for ratio in (first, second))
    return first != second and not abs(first - second) <= MOVED
