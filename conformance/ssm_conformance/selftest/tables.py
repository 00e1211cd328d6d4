"""The outcome of a self-test as data, and in one sentence."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

from ssm_conformance.mutants import HONEST, MUTANTS
from ssm_conformance.mutants.kernels.kernel import DTYPES
from ssm_conformance.reports.matrix import CHECKS
from ssm_conformance.selftest.customary import CUSTOMARY
from ssm_conformance.selftest.rows import Row
from ssm_conformance.verdict import plain

SCHEMA: Final = 1
"""Version of the data's form."""


def report(rows: Sequence[Row], level: str, search: float, seconds: float) -> dict[str, Any]:
    """Everything about a self-test, JSON-ready: docs/teeth.md says what the fields mean.

    Parameters
    ----------
    rows
        In any order; they come out in that of the tables of mutants.
    level, search
        What was asked.
    seconds
        How long it took.
    """
    order = {name: i for i, name in enumerate([*HONEST, *MUTANTS])}
    ordered = sorted(rows, key=lambda item: (order[item.name], DTYPES.index(item.dtype)))
    return {
        "schema": SCHEMA,
        "versions": {name: version(name) for name in ("ssm-spec", "numpy", "scipy")}
        | {"python": platform.python_version()},
        "level": level,
        "search": search,
        "seconds": round(seconds, 1),
        "allclose": {dtype: {"rtol": rtol, "atol": atol} for dtype, (rtol, atol) in CUSTOMARY.items()},
        "summary": summary(ordered),
        "honest": {name: HONEST[name].summary for name in HONEST if any(r.name == name for r in ordered)},
        "mutants": {name: _about(name) for name in MUTANTS if any(r.name == name for r in ordered)},
        "rows": [plain(asdict(item) | {"right": item.right}) for item in ordered],
    }


def _about(name: str) -> dict[str, Any]:
    mutant = MUTANTS[name]
    return {
        "op": mutant.op,
        "failure": mutant.failure,
        "summary": mutant.summary,
        "rejected_by": mutant.rejected_by,
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts of rows, by outcome and, for the known-bad, by the check that must reject them."""
    bad = [item for item in rows if item.expected]
    honest = [item for item in rows if not item.expected]
    return {
        "honest": {"rows": len(honest), "failed": sum(not item.right for item in honest)},
        "mutants": len({item.name for item in bad}),
        "known_bad": counts(bad),
        "checks": {
            check: counts([item for item in bad if MUTANTS[item.name].check == check])
            for check in CHECKS
            if any(MUTANTS[item.name].check == check for item in bad)
        },
        "wrong": [f"{item.name} in {item.dtype}: {wrong(item)}" for item in rows if not item.right],
    }


def counts(bad: Sequence[Row]) -> dict[str, int]:
    """Rows of mutants: how many, how many rejected, lost and missed, and what allclose would have caught."""
    rejected = [item for item in bad if item.outcome == "rejected"]
    return {
        "rows": len(bad),
        "rejected": sum(item.caught for item in rejected),
        "lost": sum(item.outcome == "lost in rounding" for item in bad),
        "wrong": sum(not item.right for item in bad),
        "allclose_typical": sum(item.allclose is False for item in rejected),
        "allclose_there": sum(item.allclose_there is False for item in rejected),
    }


def wrong(item: Row) -> str:
    """What is wrong with a row, in words."""
    if item.errors:
        return item.errors[0]
    if item.outcome == "rejected":
        return f"rejected, but not by {item.expected}"
    return item.outcome


def sentence(found: Mapping[str, Any]) -> str:
    """The outcome in one sentence, from :func:`summary`."""
    parts = []
    if found["honest"]["rows"]:
        parts.append(f"honest: {found['honest']['failed']} failed of {found['honest']['rows']}")
    bad = found["known_bad"]
    if bad["rows"]:
        parts.append(
            f"known-bad: {bad['rejected']} of {bad['rows']} rejected by the check that must, "
            f"{bad['lost']} lost in rounding; np.allclose would have rejected {bad['allclose_typical']} "
            f"on typical inputs, {bad['allclose_there']} on those of that check"
        )
    if found["wrong"]:
        parts.append(f"wrong: {', '.join(found['wrong'])}")
    return "; ".join(parts)
