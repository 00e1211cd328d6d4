"""Whether a defect is lost in rounding: evaluated in float64, it stays within the bound of a narrower dtype.

Such a defect no suite could tell from honest rounding on these inputs. It is computed on every numeric case
of a level, and then on other numbers, for as long as is asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import inf, isnan
from typing import Final

from ssm_backends import Backend, claims_as_data, outputs_of, run_vjp
from ssm_backends.dtypes import HALF
from ssm_conformance.case import Case, Level
from ssm_conformance.checks.subject import CheckFailed, Stored, Subject
from ssm_conformance.judge import judge
from ssm_conformance.planning import plan
from ssm_conformance.storage import store
from ssm_spec import Bounded

NUMERIC: Final = ("value", "gradient")
"""Methods that measure results against the bound."""


@dataclass(frozen=True)
class Loss:
    """How far a defect was looked for below the bound of a dtype.

    Attributes
    ----------
    lost
        Whether it stayed within the bound everywhere.
    ratio
        The worst ratio of its float64 evaluation to the bound of the dtype.
    where
        The case in which that was; a case of other numbers says which draw it was.
    cases, drawn
        Cases of the level, and cases of other numbers, that were evaluated.
    """

    lost: bool
    ratio: float
    where: str
    cases: int
    drawn: int


def lost_in_rounding(subject: Backend, dtype: str, level: Level, search: float = 0.0) -> Loss:
    """Evaluate a defect in float64 against the bounds of a dtype; the first case outside ends it.

    Parameters
    ----------
    subject
        The mutant's backend.
    dtype
        Narrower than float64, in which nothing is lost.
    level
        Whose numeric cases are evaluated.
    search
        Seconds for the same cases with other numbers.
    """
    cases = numeric_cases(subject, dtype, level)
    if dtype == "float64" or not cases:
        return Loss(False, inf, "", 0, 0)
    worst, where, counted, drawn, until = 0.0, "", 0, 0, inf
    for case, draw in _all_then_drawn(cases):
        if draw:
            until = min(until, time.monotonic() + search)
            if time.monotonic() >= until:
                break
        counted, drawn = counted + (not draw), drawn + bool(draw)
        ratio = ratio_in_float64(case, subject)
        if not ratio <= worst:
            worst, where = ratio, f"{case.id}, draw {draw}" if draw else case.id
        if not ratio <= 1.0:
            break
    return Loss(worst <= 1.0, worst, where, counted, drawn)


def numeric_cases(subject: Backend, dtype: str, level: Level) -> list[Case]:
    """The cases of values and gradients that the claims cover."""
    planned = plan(claims_as_data(subject), level=level, ops=tuple(subject.ops), dtypes=(dtype,))
    return [item.case for item in planned if item.status is None and item.case.method in NUMERIC]


def _all_then_drawn(cases: Sequence[Case]) -> Iterator[tuple[Case, int]]:
    """Every case, and then each of them with the numbers of draw 1, 2, …, without an end."""
    for draw in count():
        for case in cases:
            seeded = replace(case.recipe, seed=f"{case.recipe.seed or case.recipe.name}/search-{draw}")
            yield replace(case, recipe=seeded) if draw else case, draw


def ratio_in_float64(case: Case, subject: Backend) -> float:
    """The worst ratio of a float64 evaluation to the bound of the case's dtype; inf if it fails otherwise."""
    (op,) = subject.implementations(case.op)
    narrow = Subject(case, subject, op, subject.adapters[0])
    index = {name for name, draw in case.draws.items() if draw.dtype is not None}

    def wide(items: Mapping[str, Stored]) -> dict[str, Stored]:
        return {
            name: item if name in index else Stored(item.exact, item.exact.dtype.name)
            for name, item in items.items()
        }

    call = narrow.into(wide(narrow.stored))
    try:
        if case.method == "value":
            exact = narrow.exact
            types = {name: dtype for name, (_, dtype) in narrow.output_types().items()}
            found = outputs_of(call, op.fn(**call.inputs))
        else:
            exact = narrow.exact_gradients(narrow.arithmetic())
            types = {name: narrow.stored[name].dtype for name in narrow.wrt}
            given = wide(narrow.cotangents).items()
            cotangents = {name: narrow.arrays.from_numpy(item.array, item.dtype) for name, item in given}
            found = run_vjp(op, narrow.arrays, call, cotangents, narrow.wrt)
    except CheckFailed:
        return inf
    ratios = [_ratio(narrow.out(found[name], name), types[name], exact[name]) for name in exact]
    return max((inf if isnan(ratio) else ratio for ratio in ratios), default=0.0)


def _ratio(found: Stored, dtype: str, exact: Bounded) -> float:
    """Of a float64 result; what is kept in 16 bits is rounded to them, as no backend could show more."""
    if dtype in HALF:
        return judge(store(found.exact, dtype), dtype, "float64", exact).ratio
    return judge(found.array, found.dtype, "float64", exact).ratio
