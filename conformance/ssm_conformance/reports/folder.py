"""One backend's folder of reports: found writable before any work, always holding what is known so far."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ssm_conformance.engine.run import Run
from ssm_conformance.reports.badge import badge
from ssm_conformance.reports.data import report_data
from ssm_conformance.reports.junit import junit
from ssm_conformance.reports.pages import html, markdown
from ssm_conformance.reports.statement import statement

INTERVAL: Final = 2.0
"""Seconds between two partial reports: what a killed run can lose."""


class FolderError(OSError):
    """Reports cannot be written where they were asked for."""


class ReportFolder:
    """DIR/NAME, with report.json, junit.xml, report.md, report.html, statement.json and badge.json.

    Parameters
    ----------
    root
        The folder given as ``--report``.
    backend
        Names the folder in it.

    Attributes
    ----------
    trouble
        Why a report could not be written after all; "" if all are.

    Raises
    ------
    FolderError
        If nothing can be written there.
    """

    def __init__(self, root: Path, backend: str) -> None:
        check_writable(root)
        self.path = root / backend
        check_writable(self.path)
        for name in FORMS:
            if (self.path / name).is_dir():
                raise FolderError(
                    f"`--report` must be a folder for files; {self.path / name} is a folder itself"
                )
        self._written = 0.0
        self.trouble = ""

    def begin(self, run: Run) -> None:
        """Replace what an earlier run left by a report of no cases yet."""
        for name in FORMS:
            (self.path / name).unlink(missing_ok=True)
        self._save("report.json", run)

    def keep_up(self, run: Run) -> None:
        """Write a partial report.json, if the last one is old."""
        if time.monotonic() - self._written >= INTERVAL:
            self._save("report.json", run)

    def finish(self, run: Run) -> None:
        """Write every form of the report."""
        self.trouble = ""  # what became of a partial one is past
        for name in FORMS:
            self._save(name, run)

    def _save(self, name: str, run: Run) -> None:
        text = FORMS[name](run)
        try:
            replace_file(self.path / name, text)
        except OSError as error:  # a full disk must not cost the verdicts that the terminal still shows
            self.trouble = f"the report could not be written: {error}"
        self._written = time.monotonic()


def check_writable(folder: Path) -> None:
    """Make a folder, and put a file into it and away again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FolderError(f"`--report` must be a folder that can be written to; {folder}: {error}") from error


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError:  # half a draft helps nobody, and a full disk needs its room
        draft.unlink(missing_ok=True)
        raise


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


FORMS: Final[Mapping[str, Callable[[Run], str]]] = {
    "report.json": lambda run: _json(report_data(run)),
    "junit.xml": junit,
    "report.md": markdown,
    "report.html": html,
    "statement.json": lambda run: _json(statement(run)),
    "badge.json": lambda run: _json(badge(run)),
}
"""File → how its text is made."""
