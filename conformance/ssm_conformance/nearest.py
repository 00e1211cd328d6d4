"""A slip of the pen: the names that a wrong one may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The nearest names, to be put behind "got …"; "" if none is near."""
    import difflib  # most commands are spelt right

    near = difflib.get_close_matches(given, list(known), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""
