"""Many rows at once: which, in what order, and on how many processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

from ssm_backends import ArgumentError
from ssm_conformance.case import Level
from ssm_conformance.engine.threads import cores_shared
from ssm_conformance.mutants import HONEST, MUTANTS, Mutant, Variant
from ssm_conformance.nearest import did_you_mean
from ssm_conformance.selftest.rows import Row, row

FEW = 4
"""Rows that are not worth another process, whose start costs as much."""


class Pair(NamedTuple):
    """An implementation and a dtype that it is put to the suite in."""

    name: str
    dtype: str


def pairs(names: Sequence[str] = (), checks: Sequence[str] = (), *, fast: bool = False) -> list[Pair]:
    """What there is to run.

    Parameters
    ----------
    names
        Of mutants and honest implementations; all that can run here if empty.
    checks
        Keep only the mutants that one of these must reject, and no honest one; all if empty.
    fast
        One dtype for each: they take turns, so that every dtype is seen.

    Raises
    ------
    ArgumentError
        If a name is unknown or cannot run here, or nothing is left.
    """
    known: dict[str, Variant | Mutant] = {**HONEST, **MUTANTS}
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise ArgumentError(
                f"`names` must be those of implementations that a whole selftest shows; got {name!r}{near}"
            )
        if not known[name].runs_here():
            raise ArgumentError(f"`names` must be able to run here; {name!r} lacks its library or its device")
    found = []
    here = [name for name, subject in known.items() if subject.runs_here()]
    for turn, name in enumerate(names or here):
        dtypes = MUTANTS[name].dtypes if name in MUTANTS else HONEST[name].dtypes
        if not checks or (name in MUTANTS and MUTANTS[name].check in checks):
            found += [Pair(name, dtype) for dtype in (dtypes[turn % len(dtypes) :][:1] if fast else dtypes)]
    if not found:
        raise ArgumentError(f"`checks` must leave something to run; got {', '.join(checks)}")
    return found


def run(
    asked: Sequence[Pair], level: Level | None, *, search: float = 0.0, workers: int = 1
) -> Iterator[Row]:
    """Put known-bad and honest implementations to the suite.

    Parameters
    ----------
    asked
        From :func:`pairs`.
    level, search
        As for :func:`row`.
    workers
        Processes.

    Yields
    ------
    Row
        As they are found.
    """
    if workers == 1 or len(asked) <= FEW:
        yield from (row(name, dtype, level, search) for name, dtype in asked)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        with cores_shared(workers):  # a process is started when something is submitted
            waiting = [pool.submit(row, name, dtype, level, search) for name, dtype in asked]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)
