"""badge.json: the outcome in two words, in the form that badge servers read."""

from __future__ import annotations

from typing import Any

from ssm_conformance.engine.run import Run


def badge(run: Run) -> dict[str, Any]:
    """The badge of a run; a narrowed run never says that a backend conforms."""
    narrowed = run.selection.narrowed
    message, color = {
        "passed": ("selection passed", "blue") if narrowed else (f"conforms ({run.level})", "brightgreen"),
        "failed": ("selection failed" if narrowed else "does not conform", "red"),
        "undecided": ("undecided", "lightgrey"),
    }[run.outcome]
    if run.outcome == "passed" and run.announced:
        message, color = f"{message} but for {run.announced}", "yellow"
    return {"schemaVersion": 1, "label": "ssm-spec", "message": message, "color": color}
