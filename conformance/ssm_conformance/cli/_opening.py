"""Loads a backend for a command, which says on standard error what it waits for."""

from __future__ import annotations

from typing import Literal

from rich.text import Text

from ssm_conformance.console import console
from ssm_conformance.engine import Limits, Session, Target, opening


def opened(
    target: Target, limits: Limits, workers: int | Literal["auto"] = "auto", *, in_process: bool = False
) -> Session:
    """Load a backend as :func:`ssm_conformance.engine.opening.opened` does."""
    return opening.opened(target, limits, workers, in_process=in_process, tell=_tell)


def _tell(name: str, what: str) -> None:
    console(stderr=True).print(Text.assemble((f"{name}: ", "bold"), (what, "yellow")), soft_wrap=True)
