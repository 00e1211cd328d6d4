"""The suite against its own known-bad backends: who was rejected, by what, and what allclose says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from typing import Final, Literal

import numpy as np

from ssm_backends import ArgumentError, Backend, Op, claims_as_data, outputs_of, run_vjp
from ssm_conformance.case import Case, Level
from ssm_conformance.cases import find_case
from ssm_conformance.judge import judge
from ssm_conformance.mutants import DTYPES, HONEST, MUTANTS, backend
from ssm_conformance.planning import plan
from ssm_conformance.verdict import Verdict
from ssm_spec import Bounded

Outcome = Literal["rejected", "lost in rounding", "missed", "passed", "wrongly rejected", "not judged"]
RIGHT: Final[tuple[Outcome, ...]] = ("rejected", "lost in rounding", "passed")
"""Outcomes that speak for the suite."""
NUMERIC: Final = ("value", "gradient")
"""Methods that measure results against the bound."""
CUSTOMARY: Final = {"float64": (6e-4, 2e-3), "float32": (6e-4, 2e-3), "bfloat16": (3e-2, 5e-2)}
"""rtol and atol that kernels are usually tested with."""


@dataclass(frozen=True)
class Row:
    """What the suite said about one implementation in one dtype.

    Attributes
    ----------
    name, dtype
        The mutant, or the honest implementation.
    outcome
        "lost in rounding": not rejected, and the defect evaluated in float64 stays within
        the bound of this dtype on every case, so that no suite could tell it from rounding.
    expected
        Id of the case that must reject it; "" for an honest one.
    caught
        Whether that case rejected it.
    checks
        Report word → number of cases that rejected it.
    ratio
        The worst error over bound; inf for a NaN; None if nothing was measured.
    cases
        How many were judged.
    errors
        Cases in which the suite itself failed, with what it raised.
    allclose, allclose_there
        Whether np.allclose with the customary tolerances accepts outputs and gradients: on
        typical inputs, and on the inputs of the case that must reject it.
    """

    name: str
    dtype: str
    outcome: Outcome
    expected: str
    caught: bool
    checks: Mapping[str, int]
    ratio: float | None
    cases: int
    errors: tuple[str, ...]
    allclose: bool
    allclose_there: bool

    @property
    def right(self) -> bool:
        """Whether the suite did what it must, and by the check that must do it."""
        found = self.outcome in RIGHT and not self.errors
        return found and (self.outcome != "rejected" or self.caught)


def run(level: Level | None, names: Sequence[str] = ()) -> list[Row]:
    """Put known-bad and honest implementations to the suite.

    Parameters
    ----------
    level
        "smoke", "quick" or "full"; the case that must reject a mutant is always asked. None
        asks a mutant that one alone, and an honest implementation the smoke level.
    names
        Of mutants and honest implementations; all if empty.

    Returns
    -------
    One row for each of them and each dtype.
    """
    return [row(name, dtype, level) for name, dtype in pairs(names)]


def pairs(names: Sequence[str] = ()) -> list[tuple[str, str]]:
    """What :func:`run` goes through: each implementation with each dtype that it is put to.

    Parameters
    ----------
    names
        Of mutants and honest implementations; all if empty.
    """
    known = [*HONEST, *MUTANTS]
    for name in names:
        if name not in known:
            raise ArgumentError(f"`names` may hold {', '.join(known)}; got {name!r}")
    return [
        (name, dtype)
        for name in names or known
        for dtype in (MUTANTS[name].dtypes if name in MUTANTS else DTYPES)
    ]


def row(name: str, dtype: str, level: Level | None) -> Row:
    """One implementation in one dtype."""
    from ssm_conformance.checks import perform

    subject = backend(name)
    expected = MUTANTS[name].case_id(dtype) if name in MUTANTS else ""
    cases = _cases(subject, dtype, "smoke" if level is None and not expected else level, expected)
    typical = [find_case(f"{op}/value/{dtype}/typical") for op in subject.ops]
    there = [find_case(expected)] if expected else typical
    verdicts = [perform(case, subject) for case in cases]
    failed = [verdict for verdict in verdicts if verdict.status == "fail"]
    errors = tuple(f"{v.id}: {v.message}" for v in verdicts if v.status not in ("pass", "fail"))
    return Row(
        name=name,
        dtype=dtype,
        outcome=_outcome(expected, subject, cases, verdicts),
        expected=expected,
        caught=any(verdict.id == expected for verdict in failed),
        checks=Counter(verdict.check for verdict in failed),
        ratio=_worst(verdicts),
        cases=len(verdicts),
        errors=errors,
        allclose=allclose_accepts(subject, typical),
        allclose_there=allclose_accepts(subject, there),
    )


def _cases(subject: Backend, dtype: str, level: Level | None, expected: str) -> list[Case]:
    """The level's cases that the claims cover, and the one that must reject it."""
    cases = {expected: find_case(expected)} if expected else {}
    if level is not None:
        planned = plan(claims_as_data(subject), level=level, ops=tuple(subject.ops), dtypes=(dtype,))
        cases |= {item.case.id: item.case for item in planned if item.status is None}
    return list(cases.values())


