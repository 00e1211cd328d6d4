"""A benchmark as data: what a table, a plot or another run can be made from."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ssm_conformance.bench.ceilings import Ceilings
from ssm_conformance.bench.rivals import Rival
from ssm_conformance.bench.run import Row
from ssm_conformance.engine.environment import environment, version_of

SCHEMA: Final = 1


def as_data(
    *,
    command: str,
    device: str,
    ceilings: Ceilings,
    rivals: Sequence[Rival],
    absent: Mapping[str, str],
    rows: Iterable[Row],
    growth: Mapping[str, Iterable[Row]],
) -> dict[str, Any]:
    """Everything of a run that JSON can hold.

    Parameters
    ----------
    command
        The command line that made it.
    device
        As the backends were asked for it.
    ceilings, rivals, absent
        Of the run; `absent`: backend → why it did not take part.
    rows, growth
        The problems; and for "l", "n", "d" and "b" those in which that size doubles.
    """
    made_of = environment()
    made_of["versions"] |= {name: version_of(name) for name in ("numba", "mambapy", "mamba-ssm")}
    return {
        "schema": SCHEMA,
        "command": command,
        "device": device,
        "environment": made_of,
        "ceilings": {
            "bytes_per_s": ceilings.bytes,
            "exponentials_per_s": ceilings.exponentials,
            "how": list(ceilings.how),
        },
        "backends": {rival.name: rival.backend.version for rival in rivals},
        "absent": dict(absent),
        "rows": [_row(row) for row in rows],
        "growth": {symbol: [_row(row) for row in found] for symbol, found in growth.items()},
    }


def _row(row: Row) -> dict[str, Any]:
    s = row.problem.shape
    data: dict[str, Any] = {
        "pass": row.problem.pass_,
        "shape": [s.b, s.d, s.l, s.n],
        "dtype": row.problem.dtype,
        "backend": row.rival,
        "floor_s": row.floor,
        "peak_bytes": row.peak,
        "why": row.why,
    }
    if row.times is not None:
        least, most = row.times.spread
        data |= {
            "median_s": row.times.median,
            "least_s": least,
            "most_s": most,
            "repeats": len(row.times.all),
            "bytes_per_s": row.problem.bytes / row.times.median,
            "exponentials_per_s": row.problem.exponentials / row.times.median,
            "over_floor": row.times.median / row.floor,
        }
    return data


def times_faster(rows: Sequence[Mapping[str, Any]], backend: str, against: str, pass_: str) -> list[float]:
    """For each problem that both did: the other's median over this one's."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["pass"] == pass_ and "median_s" in row:
            found.setdefault(f"{row['shape']} {row['dtype']}", {})[row["backend"]] = row["median_s"]
    return [pair[against] / pair[backend] for pair in found.values() if {backend, against} <= pair.keys()]


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """Of ratios; None of none."""
    return statistics.geometric_mean(ratios) if ratios else None
