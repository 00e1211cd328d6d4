"""``ssm-spec selftest``: the suite against its own known-bad backends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from ssm_conformance.selftest import Row


@click.command(short_help="Put the suite to its known-bad backends.")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option(
    "--level",
    type=click.Choice(["named", "smoke", "quick", "full"]),
    default="smoke",
    show_default=True,
    help="How much each is asked; named: only the case that must reject it.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print the outcome alone.")
def selftest(names: tuple[str, ...], level: str, quiet: bool) -> int:
    """Put known-bad implementations, and honest ones, to the suite.

    Each mutant has one defect of a real kernel and names the case that must reject it; "allclose"
    is what np.allclose says with the customary tolerances on typical inputs, "there" what it says
    on the inputs of that case.

    Exit status: 0 if every mutant was rejected by the case that must, or is lost in rounding, and
    every honest implementation passed; 1 otherwise.
    """
    from rich.progress import track
    from rich.text import Text

    from ssm_backends import ArgumentError
    from ssm_conformance.console import console
    from ssm_conformance.selftest import pairs, row

    try:
        asked = pairs(names)
    except ArgumentError as error:
        raise click.UsageError(str(error)) from error
    table, found = _heading(), []
    at = None if level == "named" else level
    shown = console(stderr=True)
    for name, dtype in track(asked, "selftest", console=shown, disable=quiet or not shown.is_terminal):
        found.append(row(name, dtype, at))  # type: ignore[arg-type]  # click has checked the choice
        _add(table, found[-1])
    out = console()
    if not quiet:
        out.print(table)
        for item in found:
            for message in item.errors:
                out.print(Text(f"{item.name}, {item.dtype}: {message}", "yellow"), soft_wrap=True)
    wrong = [item for item in found if not item.right]
    out.print(Text(_sentence(found, wrong), "bold red" if wrong else "bold green"), soft_wrap=True)
    return 1 if wrong else 0


def _heading() -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("implementation", "dtype", "outcome", "must be rejected by"):
        table.add_column(name, overflow="fold")
    for name in ("worst ratio", "cases"):
        table.add_column(name, justify="right")
    for name in ("allclose", "there"):
        table.add_column(name)
    return table


def _add(table: Table, item: Row) -> None:
    """One row, red where the suite was wrong."""
    expected = item.expected.split("/", 1)[1] if item.expected else "nothing"
    rejecting = sum(item.checks.values())
    table.add_row(
        item.name,
        item.dtype,
        item.outcome,
        f"{expected} (passed)" if item.expected and item.outcome == "missed" else expected,
        "" if item.ratio is None else f"{item.ratio:.3g}",
        f"{rejecting} of {item.cases}",
        "accepts" if item.allclose else "rejects",
        "accepts" if item.allclose_there else "rejects",
        style=None if item.right else "bold red",
    )


def _sentence(found: list[Row], wrong: list[Row]) -> str:
    """The outcome in one sentence."""
    mutants = [item for item in found if item.expected]
    honest = [item for item in found if not item.expected]
    rejected = [item for item in mutants if item.outcome == "rejected"]
    lost = [f"{item.name} in {item.dtype}" for item in mutants if item.outcome == "lost in rounding"]
    parts = []
    if honest:
        passed = sum(item.outcome == "passed" for item in honest)
        parts.append(f"{passed} of {len(honest)} honest pairs of implementation and dtype pass")
    if mutants:
        typical, there = sum(r.allclose for r in rejected), sum(r.allclose_there for r in rejected)
        parts.append(f"{len(rejected)} of {len(mutants)} known-bad pairs are rejected")
        parts.append(
            f"np.allclose accepts {typical} of these on typical inputs, {there} on those that reject them"
        )
    if lost:
        parts.append(f"lost in rounding: {', '.join(lost)}")
    if wrong:
        parts.append(f"wrong: {', '.join(f'{item.name} in {item.dtype} ({item.outcome})' for item in wrong)}")
    return "; ".join(parts)
