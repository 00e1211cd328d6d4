"""Which backends a command is about: installed ones by name, others by module."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import click
from rich.text import Text

from ssm_backends import PluginError, UnknownBackendError, find_plugin
from ssm_conformance.console import console
from ssm_conformance.engine import LoadError, Target, find_target
from ssm_conformance.engine.target import found_on_path, module_target
from ssm_conformance.reports.terminal import excerpt


def admit(names: Sequence[str], modules: Sequence[str]) -> None:
    """Let modules be found in the current folder; without them, refuse a name that no backend has.

    That folder is looked in as ``python -m`` would, but last: nothing installed is shadowed, and what is
    installed under the name of a module there is told. Where there are modules, which may have any name, a
    name that is not found is told in its turn.

    Raises
    ------
    click.UsageError
        If there is no backend of a name, or there are two.
    """
    if modules:
        sys.path.append(os.getcwd())
        for module in dict.fromkeys(modules):
            _tell_if_installed(module)
        return
    for name in names:
        try:
            find_plugin(name)
        except (UnknownBackendError, PluginError) as error:
            raise click.UsageError(str(error)) from error


def _tell_if_installed(module: str) -> None:
    """Say on standard error that a module of the current folder is not the one that is loaded."""
    top = module.partition(".")[0]
    here = next((file for file in (Path(f"{top}.py"), Path(top, "__init__.py")) if file.is_file()), None)
    if here is None or not top.isidentifier():
        return
    found = found_on_path(top)
    if found is None or found.origin is None or Path(found.origin).resolve() == here.resolve():
        return
    message = f"{module}: loaded from {found.origin}, not from {here} in this folder; PYTHONPATH=. prefers it"
    console(stderr=True).print(Text(message, "yellow"), soft_wrap=True)


def targets(
    names: Sequence[str], modules: Sequence[str], device: str | None, met: Collection[str]
) -> Iterator[tuple[str, Callable[[], Target]]]:
    """Each backend as it was asked for, and how it is found, modules first.

    Parameters
    ----------
    names, modules, device
        As the command has them; one that is named twice comes once.
    met
        The caller's own record of backends that were loaded, and of modules that were not: such a name is
        not looked up again.
    """
    for module in dict.fromkeys(modules):
        yield module, partial(module_target, module, device)
    for name in dict.fromkeys(names):
        if name not in met:
            yield name, partial(find_target, name, device)


def print_load_error(name: str, error: LoadError) -> None:
    """Say on standard error why a backend cannot be judged here, with the end of what it printed."""
    out = console(stderr=True)
    out.print(Text.assemble((f"{name}: ", "bold"), (str(error), "bold red")), soft_wrap=True)
    for line in excerpt(error.log.splitlines()):
        out.print(Text(f"  | {line}", "dim"), soft_wrap=True)
