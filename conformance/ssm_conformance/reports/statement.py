"""statement.json: what a backend's author may publish of a run, short enough to be read whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from ssm_conformance.case import LEVELS, Level
from ssm_conformance.engine.environment import version_of
from ssm_conformance.engine.run import Run
from ssm_conformance.reports.matrix import worse
from ssm_conformance.verdict import STATUSES, Verdict, plain
from ssm_spec.vectors import VECTORS_VERSION

STATEMENT: Final = "ssm-spec/statement/1"
"""Name and version of the statement's form, as ``statement.schema.json`` describes it."""


def statement(run: Run) -> dict[str, Any]:
    """The statement of a run. A narrowed one reaches no level and never says that a backend conforms."""
    version = version_of("ssm-spec")
    environment = plain(run.environment)
    announced = [v for v in run.ordered if v.status == "fail" and v.expected is not None]
    return {
        "schema": STATEMENT,
        "statement": run.headline,
        "outcome": run.outcome,
        "spec": version,
        "suite": version,
        "vectors": VECTORS_VERSION,
        "backend": {"name": run.backend, "version": run.version},
        "device": {
            "name": run.device,
            "cpu": environment.get("cpu", ""),
            "gpus": environment.get("gpus", []) if run.device != "cpu" else [],
        },
        "python": environment.get("python", ""),
        "platform": environment.get("platform", ""),
        "versions": environment.get("versions", {}),
        "level": run.level,
        "filters": run.selection.to_json(),
        "levels_reached": levels_reached(run),
        "counts": run.summary | {"not_run": run.not_run, "announced": run.announced},
        "operators": _by_operator(run.ordered),
        "announced": [{"id": v.id, "reason": plain(v.expected)} for v in announced],
        "date": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="seconds"),
    }


def levels_reached(run: Run) -> list[Level]:
    """The levels, up to the one asked for, of which every case that applies passed or was announced."""
    if run.selection.narrowed:
        return []
    reached: list[Level] = []
    for level in LEVELS[: LEVELS.index(run.level) + 1]:
        within = LEVELS[: LEVELS.index(level) + 1]
        ids = [name for name in run.planned if run.level_of(name) in within]
        verdicts = [run.verdicts[name] for name in ids if name in run.verdicts]
        clean = len(verdicts) == len(ids) and not any(v.unexpected or v.status == "error" for v in verdicts)
        if not clean or not any(v.judged for v in verdicts):
            break
        reached.append(level)
    return reached


def statement_schema() -> dict[str, Any]:
    """The JSON schema of the statement, as shipped with the package."""
    text = files("ssm_conformance.reports").joinpath("statement.schema.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _by_operator(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Operator → dtype → counts and the worst ratio, of what was judged."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    counts: dict[tuple[str, str], Counter[str]] = {}
    worst: dict[tuple[str, str], float] = {}
    for verdict in verdicts:
        key = verdict.op, verdict.dtype
        counts.setdefault(key, Counter())[verdict.status] += 1
        if verdict.ratio is not None:
            worst[key] = worse(worst.get(key), verdict.ratio)
    for (op, dtype), found in counts.items():
        if found["pass"] or found["fail"] or found["error"]:
            row = {status: found[status] for status in STATUSES if status != "not_claimed"}
            table.setdefault(op, {})[dtype] = row | {"worst": plain(worst.get((op, dtype)))}
    return table
