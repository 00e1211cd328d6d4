"""One implementation in one dtype under the suite: rejected, by what, lost in rounding, missed, or passed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, isnan
from typing import Final, Literal

from ssm_backends import Backend, claims_as_data
from ssm_conformance.case import Case, Level
from ssm_conformance.cases import find_case
from ssm_conformance.engine import Limits, Selection, open_session
from ssm_conformance.engine.limits import GIB
from ssm_conformance.engine.target import module_target
from ssm_conformance.mutants import MUTANTS, Mutant, backend
from ssm_conformance.planning import plan
from ssm_conformance.selftest.customary import allclose_accepts
from ssm_conformance.selftest.rounding import NUMERIC, Loss, lost_in_rounding
from ssm_conformance.verdict import Verdict

Outcome = Literal["rejected", "lost in rounding", "missed", "passed", "wrongly rejected", "not judged"]
RIGHT: Final[tuple[Outcome, ...]] = ("rejected", "lost in rounding", "passed")
"""Outcomes that speak for the suite."""
MEMORY: Final = GIB // 2
"""Bytes that a mutant may take which only a worker may call."""


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
    rejections
        Ids of the cases that rejected it, and what they said.
    allclose, allclose_there
        Whether np.allclose with the customary tolerances accepts outputs and gradients: on
        typical inputs, and on the inputs of the case that must reject it. None where no
        result came back to be compared.
    loss
        How far the defect was looked for, where it was not rejected.
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
    rejections: Mapping[str, str]
    allclose: bool | None
    allclose_there: bool | None
    loss: Loss | None = None

    @property
    def right(self) -> bool:
        """Whether the suite did what it must, and by the check that must do it."""
        found = self.outcome in RIGHT and not self.errors
        return found and (self.outcome != "rejected" or self.caught)


def row(name: str, dtype: str, level: Level | None, search: float = 0.0) -> Row:
    """Put one implementation to the suite in one dtype.

    Parameters
    ----------
    name
        Of a mutant or an honest implementation.
    dtype
        One that it claims.
    level
        "smoke", "quick" or "full"; the case that must reject a mutant is always asked. None
        asks a mutant that one alone, and an honest implementation the smoke level.
    search
        Seconds to look for a defect that was not rejected, beyond the full level; 0 looks in
        the quick level alone.
    """
    subject = backend(name)
    mutant = MUTANTS.get(name)
    expected = mutant.case_id(dtype) if mutant else ""
    if mutant and mutant.isolated:
        return _row(name, dtype, expected, _in_a_worker(mutant, expected), (None, None))
    from ssm_conformance.checks import perform

    cases = _cases(subject, dtype, "smoke" if level is None and not expected else level, expected)
    verdicts = [perform(case, subject) for case in cases]
    typical = [case for op in subject.ops for case in _ordinary(subject, op, dtype)]
    there = [find_case(expected)] if expected else typical
    said = (allclose_accepts(subject, typical), allclose_accepts(subject, there))
    missed = expected and not any(verdict.status == "fail" for verdict in verdicts)
    numeric = missed and find_case(expected).method in NUMERIC
    loss = None
    if numeric:
        loss = lost_in_rounding(subject, dtype, "full" if search else "quick", search)
    return _row(name, dtype, expected, verdicts, said, loss)


def _row(
    name: str,
    dtype: str,
    expected: str,
    verdicts: list[Verdict],
    allclose: tuple[bool | None, bool | None],
    loss: Loss | None = None,
) -> Row:
    failed = [verdict for verdict in verdicts if verdict.status == "fail"]
    return Row(
        name=name,
        dtype=dtype,
        outcome=_outcome(expected, verdicts, loss),
        expected=expected,
        caught=any(verdict.id == expected for verdict in failed),
        checks=dict(Counter(verdict.check for verdict in failed)),
        ratio=_worst(verdicts),
        cases=sum(verdict.judged for verdict in verdicts),
        errors=tuple(f"{v.id}: {v.message}" for v in verdicts if v.status == "error"),
        rejections={verdict.id: verdict.message.partition("\n")[0] for verdict in failed},
        allclose=allclose[0],
        allclose_there=allclose[1],
        loss=loss,
    )


def _outcome(expected: str, verdicts: Iterable[Verdict], loss: Loss | None) -> Outcome:
    statuses = {verdict.status for verdict in verdicts}
    if not statuses & {"pass", "fail"}:
        return "not judged"
    if not expected:
        return "wrongly rejected" if "fail" in statuses else "passed"
    if "fail" in statuses:
        return "rejected"
    return "lost in rounding" if loss is not None and loss.lost else "missed"


def _cases(subject: Backend, dtype: str, level: Level | None, expected: str) -> list[Case]:
    """The level's cases that the claims cover, and the one that must reject it.

    A mutant is not asked about bad input: the contract refuses that before the mutant is called.
    """
    cases = {expected: find_case(expected)} if expected else {}
    if level is not None:
        planned = plan(claims_as_data(subject), level=level, ops=tuple(subject.ops), dtypes=(dtype,))
        asked = [item.case for item in planned if item.status is None]
        cases |= {case.id: case for case in asked if not expected or case.method != "bad_input"}
    return list(cases.values())


def _ordinary(subject: Backend, op: str, dtype: str) -> list[Case]:
    """The first case of values of an operator, what a test would try first; none in a dtype it has not."""
    planned = plan(claims_as_data(subject), level="smoke", ops=(op,), dtypes=(dtype,), checks=("value",))
    return [item.case for item in planned if item.status is None][:1]


def _in_a_worker(mutant: Mutant, expected: str) -> list[Verdict]:
    target = module_target("ssm_conformance.mutants.plugin", mutant.name)
    limits = Limits(seconds=mutant.patience, first_call=1.0, memory=MEMORY)
    session = open_session(target, limits, workers=1)
    return list(session.judge(session.plan("full", Selection(cases=(expected,)))))


def _worst(verdicts: list[Verdict]) -> float | None:
    ratios = [inf if isnan(v.ratio) else v.ratio for v in verdicts if v.ratio is not None]
    return max(ratios, default=None)
