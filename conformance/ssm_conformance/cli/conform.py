"""``ssm-spec conform``: judge backends, print what was found, write reports, exit with the outcome."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any, Literal

import click

CHECKS = ("value", "gradient", "property", "memory", "determinism", "robustness", "extreme", "error")


def worker_count(ctx: click.Context, param: click.Parameter, value: str) -> int | Literal["auto"]:
    """Read a positive number of workers, or "auto"."""
    if value == "auto":
        return "auto"
    if not value.isdecimal() or int(value) == 0:
        raise click.BadParameter(f"must be a positive number or auto; got {value!r}")
    return int(value)


def finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse a number that is none, or has no end."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"must be a finite number; got {value}")
    return value


@click.command(short_help="Judge backends.")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--all-available", is_flag=True, help="Every backend that can run here; so does NAME all.")
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="One that is not installed.")
@click.option("--device", metavar="D", help="cpu, cuda, cuda:1; the backend's own default if not given.")
@click.option("--level", type=click.Choice(["smoke", "quick", "full"]), default="quick", show_default=True)
@click.option("--op", "ops", multiple=True, metavar="OP", help="Only this operator; repeatable.")
@click.option("--dtype", "dtypes", multiple=True, metavar="T", help="Only this dtype; repeatable.")
@click.option(
    "--check", "checks", multiple=True, type=click.Choice(CHECKS), help="Only this check; repeatable."
)
@click.option("--case", "cases", multiple=True, metavar="ID", help="Exactly this case; repeatable.")
@click.option("--list", "listing", is_flag=True, help="Print the ids of these cases; judge none.")
@click.option("--expected", type=click.Path(path_type=Path), metavar="FILE", help="Announced failures.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds a case may take; 5 S where it may compile, and for the import (30 at least).",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    metavar="GIB",
    help="Resident memory a worker may hold; its share of the machine if not given.",
)
@click.option(
    "-n",
    "workers",
    callback=worker_count,
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Worker processes; auto is one a core, and one alone on a device other than the CPU.",
)
@click.option(
    "--search",
    type=click.FloatRange(min=0),
    callback=finite,
    default=0.0,
    metavar="SECONDS",
    help="Then draw calls within the claims for so long; what fails is printed as a case.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--in-process", is_flag=True, help="Without workers, for a debugger: no limits hold.")
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write DIR/NAME/report.*")
@click.option("-q", "--quiet", is_flag=True, help="Print the outcome alone.")
def conform(names: tuple[str, ...], all_available: bool, plugins: tuple[str, ...], **options: Any) -> int:
    """Judge backends against the specification.

    Exit status: 0 if all that was asked passed; 1 after an unexpected failure or an unexpected
    pass; 2 if something could not be judged.
    """
    from ssm_conformance.cli._judging import judge_backends
    from ssm_conformance.cli._request import request_from

    if not (names or plugins or all_available):
        raise click.UsageError("name a backend, or give --plugin MODULE or --all-available")
    everyone = all_available or "all" in names
    named = tuple(dict.fromkeys(name for name in names if name != "all"))
    request = request_from(named, plugins, everyone=everyone, **options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended politely: keep what was judged
    return judge_backends(request)
