"""Writes a new package: all of it, or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import jinja2

from ssm_conformance.engine.environment import version_of
from ssm_conformance.scaffold.names import Names, ScaffoldError

FILES: Final[Mapping[str, str]] = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    ".gitignore": "gitignore.j2",
    ".github/workflows/ci.yml": "ci.yml.j2",
    "expected-failures.toml": "expected-failures.toml.j2",
    "src/{module}/__init__.py": "init.py.j2",
    "src/{module}/scan.py": "scan.py.j2",
    "src/{module}/py.typed": "py.typed.j2",
    "tests/test_conformance.py": "test_conformance.py.j2",
}
"""Path in the package → template."""


def scaffold(names: Names, parent: Path) -> Path:
    """Write the package into a new folder; the folder.

    Parameters
    ----------
    names
        Of the package and its parts.
    parent
        An existing folder, in which the package's own is made.

    Raises
    ------
    ScaffoldError
        If there is something of that name already, or the folder cannot be written. Nothing is left behind.
    """
    target = parent / names.distribution
    if target.exists() or target.is_symlink():
        raise ScaffoldError(f"{target} exists already: nothing was written")
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{names.distribution}.") as draft:
            whole = Path(draft) / names.distribution
            for path, text in rendered(names).items():
                file = whole / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            whole.rename(target)
    except OSError as error:
        raise ScaffoldError(f"{target} cannot be written: {error}") from error
    return target


def rendered(names: Names) -> dict[str, str]:
    """Path in the package → its text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssm_conformance.scaffold"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # these are programs, not pages
    )
    version = (version_of("ssm-spec") or "0.1").split("+")[0]
    words = {"names": names, "version": version}
    return {
        path.format(module=names.module): environment.get_template(template).render(words)
        for path, template in FILES.items()
    }
