"""``ssm-spec backends``: what is installed, read from metadata; with --load also what each claims."""

from __future__ import annotations

import click


@click.command(short_help="List the installed backends.")
@click.option("--load", is_flag=True, help="Load each one and show its claims, devices or error.")
@click.option("--device", metavar="D", help="With --load: the device to ask each one for.")
def backends(load: bool, device: str | None) -> None:
    """List the installed backends, without importing any.

    With --load each one is loaded in a process of its own, so that a broken one takes nobody down.
    """
    from rich.table import Table

    from ssm_backends import installed
    from ssm_conformance.console import console

    if device and not load:
        raise click.UsageError("--device says where to load: give --load too")
    out = console()
    plugins = installed()
    if not plugins:
        out.print("no backend is installed; the group of entry points is `ssm_backends`")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("backend", "distribution", "module", "state"):
        table.add_column(heading, overflow="fold")
    for plugin in plugins:
        state = f"needs {', '.join(plugin.missing)}: {plugin.remedy}" if plugin.missing else "installed"
        table.add_row(plugin.name, f"{plugin.distribution} {plugin.version}", plugin.module, state)
    out.print(table, markup=False)
    if load:
        from ssm_conformance.cli._claims import show_claims

        for plugin in plugins:
            show_claims(out, plugin.name, device)
