"""The pytest front: ``pytest --pyargs ssm_conformance --ssm-backend NAME``. Inert without that option.

Every pytest session imports this module: it imports pytest and the standard library alone.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from ssm_conformance.engine import Session

HERE: Final = Path(__file__).resolve().parent
NOTHING: Final = "no backend is judged, for no case was collected: give `--pyargs ssm_conformance` too"
SESSION: Final[pytest.StashKey[Session]] = pytest.StashKey()
FOUND: Final[pytest.StashKey[bool]] = pytest.StashKey()
"""There where pytest was sent into this package."""


class NothingJudgedWarning(pytest.PytestWarning):
    """A backend was named, and none of the suite's cases collected."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the suite."""
    group = parser.getgroup("ssm-spec", "conformance of state space model backends")
    group.addoption("--ssm-backend", metavar="NAME", help="judge this installed backend")
    group.addoption("--ssm-plugin", metavar="MODULE", help="judge the backend of this module instead")
    group.addoption("--ssm-device", metavar="D", help="cpu, cuda, …; the backend's own default if not given")
    group.addoption("--ssm-level", choices=("smoke", "quick", "full"), default="quick", help="default: quick")
    group.addoption("--ssm-expected", type=Path, metavar="FILE", help="announced failures, strictly held to")
    longer = "seconds a case may take; 5 S for a first call, and for the import (30 at least)"
    group.addoption("--ssm-timeout", type=seconds, default=60.0, metavar="S", help=longer)


def seconds(given: str) -> float:
    """Read a positive, finite number of seconds; argparse.ArgumentTypeError if it is none."""
    try:
        number = float(given)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number of seconds; got {given!r}")
    return number


def asked_for(config: pytest.Config) -> bool:
    """Whether a backend is named on the command line."""
    return bool(config.getoption("--ssm-backend") or config.getoption("--ssm-plugin"))


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """This package's folder holds the suite, and nothing else that pytest could find there."""
    if path.resolve() != HERE or not asked_for(parent.config):
        return None
    from ssm_conformance.suite import SuiteFolder

    parent.config.stash[FOUND] = True
    return SuiteFolder.from_parent(parent, path=path)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Who is judged."""
    if not asked_for(config):
        return None
    who = config.getoption("--ssm-plugin") or config.getoption("--ssm-backend")
    return f"ssm-spec: judging {who} at level {config.getoption('--ssm-level')}"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say that nobody is judged where a backend is named and this package is not: such a run is green."""
    if asked_for(session.config) and FOUND not in session.config.stash:
        try:
            warnings.warn(NothingJudgedWarning(NOTHING), stacklevel=1)
        except NothingJudgedWarning as error:  # where warnings are errors
            if not hasattr(session.config, "workerinput"):
                raise pytest.UsageError(str(error)) from None
            with warnings.catch_warnings():  # a worker of pytest-xdist has no way to refuse
                warnings.simplefilter("default")
                warnings.warn(error, stacklevel=1)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the worker."""
    session = config.stash.get(SESSION, None)
    if session is not None:
        session.close()
