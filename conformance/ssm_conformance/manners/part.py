"""One part of what all code in a process shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import ne
from typing import Any


@dataclass(frozen=True)
class Part:
    """One part of the state of a process.

    Attributes
    ----------
    name
        As a report calls it.
    read
        Its present value.
    write
        Put a value back; None where that would hide what a check looks for.
    changed
        Whether two values differ in a way that matters.
    told
        What differs between them, in a few words; "" if the name says enough.
    settled
        Whether an import may leave it changed, for the libraries that it loads read it later.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None] | None
    changed: Callable[[Any, Any], bool] = ne
    told: Callable[[Any, Any], str] = lambda before, after: ""
    settled: bool = False
