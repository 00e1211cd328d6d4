"""Where commands print. Nothing is imported but rich, so that small commands are quick."""

from __future__ import annotations

import os
from typing import Final

from rich.console import Console

WIDTH: Final = 110
"""Columns where the output is not a terminal and the environment does not say."""


class Paper(Console):
    """A console whose broken pipe is the caller's affair: rich would exit with the status of a failure."""

    def on_broken_pipe(self) -> None:
        """Pass it on."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console that respects NO_COLOR and COLUMNS, and does not cut lines short in a file."""
    made = Paper(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Paper(stderr=stderr, highlight=False, width=WIDTH)
    return made
