"""``ssm-spec bench``: time and memory of backends side by side, against this machine's own ceilings."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ssm_conformance.bench import Shape


def _shape(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[Shape, ...]:
    from ssm_conformance.bench import Shape

    shapes = []
    for text in texts:
        parts = text.replace(" ", "").split(",")
        if len(parts) != 4 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise click.BadParameter(f"must be four sizes b,d,l,n, each 1 or more; got {text!r}")
        shapes.append(Shape(*map(int, parts)))
    return tuple(shapes)


@click.command(short_help="Time backends side by side.")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--plugin", "modules", multiple=True, metavar="MODULE",
              help="One that is not installed; repeatable.")  # fmt: skip
@click.option("--against", metavar="NAME", help="Compare the others with this one; it takes part.")
@click.option("--device", metavar="D", help="cuda, cuda:1 or cpu; a GPU if PyTorch has one.")
@click.option("--dtype", metavar="T", help="Of the streams; bfloat16 on a GPU, float32 on a CPU.")
@click.option("--pass", "passes", multiple=True, type=click.Choice(["forward", "both", "step"]),
              help="Only these; repeatable.")  # fmt: skip
@click.option("--shape", "shapes", multiple=True, callback=_shape, metavar="b,d,l,n",
              help="In place of the usual shapes; repeatable.")  # fmt: skip
@click.option("--growth/--no-growth", default=False, help="Also double l, n, d and b, one at a time.")
@click.option("--repeats", type=click.IntRange(3), default=9, show_default=True, help="Of each problem.")
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write bench.json, and plots.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def bench(
    names: tuple[str, ...], modules: tuple[str, ...], against: str | None, quiet: bool, **options: Any
) -> int:
    """Time backends side by side: the selective scan with z, D, delta_bias and softplus, and its step.

    Every problem is done by all in turns; figures are medians. "× floor" is the time over the least
    that this machine allows: bytes over its copy rate or exponentials over their rate, whichever is
    more, both measured in the same run. Without NAMEs or --plugin, every installed backend that can run
    here takes part. They are loaded into this process, which judges nothing: put them to `conform` first.

    Exit status: 0 if all that were named took part; 2 otherwise.
    """
    from ssm_conformance.cli._benching import Benchmark, NothingToTimeError

    command = f"ssm-spec {shlex.join(sys.argv[1:])}"
    try:
        benchmark = Benchmark.plan(names, modules, against, command, **options)
    except NothingToTimeError as error:
        raise click.UsageError(str(error)) from error
    return benchmark.run(quiet)
