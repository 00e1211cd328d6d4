"""``ssm-spec backends``: what is installed, read from metadata; what each claims; who serves a call."""

from __future__ import annotations

import click


@click.command(short_help="List the installed backends.")
@click.option("--load", is_flag=True, help="Load each one and show its claims, devices or error.")
@click.option("--plugin", "modules", multiple=True, metavar="MODULE",
              help="With --load: one that is not installed; repeatable.")  # fmt: skip
@click.option("--explain", is_flag=True, help="Show who serves each operator here, and why not the others.")
@click.option("--device", metavar="D", help="With --load or --explain: the device to ask each one for.")
@click.option("--op", metavar="OP", help="With --explain: this operator alone.")
@click.option("--dtype", metavar="T", default="float32", help="With --explain: of the arrays; float32.")
def backends(
    load: bool, modules: tuple[str, ...], explain: bool, device: str | None, op: str | None, dtype: str
) -> None:
    """List the installed backends, without importing any.

    With --load each one is loaded in a process of its own, so that a broken one takes nobody down.
    With --explain, the functions of `ssm_backends` say which backend they would choose here.
    """
    from rich.table import Table

    from ssm_backends import installed
    from ssm_conformance.console import console

    if device and not (load or explain):
        raise click.UsageError("--device says where to load: give --load or --explain too")
    if load and explain:
        raise click.UsageError("give --load or --explain, not both")
    if modules and not load:
        raise click.UsageError("--plugin says what to load: give --load too")
    if op and not explain:
        raise click.UsageError("--op says what to explain: give --explain too")
    out = console()
    if explain:
        from ssm_conformance.cli._outlook import show_outlook

        show_outlook(out, device, op, dtype)
        return
    plugins = installed()
    if not (plugins or modules):
        out.print("no backend is installed; the group of entry points is `ssm_backends`")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("backend", "distribution", "module", "state"):
        table.add_column(heading, overflow="fold")
    for plugin in plugins:
        state = f"needs {', '.join(plugin.missing)}: {plugin.remedy}" if plugin.missing else "installed"
        if [other.name for other in plugins].count(plugin.name) > 1:
            state = "cannot be told from another of this name: uninstall one"
        table.add_row(plugin.name, f"{plugin.distribution} {plugin.version}", plugin.module, state)
    out.print(table, markup=False)
    if load:
        from ssm_conformance.cli._claims import show_claims
        from ssm_conformance.cli._targets import admit, targets

        admit((), modules)
        met: set[str] = set()
        for name, find in targets([plugin.name for plugin in plugins], modules, device, met):
            met.add(show_claims(out, name, find))
