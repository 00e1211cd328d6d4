"""Runs cases against a backend in processes of its own, and survives whatever the backend does there."""

from ssm_conformance.engine.expected import Expectation, ExpectedFileError, read_expected
from ssm_conformance.engine.limits import Limits
from ssm_conformance.engine.run import Run, Selection, exit_status
from ssm_conformance.engine.session import Session, open_session
from ssm_conformance.engine.target import LoadError, Target, find_target

__all__ = [
    "Expectation",
    "ExpectedFileError",
    "Limits",
    "LoadError",
    "Run",
    "Selection",
    "Session",
    "Target",
    "exit_status",
    "find_target",
    "open_session",
    "read_expected",
]
