"""The rows of a benchmark on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.table import Table

from ssm_conformance.bench.results import geometric_mean, times_faster

TITLES: Final = {"forward": "forward", "both": "forward and backward", "step": "decode step (batch, d, 1, n)"}
MIB: Final = 2**20


def tables(data: Mapping[str, Any], against: str | None) -> list[Table]:
    """One a pass: a line for each problem and backend.

    Parameters
    ----------
    data
        As :func:`ssm_conformance.bench.results.as_data` makes it.
    against
        The backend whose times the others are compared with; None: no column for it.
    """
    return [_table(data, pass_, against) for pass_ in TITLES if _of_pass(data, pass_)]


def _of_pass(data: Mapping[str, Any], pass_: str) -> list[Mapping[str, Any]]:
    return [row for row in data["rows"] if row["pass"] == pass_]


def _table(data: Mapping[str, Any], pass_: str, against: str | None) -> Table:
    rows = _of_pass(data, pass_)
    table = Table(title=TITLES[pass_], box=None, pad_edge=False, header_style="dim", title_justify="left")
    table.add_column("b, d, l, n")
    table.add_column("backend")
    for heading in ("ms", "least – most", "× floor", "Gexp/s", "GB/s", "MiB"):
        table.add_column(heading, justify="right")
    if against:
        table.add_column(f"times {against}", justify="right")
    shown = ""
    for row in rows:
        shape = ", ".join(map(str, row["shape"]))
        cells = ["" if shape == shown else shape, row["backend"]]
        shown = shape
        if "median_s" not in row:
            table.add_row(*cells, row["why"], style="dim")
            continue
        cells += _figures(row)
        if against:
            faster = times_faster(
                [r for r in rows if r["shape"] == row["shape"]], row["backend"], against, pass_
            )
            cells.append(f"{faster[0]:.2f}" if faster else "")
        table.add_row(*cells)
    if against:
        for name in data["backends"]:
            mean = geometric_mean(times_faster(rows, name, against, pass_))
            if mean is not None and name != against:
                table.add_row("geometric mean", name, *[""] * 6, f"{mean:.2f}", style="bold")
    return table


def _figures(row: Mapping[str, Any]) -> list[str]:
    peak = row["peak_bytes"]
    return [
        f"{1e3 * row['median_s']:.3g}",
        f"{1e3 * row['least_s']:.3g} – {1e3 * row['most_s']:.3g}",
        f"{row['over_floor']:.1f}",
        f"{row['exponentials_per_s'] / 1e9:.3g}",
        f"{row['bytes_per_s'] / 1e9:.3g}",
        "" if peak is None else f"{peak / MIB:.3g}",
    ]
