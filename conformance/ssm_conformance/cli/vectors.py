"""``ssm-spec vectors``: golden vectors as files for any language, and the check of such files."""

from __future__ import annotations

from pathlib import Path

import click

_SHOWN = 20


@click.group(short_help="Write or check golden vectors for any language.")
def vectors() -> None:
    """Golden vectors: arguments of every operator and its answers, correctly rounded.

    safetensors files and manifest.json, which names shapes, dtypes, parameters, clauses and hashes.
    They are shipped with the package; to compute them again takes the extra "certify".
    """


@vectors.command(short_help="Write the golden vectors into DIR.")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def export(directory: Path, quiet: bool) -> int:
    """Write the golden vectors into DIR; the bytes are the same on every machine."""
    from ssm_conformance.console import console
    from ssm_spec.vectors import VECTORS_VERSION
    from ssm_spec.vectors import export as write

    try:
        sizes = write(directory)
    except OSError as error:
        raise click.UsageError(f"`DIR` must be a folder that can be written to; got {error}") from error
    if not quiet:
        total = sum(sizes.values()) / 1e6
        line = f"version {VECTORS_VERSION}: {len(sizes)} files, {total:.2f} MB, in {directory}"
        console().print(line, markup=False, soft_wrap=True)
    return 0


@vectors.command(short_help="Recompute the golden vectors and compare those in DIR.")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--shipped", is_flag=True, help="Compare with the package's own files; compute nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing if all is right.")
def check(directory: Path, shipped: bool, quiet: bool) -> int:
    """Recompute every vector and compare the files in DIR bit by bit.

    Each difference is named by file, tensor and element. Exit status: 0 if there is none, 1 otherwise.
    Without the extra "certify" only --shipped can be asked for.
    """
    from ssm_conformance.console import console
    from ssm_spec.vectors import VECTORS_VERSION
    from ssm_spec.vectors import check as compare

    try:
        differences = compare(directory, recompute=not shipped)
    except ImportError as error:
        message = f"{error}; or compare with the package's own files: --shipped"
        raise click.ClickException(message) from error
    except OSError as error:
        raise click.UsageError(f"`DIR` must hold files that can be read; got {error}") from error
    out = console()
    for difference in differences[:_SHOWN]:
        out.print(str(difference), style="red", markup=False, soft_wrap=True)
    if len(differences) > _SHOWN:
        out.print(f"and {len(differences) - _SHOWN} more", style="red")
    if not differences and not quiet:
        how = "is that of the package's own files" if shipped else "is what it is computed to be"
        out.print(f"version {VECTORS_VERSION}: every bit {how}", style="green")
    return 1 if differences else 0
