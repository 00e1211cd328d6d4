"""Who would serve calls through the front door, and why not the others."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from ssm_backends import (
    OPERATORS,
    ArgumentError,
    PluginError,
    UnknownBackendError,
    installed,
)
from ssm_backends.dtypes import REAL
from ssm_backends.front import outlook
from ssm_conformance.nearest import did_you_mean

NUMPY, TORCH = "numpy", "torch"


def show_outlook(out: Console, device: str | None, op: str | None, dtype: str) -> None:
    """Print a table: for each operator and array library, the backends in order, and the one chosen.

    Parameters
    ----------
    out
        Where to print.
    device
        Of the arrays; None: a GPU if PyTorch has one, and the CPU.
    op
        One operator; None: all.
    dtype
        Of the arrays.
    """
    if op is not None and op not in OPERATORS:
        raise click.UsageError(
            f"--op must be one of {', '.join(OPERATORS)}; got {op!r}{did_you_mean(op, OPERATORS)}"
        )
    if dtype not in REAL:
        raise click.UsageError(f"--dtype must be one of {', '.join(REAL)}; got {dtype!r}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("arrays", "operator", "served by", "passed over"):
        table.add_column(heading, overflow="fold")
    reasons: dict[str, None] = {}
    try:
        for library, where in _places(device):
            for name in (op,) if op else OPERATORS:
                order, said = outlook(name, library, where, dtype=dtype)
                reasons[order.said_by] = None
                served = next((backend for backend, reason in said.items() if reason is None), "nobody")
                over = [f"{backend}: {reason}" for backend, reason in said.items() if reason]
                table.add_row(f"{library} on {where}", name, served, "; ".join(over))
    except (ArgumentError, PluginError, UnknownBackendError) as error:
        raise click.UsageError(str(error)) from error
    out.print(table, markup=False)
    out.print(f"in the order of: {'; '.join(reasons)}", soft_wrap=True, markup=False)


def _places(device: str | None) -> list[tuple[str, str]]:
    """Libraries and devices of arrays that can be had here."""
    has_torch = any(plugin.name == TORCH and not plugin.missing for plugin in installed())
    if device is not None:
        _check(device, has_torch=has_torch)
        return [(TORCH, device)] * has_torch + [(NUMPY, "cpu")] * (device == "cpu")
    places = [(NUMPY, "cpu")]
    if has_torch:
        import torch

        places.insert(0, (TORCH, "cpu"))
        if torch.cuda.is_available():
            places.insert(0, (TORCH, "cuda"))
    return places


def _check(device: str, *, has_torch: bool) -> None:
    """Refuse the name of no device."""
    if not has_torch:
        if device != "cpu":
            raise click.UsageError(f"--device must be cpu, as PyTorch is not installed; got {device!r}")
        return
    import torch

    try:
        torch.device(device)
    except RuntimeError as error:
        raise click.UsageError(
            f"--device must be one of PyTorch's, as cpu or cuda:1; got {device!r}"
        ) from error
