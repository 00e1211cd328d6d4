"""The names of a new plugin package, from the one name that its author gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from ssm_backends import installed

PATTERN: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST: Final = 30


class ScaffoldError(ValueError):
    """A package of this name cannot be made here."""


@dataclass(frozen=True)
class Names:
    """What a package and its parts are called.

    Attributes
    ----------
    backend
        The name on the command line, and of the entry point.
    """

    backend: str

    @property
    def distribution(self) -> str:
        """What pip installs, and the folder's name."""
        return f"ssm-{self.backend}"

    @property
    def module(self) -> str:
        """What Python imports."""
        return f"ssm_{self.backend.replace('-', '_')}"


def names_for(backend: str) -> Names:
    """The names that follow from a backend's.

    Raises
    ------
    ScaffoldError
        If the name breaks a rule, or is taken by what is installed here.
    """
    if backend.startswith(("ssm-", "ssm_")):
        raise ScaffoldError(
            f"`NAME` must be the backend's name, without the prefix of its package: {backend[4:]!r} gives "
            f"the package ssm-{backend[4:]}; got {backend!r}"
        )
    if not PATTERN.fullmatch(backend) or len(backend) > LONGEST:
        raise ScaffoldError(
            f"`NAME` must be at most {LONGEST} lower-case letters and digits in words joined by single "
            f"hyphens, with a letter first; got {backend!r}"
        )
    names = Names(backend)
    for plugin in installed():
        if plugin.name == backend:
            owner = f"{plugin.distribution} {plugin.version}"
            raise ScaffoldError(f"`NAME` must be new; {owner} has a backend called {backend!r}")
    if find_spec(names.module) is not None:
        raise ScaffoldError(f"`NAME` must be new; a module {names.module} is installed; got {backend!r}")
    return names
