"""What a backend says of itself once it is loaded: devices, operators, dtypes, gradients, features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssm_conformance.cli._opening import opened
from ssm_conformance.engine import Limits, LoadError, Target


def show_claims(out: Console, name: str, find: Callable[[], Target]) -> str:
    """Load one backend in a worker and print its claims, or why it cannot be loaded.

    Parameters
    ----------
    out
        Where to.
    name
        As it was asked for.
    find
        How it is found; LoadError if it cannot be.

    Returns
    -------
    The backend's own name; `name`, if it was not loaded.
    """
    out.print()
    try:
        session = opened(find(), Limits(), workers=1)
    except LoadError as error:
        style = "yellow" if error.kind == "unavailable" else "bold red"
        out.print(Text.assemble((name, "bold"), (f": {error.kind}: {error}", style)), soft_wrap=True)
        return name
    session.close()
    claims = session.claims
    title = f" {claims['version']} on {session.device}; runs on {', '.join(claims['devices'])}"
    out.print(Text.assemble((session.name, "bold"), title))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("operator", no_wrap=True)
    for heading in ("dtypes", "gradients", "features", "memory", "deterministic"):
        table.add_column(heading, overflow="fold")
    for operator, implementations in claims["ops"].items():
        for op in implementations:
            table.add_row(operator, *map(_words, _columns(op)))
    out.print(table, markup=False)
    for operator, why in claims["withheld"].items():
        out.print(Text(f"{operator}: {why}", "yellow"), soft_wrap=True)
    return session.name


def _columns(op: Mapping[str, Any]) -> tuple[Any, ...]:
    return (op["dtypes"], op["gradients"], op["features"], op["memory"], op["deterministic"])


def _words(value: Any) -> str:
    """A claim in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_words(item)}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else ", ".join(value) or "–"
