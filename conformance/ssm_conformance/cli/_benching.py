"""One run of ``bench``: who takes part, what they do, what is printed and written."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from ssm_backends import PluginError, UnknownBackendError, find_plugin, installed
from ssm_backends.dtypes import REAL
from ssm_conformance.bench import PASSES, Bench, Problem, Rival, Row, Shape, default_problems, rivals
from ssm_conformance.bench.attention import attention_rows
from ssm_conformance.bench.ceilings import Ceilings, measure
from ssm_conformance.bench.plots import PlotsError, draw
from ssm_conformance.bench.problem import Pass, growth
from ssm_conformance.bench.results import as_data
from ssm_conformance.bench.table import tables
from ssm_conformance.cli._targets import admit
from ssm_conformance.console import console
from ssm_conformance.engine import LoadError
from ssm_conformance.engine.target import module_target
from ssm_conformance.reports.folder import FolderError, check_writable, replace_file


class NothingToTimeError(ValueError):
    """What was asked for cannot be timed."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A planned run.

    Attributes
    ----------
    found, absent, named
        Who takes part; who does not, and why; whether they were named.
    against, device, repeats, report, command
        As asked.
    problems, growing
        What is done.
    """

    found: tuple[Rival, ...]
    absent: dict[str, str]
    named: bool
    against: str | None
    device: str
    repeats: int
    report: Path | None
    command: str
    problems: tuple[Problem, ...]
    growing: dict[str, tuple[Problem, ...]]

    @classmethod
    def plan(
        cls,
        names: tuple[str, ...],
        modules: tuple[str, ...],
        against: str | None,
        command: str,
        *,
        device: str | None,
        dtype: str | None,
        passes: tuple[Pass, ...],
        shapes: tuple[Shape, ...],
        growth: bool,
        repeats: int,
        report: Path | None,
    ) -> Benchmark:
        """Check what is asked, and load the backends; NothingToTimeError where it cannot be meant.

        A name that no backend has is a click.UsageError.
        """
        device = device or _best_device()
        kind = device.partition(":")[0]
        if kind not in ("cuda", "cpu"):
            raise NothingToTimeError(f"`--device` must be cuda, cuda:N or cpu; got {device!r}")
        dtype = dtype or ("bfloat16" if kind == "cuda" else "float32")
        if dtype not in REAL:
            raise NothingToTimeError(f"`--dtype` must be one of {', '.join(REAL)}; got {dtype!r}")
        asked = dict.fromkeys([*names, *([against] if against else [])])
        admit(tuple(asked), modules)
        try:
            found, absent = _load(tuple(asked), modules, device)
            if report is not None:
                check_writable(report)
        except (UnknownBackendError, PluginError, LoadError, FolderError) as error:
            raise NothingToTimeError(str(error)) from error
        if against in absent:
            raise NothingToTimeError(f"`--against` must be able to run here; {against!r}: {absent[against]}")
        if not found:
            raise NothingToTimeError("; ".join(f"{name!r}: {why}" for name, why in absent.items()))
        wanted = passes or PASSES
        problems = tuple(
            Problem(pass_, shape, dtype) for pass_ in wanted for shape in shapes
        ) or tuple(default_problems(kind, dtype, wanted))  # fmt: skip
        return cls(
            found=tuple(found), absent=absent, named=bool(asked or modules), against=against, device=device,
            repeats=repeats, report=report, command=command, problems=problems,
            growing=_growing(kind, dtype) if growth else {},
        )  # fmt: skip

    def run(self, quiet: bool) -> int:
        """Measure, print, write; the exit status."""
        out, shown = console(), console(stderr=True)
        kind = self.device.partition(":")[0]
        total = len(self.problems) + sum(map(len, self.growing.values())) + 1
        with (
            _current(self.device),
            Progress(console=shown, disable=quiet or not shown.is_terminal, transient=True) as progress,
        ):
            task = progress.add_task("ceilings", total=total)
            ceilings = measure(kind)
            bench = Bench(self.found, kind, ceilings, self.repeats)

            def rows(problems: tuple[Problem, ...]) -> list[Row]:
                done: list[Row] = []
                for problem in problems:
                    progress.update(task, advance=1, description=f"{problem.pass_} {problem.shape}")
                    done += bench.rows([problem])
                return done

            measured = rows(self.problems)
            grown = {symbol: rows(problems) for symbol, problems in self.growing.items()}
            if "l" in grown and _has_torch():
                grown["l"] += attention_rows(self.growing["l"], self.device, ceilings, self.repeats)
        data = as_data(
            command=self.command, device=self.device, ceilings=ceilings, rivals=self.found,
            absent=self.absent, rows=measured, growth=grown,
        )  # fmt: skip
        self._print(out, data, ceilings)
        if self.report is not None:
            self._write(out, data)
        done = {
            row.rival for row in (*measured, *chain.from_iterable(grown.values())) if row.times is not None
        }
        idle = any(rival.name not in done for rival in self.found)
        return 2 if self.named and (self.absent or idle) else 0

    def _print(self, out: Console, data: dict[str, Any], ceilings: Ceilings) -> None:
        for table in tables(data, self.against):
            out.print(table, markup=False)
            out.print()
        rate = ceilings.exponentials
        known = "not measured" if rate is None else f"{rate / 1e9:.3g}e9/s"
        out.print(
            f"ceilings: copy {ceilings.bytes / 1e9:.3g} GB/s ({ceilings.how[0]}), "
            f"exponentials {known} ({ceilings.how[1]})",
            soft_wrap=True,
        )
        for name, why in self.absent.items():
            out.print(f"{name} did not take part: {why}", style="yellow", soft_wrap=True, markup=False)

    def _write(self, out: Console, data: dict[str, Any]) -> None:
        assert self.report is not None
        path = self.report / "bench.json"
        replace_file(path, json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
        written = [path]
        try:
            written += draw(data, self.report)
        except PlotsError as error:
            out.print(str(error), style="yellow", soft_wrap=True, markup=False)
        out.print(f"written: {', '.join(map(str, written))}", soft_wrap=True, markup=False)


def _load(
    names: tuple[str, ...], modules: tuple[str, ...], device: str
) -> tuple[list[Rival], dict[str, str]]:
    """Those asked for, modules first, or all that are installed: who runs here, and who does not.

    PluginError if one that was asked for fails to load; of all that are installed it takes no other down.
    """
    found, absent = rivals([module_target(module).plugin for module in dict.fromkeys(modules)], device)
    met = {rival.name for rival in found}
    if len(met) < len(found):  # times are kept by name
        given = ", ".join(rival.name for rival in found)
        raise NothingToTimeError(f"each `--plugin` must hand over a backend of another name; got {given}")
    named = [find_plugin(name) for name in names if name not in met]
    everyone = not (names or modules)
    more, lacking = rivals(installed() if everyone else named, device, forgiving=everyone)
    return found + more, absent | lacking


def _growing(kind: str, dtype: str) -> dict[str, tuple[Problem, ...]]:
    return dict(growth(kind, dtype, "forward"))


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


def _current(device: str) -> AbstractContextManager[Any]:
    """Make a GPU the current one: what is timed by events, and its ceilings, are of that one."""
    if device.partition(":")[0] != "cuda":
        return nullcontext()
    import torch

    gpu: AbstractContextManager[Any] = torch.cuda.device(device)
    return gpu


def _best_device() -> str:
    if not _has_torch():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
