"""The suite as pytest collects it: one item a case, all judged by one warm worker of the engine."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from ssm_conformance.engine import (
    Expectation,
    ExpectedFileError,
    Limits,
    LoadError,
    Selection,
    Session,
    find_target,
    read_expected,
)
from ssm_conformance.engine.expected import expectations_for
from ssm_conformance.engine.opening import opened
from ssm_conformance.engine.target import module_target
from ssm_conformance.planning import Planned
from ssm_conformance.plugin import SESSION
from ssm_conformance.reports.matrix import show_ratio
from ssm_conformance.verdict import Verdict, told_apart


class NotConformingError(Exception):
    """A case that did not pass; it carries the verdict to the report."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class SideEffectWarning(UserWarning):
    """A backend left changed what all code in its process shares."""


class SuiteFolder(pytest.Directory):
    """The package's folder: it holds one file."""

    def collect(self) -> Iterator[pytest.Collector]:
        """The file that the cases hang from."""
        yield SuiteFile.from_parent(self, path=Path(__file__), nodeid="ssm_conformance/suite.py")


class SuiteFile(pytest.File):
    """This file: it holds the cases."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item for each case of the level, in catalogue order."""
        path = self.config.getoption("--ssm-expected")
        try:
            session = loaded(self.config)
            plan = session.plan(self.config.getoption("--ssm-level"), Selection())
            expected = expectations_for(session.name, read_expected(path), plan) if path else {}
        except LoadError as error:
            raise self.CollectError(f"{error}\n{error.log}".strip()) from error
        except ExpectedFileError as error:
            raise self.CollectError(str(error).replace("`--expected`", "`--ssm-expected`")) from error
        for planned in plan:
            name = planned.case.id
            yield CaseItem.from_parent(self, name=name, planned=planned, expected=expected.get(name))


class CaseItem(pytest.Item):
    """One case; its name is the case's id.

    Parameters
    ----------
    planned
        The case, and whether it is asked.
    expected
        Its announced failure; None if there is none.
    """

    def __init__(self, *, planned: Planned, expected: Expectation | None, **more: Any) -> None:
        super().__init__(**more)
        self.planned, self.expected = planned, expected

    def runtest(self) -> None:
        """Judge it; what is not claimed, or cannot be observed here, is skipped with the reason."""
        verdict = loaded(self.config).judge_one(self.planned)
        if self.expected is not None:
            verdict = replace(verdict, expected=self.expected.text)
        if effects := verdict.details.get("side_effects"):
            _warn(f"the backend changed, and the suite put back where it can: {', '.join(effects)}")
        if verdict.ratio is not None:
            self.user_properties.append(("ratio", show_ratio(verdict.ratio)))
        if verdict.status in ("not_claimed", "unavailable"):
            pytest.skip(f"{verdict.status.replace('_', ' ')}: {verdict.message}")
        if verdict.expected is not None and verdict.status == "fail":
            pytest.xfail(verdict.expected)
        if verdict.unexpected or verdict.status == "error":
            raise NotConformingError(verdict)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The message, the clause and the rerun command; a stack only where the suite itself is at fault."""
        if isinstance(excinfo.value, LoadError):
            return f"no worker could be had any more: {excinfo.value}\n{excinfo.value.log}".strip()
        if not isinstance(excinfo.value, NotConformingError):
            return super().repr_failure(excinfo, style)
        verdict = excinfo.value.verdict
        message = verdict.message or f"it passed, but was expected to fail: {verdict.expected}"
        lines = [*told_apart(message), f"clause: {verdict.details['clause']}", f"rerun: {verdict.rerun}"]
        if verdict.ratio is not None and isfinite(verdict.ratio) and verdict.ratio > 1:
            lines.insert(1, f"{show_ratio(verdict.ratio)} times the bound")
        if verdict.details.get("log"):
            lines += ["what it printed:", str(verdict.details["log"])]
        return "\n".join(lines)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it stands: the case's id says more than a line number."""
        return self.path, None, self.name


def loaded(config: pytest.Config) -> Session:
    """The session's backend, loaded once."""
    session = config.stash.get(SESSION, None)
    if session is None:
        session = _load(config)
        config.stash[SESSION] = session
        if session.at_import:
            _warn(f"importing the backend changed: {', '.join(session.at_import)}")
    return session


def _warn(what: str) -> None:
    warnings.warn(SideEffectWarning(what), stacklevel=2)


def _load(config: pytest.Config) -> Session:
    device = config.getoption("--ssm-device")
    module = config.getoption("--ssm-plugin")
    limits = Limits(seconds=config.getoption("--ssm-timeout"))
    if module:
        sys.path.append(os.getcwd())  # as `ssm-spec conform --plugin` does
        target = module_target(module, device)
    else:
        target = find_target(config.getoption("--ssm-backend"), device)
    beside = getattr(config, "workerinput", {}).get("workercount", 1)  # xdist's: they share this machine
    return opened(target, limits, workers=beside, tell=partial(_tell, config))


def _tell(config: pytest.Config, name: str, what: str) -> None:
    """Show a line although pytest captures what is printed; an xdist worker has no terminal to show it on."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is not None:
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            reporter.write_line(f"{name}: {what}")
