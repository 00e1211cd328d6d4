"""``ssm-spec doctor``: versions, devices, what is missing, and the command that mends it."""

from __future__ import annotations

import click


@click.command(short_help="Show versions, devices, and what is missing.")
def doctor() -> None:
    """Show versions, devices, what is missing, and the command that mends it."""
    from rich.table import Table

    from ssm_backends import installed
    from ssm_conformance.engine.environment import environment
    from ssm_conformance.engine.limits import GIB, cores, machine_memory
    from ssm_conformance.reports.terminal import console

    out = console()
    found = environment()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("python", found["python"])
    table.add_row("platform", found["platform"])
    table.add_row("cpu", f"{found['cpu']}; {cores()} cores, {machine_memory() / GIB:.1f} GiB")
    for gpu in found["gpus"]:
        table.add_row("gpu", f"{gpu['name']}, {gpu['memory']}, driver {gpu['driver']}")
    if not found["gpus"]:
        table.add_row("gpu", "none found (nvidia-smi)")
    for name, version in found["versions"].items():
        table.add_row(name, version or "not installed")
    out.print(table, markup=False)
    out.print()
    missing = [plugin for plugin in installed() if plugin.missing]
    for plugin in missing:
        line = f"backend {plugin.name} needs {', '.join(plugin.missing)}: {plugin.remedy}"
        out.print(line, markup=False, soft_wrap=True)
    if not missing:
        out.print("nothing is missing: every installed backend has what it needs")
