"""report.md and report.html: the run as a page, rendered from the package's templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from ssm_conformance.engine.run import Run
from ssm_conformance.reports.declared import declarations
from ssm_conformance.reports.headroom import WITHIN, headroom, labels
from ssm_conformance.reports.matrix import (
    CHECKS,
    Cell,
    alike,
    asked,
    show_ratio,
    side_effects,
    tabulate,
)
from ssm_conformance.verdict import Verdict


def markdown(run: Run) -> str:
    """The run in Markdown, as a pull request or an issue shows it."""
    return _environment().get_template("report.md.j2").render(_context(run))


def html(run: Run) -> str:
    """The run as one self-contained page, with no reference to anything outside it."""
    return _environment().get_template("report.html.j2").render(_context(run))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssm_conformance.reports"),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html", "html.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ratio": show_ratio,
        "cell": cell_text,
        "where": where_text,
        "row": row_text,
        "first": first_line,
        "rest": rest_of,
    }
    return environment


def _context(run: Run) -> dict[str, Any]:
    verdicts = run.ordered
    matrix = tabulate(verdicts)
    expected = [v for v in verdicts if v.status == "fail" and v.expected is not None]
    return {
        "run": run,
        "summary": run.summary,
        "against": alike(run.unexpected),
        "expected": alike(expected),
        "expected_count": len(expected),
        "errors": alike(v for v in verdicts if v.status == "error"),
        "verdicts": verdicts,
        "ops": asked(matrix),
        "unclaimed": [op for op in dict.fromkeys(op for op, _ in matrix) if op not in asked(matrix)],
        "declarations": declarations(verdicts),
        "checks": [check for check in CHECKS if any(check == column for _, column in matrix)],
        "matrix": matrix,
        "empty": Cell(),
        "headroom": headroom(verdicts),
        "bins": labels(),
        "within": WITHIN,
        "side_effects": side_effects(verdicts),
        "versions": _versions(run.environment),
    }


def _versions(environment: Mapping[str, Any]) -> str:
    known = environment.get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in known.items() if version is not None)


def cell_text(cell: Cell) -> str:
    """A cell in a few characters: passed of judged, and the worst ratio."""
    if not cell.counts:
        return ""
    if not cell.judged and not cell.counts["error"]:
        return "–" if cell.mark == "not_claimed" else "unverified"
    parts = [f"{cell.counts['pass']}/{cell.judged + cell.counts['error']}"]
    if cell.worst is not None:
        parts.append(show_ratio(cell.worst))
    return " · ".join(parts)


def where_text(verdict: Verdict) -> str:
    """The worst element of the worst output: ``y[0, 3, 17]``; "" if there is none."""
    located = [output for output in verdict.outputs if output.where is not None]
    if not located:
        return ""
    worst = max(located, key=lambda output: (output.ratio != output.ratio, output.ratio))
    return f"{worst.name}[{', '.join(map(str, worst.where))}]" if worst.where else worst.name


def first_line(text: str) -> str:
    """What a message says before it goes into detail."""
    return text.partition("\n")[0]


def rest_of(text: str) -> str:
    """The detail: a stack, say."""
    return text.partition("\n")[2]


def row_text(text: str) -> str:
    """A message on one line, as a cell of a Markdown table needs it."""
    return " ".join(text.split()).replace("|", "\\|")
