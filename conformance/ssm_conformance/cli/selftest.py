"""``ssm-spec selftest``: the suite against its own known-bad backends."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ssm_conformance.cli.conform import CHECKS, finite, worker_count

if TYPE_CHECKING:
    from rich.table import Table

    from ssm_conformance.selftest import Row


@click.command(short_help="Put the suite to its known-bad backends.")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option(
    "--check", "checks", multiple=True, type=click.Choice(CHECKS), help="Mutants that it must reject."
)
@click.option(
    "--level",
    type=click.Choice(["named", "smoke", "quick", "full"]),
    default="smoke",
    show_default=True,
    help="How much each is asked; named: only the case that must reject it.",
)
@click.option("--fast", is_flag=True, help="One dtype each, in turn, and the case that must reject it alone.")
@click.option(
    "--search",
    type=click.FloatRange(min=0),
    callback=finite,
    default=0.0,
    metavar="S",
    help="Seconds to look for each defect that seems lost in rounding, beyond the full level.",
)
@click.option(
    "-n",
    "workers",
    callback=worker_count,
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Processes.",
)
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="DIR", help="Write DIR/selftest.json and .md."
)
@click.option("-q", "--quiet", is_flag=True, help="Print the outcome alone.")
def selftest(
    names: tuple[str, ...],
    checks: tuple[str, ...],
    level: str,
    fast: bool,
    search: float,
    workers: int | Literal["auto"],
    report: Path | None,
    quiet: bool,
) -> int:
    """Put known-bad implementations, and honest ones, to the suite.

    Each mutant has one defect of a real kernel and names the case that must reject it; under each
    dtype stands the worst error over its bound. The last column is what np.allclose with the
    customary tolerances says on the inputs of that case.

    Exit status: 0 if every mutant was rejected by the case that must, or is lost in rounding, and
    every honest implementation passed; 1 if not; else 2 if something could not be judged, or was
    interrupted. What was run until then is in the report.
    """
    from rich.progress import track
    from rich.text import Text

    from ssm_backends import ArgumentError
    from ssm_conformance.console import console
    from ssm_conformance.engine.limits import cores
    from ssm_conformance.reports.folder import FolderError, check_writable
    from ssm_conformance.selftest import pairs, run
    from ssm_conformance.selftest import report as as_data
    from ssm_conformance.selftest.pages import markdown
    from ssm_conformance.selftest.tables import sentence

    try:
        asked = pairs(tuple(dict.fromkeys(names)), checks, fast=fast)
        if report is not None:
            check_writable(report)
    except (ArgumentError, FolderError) as error:
        raise click.UsageError(str(error)) from error
    level = "named" if fast else level
    shown, started = console(stderr=True), time.monotonic()
    rows = run(
        asked,
        None if level == "named" else level,  # type: ignore[arg-type]  # click has checked the choice
        search=search,
        workers=cores() if workers == "auto" else workers,
    )
    hidden = quiet or not shown.is_terminal
    found: list[Row] = []
    with suppress(KeyboardInterrupt):  # what was run until then is reported, and the status says so
        found.extend(track(rows, "selftest", len(asked), console=shown, disable=hidden))
    data = as_data(found, level, search, time.monotonic() - started)
    if report is not None:
        (report / "selftest.json").write_text(
            json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (report / "selftest.md").write_text(markdown(data), encoding="utf-8")
    out = console()
    if not quiet:
        out.print(_table(data))
    stopped = len(found) < len(asked)
    if stopped:
        out.print(Text(f"interrupted: {len(found)} of {len(asked)} pairs were run", "bold yellow"))
    right = not data["summary"]["wrong"]
    out.print(Text(sentence(data["summary"]), "bold green" if right else "bold red"), soft_wrap=True)
    undecided = [item for item in found if not item.right and (item.errors or item.outcome == "not judged")]
    if len(undecided) < len(data["summary"]["wrong"]):
        return 1
    return 2 if undecided or stopped else 0


def _table(data: dict[str, Any]) -> Table:
    """The kill matrix, red where the suite was wrong; then the honest ones."""
    from rich.table import Table

    from ssm_conformance.selftest.pages import cell, kill_matrix

    heading, _, *lines = [[part.strip() for part in line.strip("|").split("|")] for line in kill_matrix(data)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, name in enumerate(heading):
        table.add_column(name, overflow="fold", justify="right" if 1 < i < len(heading) - 1 else "left")
    wrong = {item["name"] for item in data["rows"] if not item["right"]}
    for line in lines:
        table.add_row(*line, style="bold red" if line[0] in wrong else None)
    for name in data["honest"]:
        rows = {item["dtype"]: item for item in data["rows"] if item["name"] == name}
        cells = [cell(rows.get(dtype)) for dtype in heading[2:-1]]
        table.add_row(name, "nothing", *cells, "", style="bold red" if name in wrong else None)
    return table
