"""A case in words and numbers: how its inputs are drawn, what is asked, what a backend gave."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssm_conformance.case import Case
from ssm_conformance.cases import find_case
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.cli._targets import print_load_error, targets
from ssm_conformance.draw import Draw
from ssm_conformance.engine import Limits, LoadError, Selection, Session, open_session
from ssm_conformance.engine.run import FAILED, PASSED, UNDECIDED
from ssm_conformance.reports.matrix import show_ratio
from ssm_conformance.verdict import Verdict


def explain_case(out: Console, case_id: str) -> None:
    """Print what a case asks, and its inputs.

    Parameters
    ----------
    out
        Where to.
    case_id
        The id of a case.
    """
    case = find_case(case_id)
    out.print(Text(case.id, "bold"), soft_wrap=True)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("operator", Text(case.operator.doc))
    facts.add_row("clause", Text(case.clause))
    facts.add_row("question", Text(f"{case.method}{_options(case)}; level {case.level}"))
    out.print(facts)
    out.print()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("input", "shape", "dtype", "drawn as", "least", "greatest"):
        table.add_column(heading, overflow="fold")
    stored = _stored(case)
    for name, draw in case.draws.items():
        least, greatest = _extremes(stored[name].exact)
        shape = "×".join(map(str, draw.shape)) or "scalar"
        table.add_row(name, shape, stored[name].dtype, Text(_drawn(draw)), least, greatest)
    for name, value in case.plain.items():
        table.add_row(name, "", type(value).__name__, Text(repr(value)), "", "")
    out.print(table)
    out.print()


def explain_verdicts(
    out: Console, case_id: str, names: Sequence[str], modules: Sequence[str], device: str | None
) -> int:
    """Judge backends on one case and print every output's worst element; the exit status.

    Parameters
    ----------
    out
        Where to.
    case_id
        The id of a case.
    names, modules, device
        Installed backends, others by module, and where they run.
    """
    statuses: set[int] = set()
    met: set[str] = set()
    for name, find in targets(names, modules, device, met):
        met.add(name)
        try:
            session = open_session(find(), Limits(), workers=1)
            met.add(session.name)
            statuses.add(_explain_verdict(out, case_id, session))
        except LoadError as error:
            print_load_error(name, error)
            statuses.add(UNDECIDED)
    return next(status for status in (FAILED, UNDECIDED, PASSED) if status in statuses)


def _explain_verdict(out: Console, case_id: str, session: Session) -> int:
    with closing(session):
        verdict = session.judge_one(session.plan("full", Selection(cases=(case_id,)))[0])
    _print_verdict(out, session, verdict)
    return {"pass": PASSED, "fail": FAILED}.get(verdict.status, UNDECIDED)


def _print_verdict(out: Console, session: Session, verdict: Verdict) -> None:
    style = {"pass": "bold green", "fail": "bold red"}.get(verdict.status, "bold yellow")
    title = Text.assemble((session.name, "bold"), f" on {session.device}: ", (verdict.status, style))
    out.print(title)
    if verdict.message:
        out.print(Text(verdict.message), soft_wrap=True)
    if verdict.outputs:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("output")
        table.add_column("worst ratio", justify="right")
        table.add_column("where")
        for output in verdict.outputs:
            where = "" if output.where is None else f"[{', '.join(map(str, output.where))}]"
            table.add_row(output.name, show_ratio(output.ratio), Text(where))
        out.print(table)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for key, value in verdict.details.items():
        if key not in ("clause", "log"):
            facts.add_row(key.replace("_", " "), Text(_words(value)))
    out.print(facts)
    if verdict.details.get("log"):
        out.print(Text(str(verdict.details["log"]), "dim"))
    out.print(f"to run it: {verdict.rerun}", soft_wrap=True, markup=False)
    out.print()


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _stored(case: Case) -> dict[str, Stored]:
    """The inputs as every check gets them."""
    dtypes, key = case.dtypes(), case.recipe.seed or case.recipe.name
    return {name: Subject.draw(draw, dtypes[name], case.op, key, name) for name, draw in case.draws.items()}


def _options(case: Case) -> str:
    stated = ", ".join(f"{key} = {value}" for key, value in case.options.items())
    return f" ({stated})" if stated else ""


def _drawn(draw: Draw) -> str:
    """The kind of numbers, with their parameters unless those are the numbers themselves."""
    if draw.kind == "fixed":
        return "given values"
    stated = ", ".join(f"{key} {value}" for key, value in draw.parameters.items())
    return (
        f"{draw.kind.replace('_', ' ')}{': ' if stated else ''}{stated}{', complex' if draw.complex else ''}"
    )


def _extremes(values: NDArray[Any]) -> tuple[str, str]:
    """The least and the greatest number of an array; moduli, if it is complex."""
    if values.size == 0:
        return "", ""
    size = np.abs(values) if np.iscomplexobj(values) else values
    return f"{np.min(size):.6g}", f"{np.max(size):.6g}"
