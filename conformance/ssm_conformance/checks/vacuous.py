"""A question that asks nothing may not pass: what a check goes through must be there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class Vacuous(AssertionError):  # noqa: N818  it is about the question
    """A question that asks nothing of its call: the suite is at fault."""


def some(asked: Iterable[T], what: str) -> list[T]:
    """What is asked, one after the other.

    Parameters
    ----------
    asked
        What a check goes through.
    what
        One of them, as a message calls it.

    Raises
    ------
    Vacuous
        If there is none: a check that goes through nothing would pass.
    """
    found = list(asked)
    if not found:
        raise Vacuous(f"this case asks nothing: it has no {what}")
    return found
