"""report.json: the run as strict JSON data, the source of every other form."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from ssm_conformance.engine.environment import version_of
from ssm_conformance.engine.run import Run
from ssm_conformance.reports.headroom import headroom_data
from ssm_conformance.verdict import plain
from ssm_spec.vectors import VECTORS_VERSION

SCHEMA: Final = "ssm-spec/report/1"
"""Name and version of the report's form, as ``report.schema.json`` describes it."""


def report_data(run: Run) -> dict[str, Any]:
    """The report of a run, finished or not."""
    version = version_of("ssm-spec")
    return {
        "schema": SCHEMA,
        "spec": version,
        "suite": version,
        "vectors": VECTORS_VERSION,
        "backend": {"name": run.backend, "version": run.version},
        "device": run.device,
        "environment": plain(run.environment),
        "at_import": plain(run.at_import),
        "level": run.level,
        "filters": run.selection.to_json(),
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="seconds"),
        "seconds": round(run.seconds, 3),
        "outcome": run.outcome,
        "headline": run.headline,
        "ended": run.ended,
        "not_run": run.not_run,
        "summary": run.summary,
        "search": run.searched,
        "headroom": headroom_data(run.ordered),
        "cases": [verdict.to_json() for verdict in run.ordered],
    }


def schema() -> dict[str, Any]:
    """The JSON schema of the report, as shipped with the package."""
    text = files("ssm_conformance.reports").joinpath("report.schema.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed
