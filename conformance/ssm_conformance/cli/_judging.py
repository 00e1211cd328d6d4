"""Judges what a request names, one backend after the other; a verdict is kept as soon as it is there."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from ssm_conformance.cli._opening import opened
from ssm_conformance.cli._request import Request
from ssm_conformance.cli._targets import print_load_error, targets
from ssm_conformance.console import console
from ssm_conformance.engine import LoadError, Run, Session, Target, exit_status
from ssm_conformance.engine.environment import environment
from ssm_conformance.engine.expected import Expectation, ExpectedFileError, expectations_for
from ssm_conformance.engine.pool import NoWorkerError
from ssm_conformance.engine.run import PASSED
from ssm_conformance.engine.search import Search
from ssm_conformance.engine.session import SelectionError
from ssm_conformance.planning import Planned
from ssm_conformance.reports import FolderError, ReportFolder
from ssm_conformance.reports.terminal import (
    print_comparison,
    print_headline,
    print_run,
    progress_bar,
)

INTERRUPTED: Final = "interrupted"


def judge_backends(request: Request) -> int:
    """Judge, print, write; the exit status.

    Bad usage that a backend's claims show ends the command while nothing is judged. Later it is told like a
    backend that does not load, so that it hides no failure.

    Parameters
    ----------
    request
        What was asked for.
    """
    out = console()
    runs: list[Run] = []
    failures: list[BaseException] = []
    left_out: list[str] = []
    met: set[str] = set()
    for name, find in targets(request.names, request.modules, request.device, met):
        met.add(name)
        try:
            run = _judge_target(request, find(), {run.backend for run in runs})
            if run is None:  # its cases were listed
                continue
            runs.append(run)
            met.add(run.backend)
        except LoadError as error:
            if name in request.forgiving and error.kind == "unavailable":
                left_out.append(f"{name} is left out: {error}")
            else:
                failures.append(error)
                print_load_error(name, error)
            continue
        except click.UsageError as error:
            if not runs:
                raise
            failures.append(error)
            print_load_error(name, LoadError("unknown", error.message))
            continue
        except KeyboardInterrupt:  # while it was loaded: what was judged before stands
            if not runs:
                raise
            failures.append(KeyboardInterrupt())
            console(stderr=True).print(Text.assemble((f"{name}: ", "bold"), (INTERRUPTED, "bold red")))
            break
        _print(out, request, runs[-1])
        if runs[-1].ended == INTERRUPTED or (request.fail_fast and runs[-1].unexpected):
            break
    if len(runs) > 1 and not request.quiet:
        print_comparison(out, runs)
        for run in runs:
            print_headline(out, run)
    for line in () if request.listing else left_out:  # a list is for other programs too
        out.print(Text(line, "dim"), soft_wrap=True)
    return PASSED if request.listing and not failures else exit_status(runs, failures)


def _judge_target(request: Request, target: Target, judged: Collection[str]) -> Run | None:
    """Load one backend and judge it as far as that goes, unless one of its name was judged before.

    None if its cases were listed instead.
    """
    session = opened(target, request.limits, request.workers, in_process=request.in_process)
    try:
        if session.name in judged:
            raise SelectionError(
                "two backends must not have one name in one run, for the report of the second would take the "
                f"place of the first; got {session.name!r} again, from {target.plugin.module}"
            )
        planned = session.plan(request.level, request.selection)
        asked = [item.case.id for item in planned if item.status is None]
        if request.listing:
            for case_id in asked:
                click.echo(case_id)
            return None
        if not asked and session.name in request.forgiving:
            raise LoadError("unavailable", "it claims nothing of what is selected")
        expected = expectations_for(session.name, request.expected, planned)
        folder = ReportFolder(request.report, session.name) if request.report is not None else None
        return _judge(request, session, planned, expected, folder)
    except (SelectionError, ExpectedFileError, FolderError) as error:
        raise click.UsageError(str(error)) from error
    finally:
        session.close()


def _judge(
    request: Request,
    session: Session,
    planned: Sequence[Planned],
    expected: Mapping[str, Expectation],
    folder: ReportFolder | None,
) -> Run:
    run = Run(
        backend=session.name,
        version=str(session.claims["version"]),
        device=session.device,
        level=request.level,
        selection=request.selection,
        planned=[item.case.id for item in planned],
        levels={item.case.id: item.case.level for item in planned},
        environment=environment(session.target.plugin.distribution),
        withheld=session.claims["withheld"],
        at_import=session.at_import,
    )
    if folder is not None:
        folder.begin(run)
    try:
        with progress_bar(run.backend, len(planned), quiet=request.quiet) as watch:
            for verdict in session.judge(planned, expected, started=watch.started):
                run.add(verdict)
                watch.judged(verdict)
                if folder is not None:
                    folder.keep_up(run)
                if request.fail_fast and verdict.unexpected:
                    run.ended = "stopped at the first failure" if run.not_run else ""
                    break
        stopped = request.fail_fast and run.unexpected  # by the last case, it may be
        if request.search and not (run.ended or stopped):
            _search(request, session.target, run)
    except KeyboardInterrupt:
        run.ended = INTERRUPTED
    except (NoWorkerError, LoadError) as error:  # LoadError is of the search: what was judged before stands
        run.ended = str(error)
    if folder is not None:
        folder.finish(run)
        run.report_trouble = folder.trouble
    return run


def _search(request: Request, target: Target, run: Run) -> None:
    """Draw calls for as long as was asked, with a worker of its own; what fails joins the run."""
    with closing(opened(target, request.limits, 1, in_process=request.in_process)) as session:
        search = Search(session.claims, session.first.judge, request.search, request.selection)
        found, start = 0, time.monotonic()
        for verdict in search:
            found += 1
            run.planned = [*run.planned, verdict.id]
            run.add(session.dress(verdict))
            if request.fail_fast:
                break
        seconds = round(min(request.search, time.monotonic() - start), 3)  # less if there is no more to find
        run.searched = {"seconds": seconds, "calls": search.calls, "found": found}


def _print(out: Console, request: Request, run: Run) -> None:
    if run.report_trouble:
        console(stderr=True).print(Text(run.report_trouble, "bold red"), soft_wrap=True)
    if request.quiet:
        print_headline(out, run)
    else:
        print_run(out, run)
        if request.report is not None and not run.report_trouble:
            out.print(Text(f"report: {request.report / run.backend}", "dim"), soft_wrap=True)
        out.print()
