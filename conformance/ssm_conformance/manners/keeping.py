"""Lets a backend work, notes what it left changed, and puts it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ssm_conformance.manners import process, pytorch

PARTS: Final = (*process.PARTS, *pytorch.PARTS)
_noticed: dict[str, None] = {}


@contextmanager
def manners_kept(*, importing: bool = False) -> Iterator[None]:
    """Let a backend work; what it leaves changed is noted for :func:`noticed` and put back.

    Parameters
    ----------
    importing
        Whether it is being imported: what its libraries are to read later then stays as it was set.
    """
    before = [(part, part.read()) for part in PARTS]
    try:
        yield
    finally:
        for part, value in before:
            after = part.read()
            if part.changed(value, after):
                told = part.told(value, after)
                _noticed[f"{part.name} ({told})" if told else part.name] = None
                if part.write is not None and not (importing and part.settled):
                    part.write(value)


def noticed() -> list[str]:
    """Names of the parts that were found changed since this was last asked."""
    names = list(_noticed)
    _noticed.clear()
    return names
