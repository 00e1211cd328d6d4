"""``ssm-spec new``: a plugin package to start from."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Start a backend: a package that installs and conforms.")
@click.argument("name", metavar="NAME")
@click.option(
    "--into",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the package's folder is made; here if not given.",
)
def new(name: str, into: Path) -> None:
    """Write the folder ssm-NAME: a whole backend called NAME, its scan in plain PyTorch.

    It installs, passes ruff and mypy, and conforms. Replace the scan with yours, claim what it can do,
    and run the suite again. Nothing that exists is overwritten.
    """
    from ssm_conformance.console import console
    from ssm_conformance.scaffold import ScaffoldError, names_for, scaffold

    try:
        names = names_for(name)
        folder = scaffold(names, into)
    except ScaffoldError as error:
        raise click.UsageError(str(error)) from error
    lines = (
        f"{folder} is a whole backend. Next:",
        f"  cd {folder}",
        "  pip install -e '.[dev]'",
        f"  ssm-spec conform {names.backend}",
        f"then replace the scan in src/{names.module}/scan.py, and claim in __init__.py what yours can do.",
    )
    console().print("\n".join(lines), markup=False, soft_wrap=True)
