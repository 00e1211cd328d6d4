"""The run in a terminal: a progress bar while it lasts, then a table, the findings, and one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from ssm_conformance.case import Case
from ssm_conformance.console import console
from ssm_conformance.engine.run import Run
from ssm_conformance.reports.declared import declarations
from ssm_conformance.reports.headroom import headroom, labels
from ssm_conformance.reports.matrix import (
    Cell,
    Mark,
    Matrix,
    alike,
    asked,
    failing_outputs,
    show_ratio,
    side_effects,
    tabulate,
    unverified,
)
from ssm_conformance.verdict import Status, Verdict, told_apart

STYLE: Final[dict[Mark, str]] = {
    "pass": "green",
    "fail": "bold red",
    "expected": "yellow",
    "error": "yellow",
    "unavailable": "yellow",
    "not_claimed": "dim",
}
HEADINGS: Final[dict[Status, str]] = {
    "pass": "pass",
    "fail": "fail",
    "error": "error",
    "unavailable": "unverified",
    "not_claimed": "not claimed",
}
"""Status → its column."""
OUTCOME_STYLE: Final = {"passed": "bold green", "failed": "bold red", "undecided": "bold yellow"}
SHARES: Final = (0.01, 0.1, 0.5, 1.0)
"""Ratios of error to bound up to which a share of the elements is told."""
SHOWN: Final = 40
"""Findings printed in full; the report has all."""
RERUNS: Final = 8
"""Commands printed with one finding; the report has all of them too."""


class Watch(Protocol):
    """Told of what happens while a backend is judged."""

    def started(self, case: Case) -> None:
        """A case was begun; may be called from another thread."""

    def judged(self, verdict: Verdict) -> None:
        """A verdict was found."""


class Silent:
    """Watches and says nothing."""

    def started(self, case: Case) -> None:
        """Says nothing."""

    def judged(self, verdict: Verdict) -> None:
        """Says nothing."""


class Bar:
    """Watches, and shows a progress bar."""

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress, self._failed = progress, 0
        self._task = progress.add_task(name, total=total, case="", failed="")

    def started(self, case: Case) -> None:
        """Show what is being done."""
        self._progress.update(self._task, case=case.id)

    def judged(self, verdict: Verdict) -> None:
        """Advance, and count what speaks against the backend."""
        self._failed += verdict.unexpected
        failed = f"{self._failed} failed" if self._failed else ""
        self._progress.update(self._task, advance=1, failed=failed)


@contextmanager
def progress_bar(name: str, total: int, *, quiet: bool) -> Iterator[Watch]:
    """A bar on stderr, if that is a terminal and nobody asked for quiet."""
    where = console(stderr=True)
    if quiet or not where.is_terminal:
        yield Silent()
        return
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # the one that gives way in a narrow window
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[bold red]{task.fields[failed]}"),
        TextColumn("[dim]{task.fields[case]}", table_column=rest),
    )
    with Progress(*columns, console=where, transient=True, expand=True) as progress:
        yield Bar(progress, escape(name), total)


def print_run(out: Console, run: Run) -> None:
    """The table of one backend, what speaks against it, and the outcome."""
    verdicts = run.ordered
    matrix = tabulate(verdicts)
    out.print(_table(matrix))
    unclaimed = dict.fromkeys(op for op, _ in matrix if op not in asked(matrix))
    if unclaimed:
        out.print(Text(f"not claimed: {', '.join(unclaimed)}", "dim"))
    for op in unclaimed:
        if op in run.withheld:
            out.print(Text(f"{op}: {run.withheld[op]}", "yellow"), soft_wrap=True)
    for declaration in declarations(verdicts):
        style = "yellow" if declaration.unnecessary else "dim"
        out.print(Text(declaration.sentence, style))
    out.print()
    _print_headroom(out, verdicts)
    findings = [v for v in verdicts if v.unexpected or v.status in ("fail", "error")]
    groups = alike(findings)
    for members in groups[:SHOWN]:
        print_finding(out, members, whole=bool(run.selection.cases))
    if len(groups) > SHOWN:
        out.print(f"… and {sum(map(len, groups[SHOWN:]))} more: see the report (--report DIR)\n")
    if len(groups) > 1 and (failing := failing_outputs(verdicts)):
        out.print(Text(f"beyond their bounds in {failing}"), soft_wrap=True)
    if missing := unverified(verdicts):
        out.print(Text(f"unverified: {missing}", "yellow"), soft_wrap=True)
    if run.at_import:
        told = f"importing the backend changed: {', '.join(run.at_import)}"
        out.print(Text(told, "yellow"), soft_wrap=True)
    effects = side_effects(verdicts)
    if effects:
        told = f"the backend changed, and the suite put back where it can: {effects}"
        out.print(Text(told, "yellow"), soft_wrap=True)
    if run.searched is not None:
        calls, seconds = int(run.searched["calls"]), run.searched["seconds"]
        out.print(Text(f"search: {calls} calls in {seconds:g} s, {int(run.searched['found'])} found wrong"))
    print_headline(out, run)


def _table(matrix: Matrix) -> Table:
    """A row for each operator and check; of the columns those that hold anything."""
    claimed = asked(matrix)
    rows = {key: cell for key, cell in matrix.items() if key[0] in claimed}
    shown = [status for status in HEADINGS if any(cell.counts[status] for cell in rows.values())]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("operator", no_wrap=True)
    table.add_column("check", no_wrap=True)
    for heading in (*(HEADINGS[status] for status in shown), "worst ratio"):
        table.add_column(heading, justify="right")
    last = ""
    for (op, check), cell in rows.items():
        counts = [_count(cell, status) for status in shown]
        table.add_row("" if op == last else op, check, *counts, show_ratio(cell.worst), style=_dim(cell))
        last = op
    return table


def _print_headroom(out: Console, verdicts: Sequence[Verdict]) -> None:
    """For each operator a histogram of its elements in one line, and what share has how much room."""
    histograms = headroom(verdicts)
    if not histograms:
        return
    first, last = labels()[0], labels()[-1]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("headroom", no_wrap=True)
    table.add_column(f"{first} … {last}", no_wrap=True)
    for heading in (*(f"≤{edge:g}" for edge in SHARES), "elements", "excused"):
        table.add_column(heading, justify="right")
    for op, entry in histograms.items():
        shares = [_percent(entry.share(edge)) for edge in SHARES]
        excused = str(entry.excused) if entry.excused else ""
        table.add_row(op, entry.bars, *shares, str(entry.judged), excused)
    out.print(table)
    out.print()


def _percent(share: float) -> str:
    """A share for a reader; only what is whole is 100%."""
    return "100%" if share == 1 else f"{math.floor(1000 * share) / 10:.1f}%"


def print_headline(out: Console, run: Run) -> None:
    """The outcome in one sentence, and why the run ended early if it did."""
    out.print(Text(run.headline, OUTCOME_STYLE[run.outcome]), soft_wrap=True)
    if run.ended:
        judged = f"{len(run.verdicts)} of {len(run.planned)} cases have a verdict, {run.not_run} were not run"
        out.print(Text(f"{run.ended}: {judged}"), soft_wrap=True)


def print_finding(out: Console, members: Sequence[Verdict], *, whole: bool) -> None:
    """One finding: what is wrong, by how much, which clause it breaks, how to see it again.

    Parameters
    ----------
    out
        Where to.
    members
        The cases that found it.
    whole
        Whether to print all of a message of many lines, as for a case that was asked for alone.
    """
    verdict = members[0]
    if verdict.expected is None:
        title: str = verdict.status
    else:
        title = "unexpected pass" if verdict.status == "pass" else "expected"
    style = "bold red" if verdict.unexpected else "yellow"
    beyond = verdict.ratio is not None and not verdict.ratio <= 1  # it may have failed for something else
    ratio = f"  {_size(verdict.ratio)}" if verdict.ratio is not None and beyond else ""
    out.print(Text.assemble((f"{title}  ", style), (verdict.id, "bold"), (ratio, style)), soft_wrap=True)
    lines = told_apart(verdict.message if whole else verdict.message.partition("\n")[0])
    if verdict.expected is not None:
        lines.append(f"expected to fail: {verdict.expected}")
    if verdict.details.get("clause"):
        lines.append(f"clause: {verdict.details['clause']}")
    for line in lines:
        out.print(Text(f"      {line}"), soft_wrap=True)
    for line in excerpt(str(verdict.details.get("log", "")).splitlines()):
        out.print(Text(f"      | {line}", "dim"), soft_wrap=True)
    told = members if whole or len(members) <= RERUNS + 1 else members[:RERUNS]
    for member in told:
        out.print(Text(f"      {member.rerun}", "cyan"), soft_wrap=True)
    if len(told) < len(members):
        out.print(Text(f"      … and {len(members) - len(told)} more cases say the same", "dim"))
    out.print()


def _size(ratio: float) -> str:
    """How far off, in words."""
    if not math.isfinite(ratio):
        return "not a number" if math.isnan(ratio) else "beyond any bound"
    return f"{show_ratio(ratio)} times the bound"


def excerpt(lines: list[str]) -> list[str]:
    """What was printed, shortened in the middle: a stack says most at its head, other output at its end."""
    head, tail = 6, 6
    return lines if len(lines) <= head + tail + 1 else [*lines[:head], "…", *lines[-tail:]]


def print_comparison(out: Console, runs: Sequence[Run]) -> None:
    """One matrix of several backends: rows operators and checks, cells the worst ratio."""
    matrices = [tabulate(run.ordered) for run in runs]
    rows = tabulate(verdict for run in runs for verdict in run.ordered)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("operator")
    table.add_column("check")
    for run in runs:
        table.add_column(run.backend, justify="right")
    last = ""
    for op, check in rows:
        if not any(op in asked(matrix) for matrix in matrices):
            continue
        cells = [_cell(matrix.get((op, check), Cell())) for matrix in matrices]
        table.add_row("" if op == last else op, check, *cells)
        last = op
    out.print(table)
    out.print(Text("cells: the worst ratio of error to bound; at most 1 passes\n", "dim"))


def _cell(cell: Cell) -> Text:
    words: dict[Mark, str] = {"fail": "FAIL", "unavailable": "unverified", "not_claimed": "–"}
    word = words.get(cell.mark, cell.mark)
    ratio = show_ratio(cell.worst)
    if cell.mark == "pass" and ratio:
        return Text(ratio, STYLE["pass"])
    if cell.worst is not None and cell.worst <= 1.0:
        return Text(word, STYLE[cell.mark])  # what failed without a number did not fail by 0.01
    return Text(f"{word} {ratio}".strip(), STYLE[cell.mark])


def _count(cell: Cell, status: Status) -> Text:
    count = cell.counts[status]
    note = f" ({cell.expected} expected)" if status == "fail" and cell.expected else ""
    return Text(f"{count}{note}" if count else "", STYLE[status])


def _dim(cell: Cell) -> str:
    return "dim" if cell.mark == "not_claimed" else ""
