"""What the docs' tables need of a run, kept under docs/results with the command and the commit.

python docs/keep.py collect REPORT_DIR NAME "COMMAND"   a run's verdicts, as docs/results/NAME.json
python docs/keep.py join REPORT_DIR NAME "COMMAND"      one verdict that processes side by side shared
python docs/keep.py teeth REPORT_DIR NAME "COMMAND"     a self-test's outcome, the same
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"


def collect(reports: Path, name: str, command: str) -> None:
    """Keep what the tables need of every report below a folder."""
    backends = [_digest(json.loads(path.read_text())) for path in sorted(reports.glob("*/report.json"))]
    _keep(name, command, {"backends": backends})


def join(reports: Path, name: str, command: str) -> None:
    """Keep one verdict of one backend, each part of which is a report some way below a folder."""
    parts = [json.loads(path.read_text()) for path in sorted(reports.glob("**/report.json"))]
    whole = _same(parts, "backend", "device", "environment", "level")
    whole["cases"] = [case for part in parts for case in part["cases"]]
    if len({case["id"] for case in whole["cases"]}) != len(whole["cases"]):
        raise SystemExit("parts overlap: a case was judged twice")
    whole["filters"] = {key: [] for key in parts[0]["filters"]}
    whole["summary"] = {key: sum(part["summary"][key] for part in parts) for key in parts[0]["summary"]}
    whole["not_run"] = sum(part["not_run"] for part in parts)
    whole["started"] = min(part["started"] for part in parts)
    whole["seconds"] = max(part["seconds"] for part in parts)
    outcome = "failed" if whole["summary"]["fail"] or whole["summary"]["error"] else "passed"
    whole["headline"] = f"{outcome}: {len(parts)} selections, judged side by side"
    _keep(name, command, {"backends": [_digest(whole)]})


def _same(reports: list[dict[str, Any]], *keys: str) -> dict[str, Any]:
    """What all reports say alike."""
    for key in keys:
        if any(report[key] != reports[0][key] for report in reports):
            raise SystemExit(f"parts differ in {key!r}")
    return {key: reports[0][key] for key in keys}


def teeth(reports: Path, name: str, command: str) -> None:
    """Keep what the tables need of a self-test."""
    data = json.loads((reports / "selftest.json").read_text())
    del data["seconds"]  # of a machine that others may have shared
    for row in data["rows"]:
        del row["rejections"], row["expected"]
    _keep(name, command, data)


def _keep(name: str, command: str, data: dict[str, Any]) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    RESULTS.mkdir(exist_ok=True)
    kept = {"command": command, "commit": commit, **data}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _digest(report: dict[str, Any]) -> dict[str, Any]:
    """A report without its passing cases: counts and worst ratios in two tables, and what failed."""
    matrix = _counted(report["cases"], "check")
    failed = [
        {"id": case["id"], "message": case["message"].splitlines()[0]}
        for case in report["cases"]
        if case["status"] == "fail"
    ]
    kept = ("backend", "device", "environment", "level", "filters", "headline", "not_run", "summary",
            "started", "seconds")  # fmt: skip
    tables = {"matrix": matrix, "by_dtype": _counted(report["cases"], "dtype")}
    return {key: report[key] for key in kept} | tables | {"failed": failed}


def _counted(cases: list[dict[str, Any]], column: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Operator → value of that column → how many passed and failed, and the worst ratio."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for case in cases:
        if case["status"] in ("pass", "fail"):
            cell = table.setdefault(case["op"], {}).setdefault(
                case[column], {"pass": 0, "fail": 0, "worst": None}
            )
            cell[case["status"]] += 1
            if case["ratio"] is not None:
                cell["worst"] = max(float(case["ratio"]), cell["worst"] or 0.0)
    return table


def main(what: str, reports: str, name: str, command: str) -> None:
    """See the module's docstring."""
    {"collect": collect, "join": join, "teeth": teeth}[what](Path(reports), name, command)


if __name__ == "__main__":
    main(*sys.argv[1:])
