"""What one check found, before it becomes a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ssm_conformance.judge import Judgement

DESCRIBED: Final = 3
"""Outputs of which a message tells the worst element: a wrong gradient is often wrong in all arguments."""


@dataclass(frozen=True)
class Finding:
    """The outcome of a check that could be carried out.

    Attributes
    ----------
    judgements
        Output or gradient name → what was measured there; empty for a check without numbers.
    message
        What was expected and what was got, if the check failed.
    details
        Further facts for the report, JSON-ready.
    """

    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Nothing to complain about, and every judgement within its bound."""
        return not self.message and all(judgement.passed for judgement in self.judgements.values())


def describe(name: str, judgement: Judgement) -> str:
    """One sentence on the worst element of one output."""
    place = f"{name}[{', '.join(map(str, judgement.where or ()))}]"
    expected = f"{judgement.expected:.9g} ± {judgement.bound:.2g}"
    beyond = int(np.sum(~(judgement.ratios <= 1.0)))
    count = f"{beyond} of {judgement.size} elements are beyond their bounds"
    if not np.isfinite(judgement.value):
        what = "NaN" if np.isnan(judgement.value) else f"{judgement.value:.9g}"
        return f"{place} is {what} where a finite value was expected, {expected} ({count})"
    if judgement.bound == 0:
        return f"{place} = {judgement.value:.9g}; expected exactly {judgement.expected:.9g} ({count})"
    return (
        f"{place} = {judgement.value:.9g}; expected {expected}: "
        f"{judgement.ratio:.3g} times the bound ({beyond} of {judgement.size} elements are beyond theirs)"
    )


def worst_message(judgements: Mapping[str, Judgement]) -> str:
    """A sentence for each of the worst outputs that are out of their bounds, and the names of the others."""
    failed = {name: found for name, found in judgements.items() if not found.passed}
    ranked = sorted(failed, key=lambda name: np.nan_to_num(failed[name].ratio, nan=np.inf), reverse=True)
    told = [describe(name, found) for name, found in failed.items() if name in ranked[:DESCRIBED]]
    others = ", ".join(name for name in failed if name in ranked[DESCRIBED:])
    are = "are beyond their bounds too" if len(failed) > DESCRIBED + 1 else "is beyond its bound too"
    return "; ".join([*told, f"{others} {are}"] if others else told)
