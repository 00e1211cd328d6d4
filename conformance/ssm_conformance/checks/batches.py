"""The rows of a batch do not know each other: in any order, and alone, they give what they give together."""

from __future__ import annotations

from ssm_conformance.checks.agreement import agree, finding, part, worst_of
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pieces import by_row, cut_batch
from ssm_conformance.checks.subject import Subject
from ssm_conformance.checks.vacuous import some
from ssm_conformance.judge import Judgement


def batches(subject: Subject) -> Finding:
    """Inputs with the batch reversed give outputs with the batch reversed, within two bounds."""
    _several(subject)
    backwards, names = slice(None, None, -1), by_row(subject)
    turned = {name: item.take(backwards) if name in names else item for name, item in subject.stored.items()}
    before, after = subject.forward(subject.call), subject.forward(subject.into(turned))
    found = {
        name: agree(
            after[name].take(backwards), item, subject.exact[name], subject.call.compute,
            subject.periods.get(name),
        )
        for name, item in before.items()
    }  # fmt: skip
    return finding(found, "with the batch reversed")


def batches_alone(subject: Subject) -> Finding:
    """Each row alone gives what it gives among the others, within two bounds."""
    _several(subject)
    together = subject.forward(subject.call)
    found: dict[str, Judgement] = {}
    for row in range(subject.call.sizes["b"]):
        own = slice(row, row + 1)
        single = subject.put(cut_batch(subject, own))
        results = single.forward(single.call)
        for name, item in together.items():
            exact = part(subject.exact[name], own)
            judgement = agree(
                results[name], item.take(own), exact, subject.call.compute, subject.periods.get(name)
            )
            found = worst_of(found, {name: judgement})
        complaint = finding(found, f"row {row} alone, against the same row in the batch")
        if not complaint.passed:
            return complaint
    return Finding(found)


def _several(subject: Subject) -> None:
    """Vacuous if there is no second row."""
    some(range(1, subject.call.sizes["b"]), "second row")