def _outcome(expected: str, subject: Backend, cases: list[Case], verdicts: list[Verdict]) -> Outcome:
    rejected = any(verdict.status == "fail" for verdict in verdicts)
    if not any(verdict.judged for verdict in verdicts):
        return "not judged"
    if not expected:
        return "wrongly rejected" if rejected else "passed"
    if rejected:
        return "rejected"
    numeric = [case for case in cases if case.method in NUMERIC]
    measured = find_case(expected) in numeric
    lost = measured and all(lost_in_rounding(case, subject) for case in numeric)
    return "lost in rounding" if lost else "missed"


def _worst(verdicts: list[Verdict]) -> float | None:
    ratios = [inf if isnan(v.ratio) else v.ratio for v in verdicts if v.ratio is not None]
    return max(ratios, default=None)


def lost_in_rounding(case: Case, subject: Backend) -> bool:
    """Whether a defect, evaluated in float64, stays within the bound of the case's dtype.

    Parameters
    ----------
    case
        Of values or gradients, in a dtype narrower than float64; in float64 nothing is lost.
    subject
        The mutant's backend.
    """
    from ssm_conformance.checks.subject import CheckFailed, Stored, Subject

    if case.dtype == "float64":
        return False
    op = _only(subject, case.op)
    narrow = Subject(case, subject, op, subject.adapters[0])

    def wide(items: Mapping[str, Stored]) -> dict[str, Stored]:
        index = {name for name, draw in case.draws.items() if draw.dtype is not None}
        return {
            name: item if name in index else Stored(item.exact, item.exact.dtype.name)
            for name, item in items.items()
        }

    call = narrow.into(wide(narrow.stored))
    try:
        if case.method == "value":
            exact = narrow.exact
            found = outputs_of(call, op.fn(**call.inputs))
        else:
            exact = narrow.exact_gradients(narrow.arithmetic())
            cotangents = {name: item.array for name, item in wide(narrow.cotangents).items()}
            found = run_vjp(op, narrow.arrays, call, cotangents, narrow.wrt)
    except CheckFailed:
        return False
    return all(judge(found[name], found[name].dtype.name, "float64", exact[name]).passed for name in exact)


def allclose_accepts(subject: Backend, cases: Sequence[Case]) -> bool:
    """Whether np.allclose accepts the outputs and gradients for the inputs of these cases."""
    return all(_close(subject, replace(case, check="value", method="value", variant="")) for case in cases)


def _close(subject: Backend, case: Case) -> bool:
    from ssm_conformance.checks.subject import CheckFailed, Stored, Subject

    def close(actual: Mapping[str, Stored], exact: Mapping[str, Bounded]) -> bool:
        rtol, atol = CUSTOMARY[case.dtype]
        return all(np.allclose(actual[name].exact, exact[name].value, rtol, atol) for name in exact)

    found = Subject(case, subject, _only(subject, case.op), subject.adapters[0])
    try:
        accepted = close(found.forward(found.call), found.exact)
        if accepted and found.wrt:
            return close(found.gradients(found.call), found.exact_gradients(found.arithmetic()))
    except CheckFailed:
        return False
    return accepted


def _only(subject: Backend, name: str) -> Op:
    """The one implementation that a mutant has of an operator."""
    (op,) = subject.implementations(name)
    return op
