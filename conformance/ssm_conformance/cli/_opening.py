"""Loads a backend, and says what is waited for where that takes long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from rich.text import Text

from ssm_conformance.console import console
from ssm_conformance.engine import Limits, Session, Target, open_session

PATIENCE: Final = 5.0
"""Seconds after which somebody at a terminal wants to know."""


def opened(
    target: Target, limits: Limits, workers: int | Literal["auto"] = "auto", *, in_process: bool = False
) -> Session:
    """Load a backend as :func:`open_session` does."""
    until = "no limit holds in this process" if in_process else f"it is given up after {limits.load:g} s"
    what = f"still waiting for {target.plugin.module} to be imported and to hand over its backend; {until}"
    with _told_if_slow(target.plugin.name, what):
        return open_session(target, limits, workers, in_process=in_process)


@contextmanager
def _told_if_slow(name: str, what: str) -> Iterator[None]:
    """Say so on standard error, once, if this is not over in time."""

    def tell() -> None:
        console(stderr=True).print(Text.assemble((f"{name}: ", "bold"), (what, "yellow")), soft_wrap=True)

    timer = threading.Timer(PATIENCE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
