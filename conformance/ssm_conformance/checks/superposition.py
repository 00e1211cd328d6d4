"""The selective scan is linear in its input and its initial state together."""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_conformance.checks.agreement import ends, finding, gap
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.checks.vacuous import some
from ssm_conformance.draw import Draw
from ssm_conformance.judge import Judgement, measure
from ssm_conformance.storage import store

LINEAR: Final = ("u", "x", "f", "initial_state", "initial_states", "state")
"""The arguments in which the outputs are linear, all of them together."""
GRID: Final = tuple(k / 8 for k in range(-15, 16))
"""Numbers whose sums are exact in every dtype: five bits."""


def superposition(subject: Subject) -> Finding:
    """y(x + x') = y(x) + y(x'), and the state too, within the bounds of the three together."""
    names = some((name for name in LINEAR if name in subject.stored), "argument that it is linear in")
    one = {name: _on_grid(subject, name, "one") for name in names}
    other = {name: _on_grid(subject, name, "other") for name in names}
    both = {
        name: Stored(store(one[name].exact + other[name].exact, one[name].dtype), one[name].dtype)
        for name in names
    }
    subjects = [subject.put(dict(subject.stored) | part) for part in (both, one, other)]
    results = [each.forward(each.call) for each in subjects]
    judgements = {}
    for name in results[0]:
        judgements[name] = _sum(subjects, [result[name] for result in results], name)
    return finding(judgements, "the sum of two inputs against the sum of their outputs")


def _on_grid(subject: Subject, name: str, which: str) -> Stored:
    item = subject.stored[name]
    drawn = Draw(item.array.shape, "choice", np.iscomplexobj(item.array), parameters={"values": GRID})
    return subject.draw(drawn, item.dtype, subject.case.op, subject.case.recipe.name, name, which)


def _sum(subjects: list[Subject], results: list[Stored], name: str) -> Judgement:
    compute = subjects[0].call.compute
    whole, (low_1, high_1), (low_2, high_2) = (ends(item, compute) for item in results)
    with np.errstate(invalid="ignore"):
        distance = gap(whole, (low_1 + low_2, high_1 + high_2))
        expected = results[1].exact + results[2].exact
    bounds = [each.exact[name] for each in subjects]
    allowed = np.sum([each.bound + each.own for each in bounds], axis=0)
    judged = np.all([each.judged for each in bounds], axis=0)
    return measure(distance, allowed, judged, results[0].exact, expected)
