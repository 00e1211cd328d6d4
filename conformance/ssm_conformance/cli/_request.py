"""What a call of ``conform`` asks for, checked before any work."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import click

from ssm_backends import OPERATORS, installed
from ssm_backends.dtypes import REAL
from ssm_conformance.case import Level
from ssm_conformance.cli._targets import admit
from ssm_conformance.engine import Expectation, ExpectedFileError, Limits, Selection, read_expected
from ssm_conformance.engine.limits import GIB
from ssm_conformance.engine.session import SelectionError, check_selection
from ssm_conformance.nearest import did_you_mean
from ssm_conformance.reports.folder import FolderError, check_writable


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    names, modules, device
        Installed backends by name, others by module, and where they run.
    forgiving
        Names that are passed over with a word where they cannot run here.
    level, selection, expected
        What they are asked.
    limits, workers, in_process, fail_fast
        How.
    search
        Seconds of property-based search after the cases; 0 for none.
    report, quiet
        What is written.
    listing
        The ids of the cases are printed, and none is judged.
    """

    names: tuple[str, ...]
    modules: tuple[str, ...]
    forgiving: frozenset[str]
    device: str | None
    level: Level
    selection: Selection
    expected: Sequence[Expectation]
    limits: Limits
    workers: int | Literal["auto"]
    in_process: bool
    fail_fast: bool
    search: float
    report: Path | None
    quiet: bool
    listing: bool


def request_from(
    names: tuple[str, ...], modules: tuple[str, ...], *, everyone: bool, **options: Any
) -> Request:
    """Check the options of a call; click.UsageError where they cannot be meant."""
    admit(names, modules)
    for option, given, known in (
        ("--op", options["ops"], tuple(OPERATORS)),
        ("--dtype", options["dtypes"], REAL),
    ):
        for value in given:
            if value not in known:
                raise click.UsageError(
                    f"`{option}` must be one of {', '.join(known)}; got {value!r}{did_you_mean(value, known)}"
                )
    others = tuple(plugin.name for plugin in installed() if plugin.name not in names) if everyone else ()
    selection = Selection(options["ops"], options["dtypes"], options["checks"], options["cases"])
    try:
        check_selection(options["level"], selection)
        expected = read_expected(options["expected"]) if options["expected"] else []
        if options["report"] is not None:
            check_writable(options["report"])
    except (SelectionError, ExpectedFileError, FolderError) as error:
        raise click.UsageError(str(error)) from error
    if options["search"] and importlib.util.find_spec("hypothesis") is None:
        raise click.UsageError("`--search` needs hypothesis; pip install hypothesis")
    memory = options["memory"]
    return Request(
        names=(*names, *dict.fromkeys(others)),
        modules=modules,
        forgiving=frozenset(others),
        device=options["device"],
        level=options["level"],
        selection=selection,
        expected=expected,
        limits=Limits(
            seconds=options["timeout"], memory=None if memory is None else int(Fraction(memory) * GIB)
        ),
        workers=options["workers"],
        in_process=options["in_process"],
        fail_fast=options["fail_fast"],
        search=options["search"],
        report=options["report"],
        quiet=options["quiet"],
        listing=options["listing"],
    )
