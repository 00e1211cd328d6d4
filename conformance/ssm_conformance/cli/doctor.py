"""``ssm-spec doctor``: versions, devices, what is missing, and the command that mends it."""

from __future__ import annotations

import subprocess
import sys

import click


def torch_sees_a_gpu() -> bool:
    """Ask PyTorch, in a process of its own: it takes seconds to import and may take this one down."""
    code = "import torch; print(torch.cuda.is_available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "True"


@click.command(short_help="Show versions, devices, and what is missing.")
def doctor() -> None:
    """Show versions, devices, what is missing, and the command that mends it."""
    from rich.table import Table

    from ssm_backends import installed
    from ssm_conformance.console import console
    from ssm_conformance.engine.environment import environment
    from ssm_conformance.engine.limits import GIB, cores, machine_memory

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
    elif found["versions"]["torch"] and not torch_sees_a_gpu():
        table.add_row("gpu", "torch does not see it: a CUDA build is at https://pytorch.org/get-started")
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
