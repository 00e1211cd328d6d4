"""What is asked about the time between the two passes, and about tensors that note a conjugate as a bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ssm_conformance.case import Check, Level
from ssm_conformance.cases._ask import EVERY, FOREMOST, SINGLE, Ask, Names
from ssm_conformance.cases._invariances import IN_MEMORY, NOW

BETWEEN: Final = "claim-11: what is written between the passes changes no gradient silently"
_SOON: Final[Names] = dict.fromkeys(FOREMOST, ("typical", "complex"))
_LATER: Final[Names] = {
    op: tuple(name for name in names if name not in _SOON.get(op, ())) for op, names in EVERY.items()
}
_QUESTIONS: Final[tuple[tuple[Check, str, str, str], ...]] = (
    ("gradient", "overlapping", "overlapping", NOW),
    ("gradient", "written_between", "written-between", BETWEEN),
    ("robustness", "lazily", "lazily", IN_MEMORY),
)
"""Check, method, variant and clause."""


def passes() -> Iterator[Ask]:
    """To what most backends serve at the level quick, to the others at full."""
    levels: tuple[tuple[Names, Level], ...] = ((_SOON, "quick"), (_LATER, "full"))
    for check, method, variant, clause in _QUESTIONS:
        for of, level in levels:
            yield Ask(
                check=check, method=method, variant=variant, clause=clause, of=of, level=level, dtypes=SINGLE
            )
