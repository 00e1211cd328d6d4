"""The outcome of a self-test as tables in Markdown: for its report, and for the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssm_conformance.mutants.failures import FAILURES
from ssm_conformance.reports.matrix import CHECKS
from ssm_conformance.selftest.customary import CUSTOMARY
from ssm_conformance.selftest.tables import sentence

Data = Mapping[str, Any]
"""What ``tables.report`` makes."""


def markdown(data: Data) -> str:
    """All of it as a page."""
    parts = {
        "By check": by_check(data),
        "Known-bad implementations": kill_matrix(data),
        "Which checks reject them": by_question(data),
        "Honest implementations": honest(data),
        "Lost in rounding": lost(data),
        "Recorded failures": failures(data),
    }
    lines = ["# Self-test", "", sentence(data["summary"]) + "."]
    for heading, table in parts.items():
        lines += ["", f"## {heading}", "", *table]
    return "\n".join(lines) + "\n"


def by_check(data: Data) -> list[str]:
    """The checks down, counts of pairs of mutant and dtype across."""
    found = data["summary"]
    lines = [
        "| check | pairs | rejected by it | lost in rounding | by allclose, typical | by allclose, there |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for check, cell in [*found["checks"].items(), ("all", found["known_bad"])]:
        numbers = [cell[key] for key in ("rows", "rejected", "lost", "allclose_typical", "allclose_there")]
        lines.append(f"| {check} | {' | '.join(map(str, numbers))} |")
    return lines


def kill_matrix(data: Data, op: str = "") -> list[str]:
    """The mutants down, the dtypes across: the worst ratio where rejected, and what allclose says there.

    Parameters
    ----------
    data
        The outcome.
    op
        Keep the mutants of this operator; all if empty.
    """
    lines = [
        f"| mutant | must be rejected by | {' | '.join(CUSTOMARY)} | allclose, there |",
        "|---|---|" + "--:|" * len(CUSTOMARY) + "---|",
    ]
    for name, about in data["mutants"].items():
        if op in ("", about["op"]):
            rows = _rows(data, name)
            cells = [cell(rows.get(dtype)) for dtype in CUSTOMARY]
            says = customary([item["allclose_there"] for item in rows.values()])
            lines.append(f"| {name} | {about['rejected_by']} | {' | '.join(cells)} | {says} |")
    return lines


def defects(data: Data) -> list[str]:
    """Operator by operator, what each mutant does, and how it fared."""
    lines: list[str] = []
    for op in dict.fromkeys(about["op"] for about in data["mutants"].values()):
        lines += [f"**{op}**", "", *kill_matrix(data, op), ""]
        lines += [
            f"- `{name}`: {about['summary']} {_source(about['failure'])}"
            for name, about in data["mutants"].items()
            if about["op"] == op
        ]
        lines.append("")
    return lines[:-1]


def by_question(data: Data) -> list[str]:
    """The mutants down, the checks across: of how many dtypes a case of that check rejected it."""
    lines = [f"| mutant | {' | '.join(CHECKS)} |", "|---|" + "--:|" * len(CHECKS)]
    for name in data["mutants"]:
        rows = _rows(data, name).values()
        counts = [sum(check in item["checks"] for item in rows) for check in CHECKS]
        cells = ["" if not count else f"{count}/{len(rows)}" for count in counts]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def honest(data: Data) -> list[str]:
    """The honest implementations down, the dtypes across: the worst ratio."""
    lines = [f"| implementation | {' | '.join(CUSTOMARY)} | |", "|---|" + "--:|" * len(CUSTOMARY) + "---|"]
    for name, summary in data["honest"].items():
        rows = _rows(data, name)
        cells = ["" if d not in rows else _headroom(rows[d]) for d in CUSTOMARY]
        lines.append(f"| {name} | {' | '.join(cells)} | {summary} |")
    return lines


def lost(data: Data) -> list[str]:
    """Every pair that no suite could tell from rounding, and how far the defect was looked for."""
    lines = [
        "| mutant | dtype | worst ratio in float64 | where | cases | other numbers |",
        "|---|---|--:|---|--:|--:|",
    ]
    for item in data["rows"]:
        loss = item["loss"]
        if loss is not None and item["outcome"] == "lost in rounding":
            where = f"`{loss['where']}`" if loss["where"] else ""
            cells = f"{float(loss['ratio']):.2g} | {where} | {loss['cases']} | {loss['drawn']}"
            lines.append(f"| {item['name']} | {item['dtype']} | {cells} |")
    return lines


def failures(data: Data) -> list[str]:
    """The recorded failures of public kernels down, and the mutants that are seeds of them."""
    lines = ["| | reported | defect | mutants |", "|--:|---|---|---|"]
    for number, failure in FAILURES.items():
        names = [f"`{name}`" for name, about in data["mutants"].items() if about["failure"] == number]
        shown = ", ".join(names) or f"none: {failure.elsewhere}"
        lines.append(f"| {number} | {failure.reported} | {failure.defect} | {shown} |")
    return lines


def _rows(data: Data, name: str) -> dict[str, Data]:
    return {item["dtype"]: item for item in data["rows"] if item["name"] == name}


def _source(failure: int | None) -> str:
    return "A slip." if failure is None else f"Failure {failure}."


def _headroom(item: Data) -> str:
    if not item["right"]:
        return str(item["outcome"])
    return "passed" if item["ratio"] is None else f"{float(item['ratio']):.2f}"


def customary(accepts: Sequence[bool | None]) -> str:
    """What allclose says of one mutant in several dtypes."""
    if None in accepts:
        return "no answer"
    if not any(accepts):
        return "rejects"
    return "accepts" if all(accepts) else f"accepts {sum(map(bool, accepts))} of {len(accepts)}"


def cell(item: Mapping[str, Any] | None) -> str:
    """One mutant in one dtype: the worst ratio if that rejects it, otherwise the outcome in words."""
    if item is None:
        return ""
    if item["outcome"] != "rejected":
        return str(item["outcome"])
    if not item["caught"]:
        return "by another check"
    ratio = item["ratio"]
    if ratio is None or float(ratio) <= 1:
        return "rejected"
    return f"{float(ratio):.0e}" if float(ratio) >= 100 else f"{float(ratio):.2g}"
