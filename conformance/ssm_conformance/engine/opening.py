"""Loads a backend, and has it said what is waited for where that takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from ssm_conformance.engine.limits import Limits
from ssm_conformance.engine.session import Session, open_session
from ssm_conformance.engine.target import Target

PATIENCE: Final = 5.0
"""Seconds after which somebody at a terminal wants to know."""
Tell = Callable[[str, str], None]
"""Shows a user a backend's name, and what is waited for."""


def opened(
    target: Target,
    limits: Limits,
    workers: int | Literal["auto"] = "auto",
    *,
    in_process: bool = False,
    tell: Tell,
) -> Session:
    """Load a backend as :func:`open_session` does; `tell` is called from another thread, once at most."""
    limit = f"it is given up after {limits.for_load():g} s"
    until = "no limit holds in this process" if in_process else limit
    what = f"still waiting for {target.plugin.module} to be imported and to hand over its backend; {until}"
    with _told_if_slow(lambda: tell(target.plugin.name, what)):
        return open_session(target, limits, workers, in_process=in_process)


@contextmanager
def _told_if_slow(tell: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(PATIENCE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # what is being said is said before anything else is
