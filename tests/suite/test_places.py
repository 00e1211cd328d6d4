"""What is changed in each case that changes something: a case may lose no place of it unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from ssm_backends import Op
from ssm_conformance.case import Case
from ssm_conformance.cases import catalogue
from ssm_conformance.checks import METHODS
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import Comparison, selected
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.mutants.kernels.bits import BitArrays

MODULES = {
    "causality": "properties",
    "packing": "properties",
    "confinement": "confinement",
    "skipped": "pools",
    "unread": "pools",
}
"""Questions that change chosen elements → the module of ``ssm_conformance.checks`` that asks them."""
CASES = {
    (case.op, case.method, case.variant, case.recipe.name): case
    for case in reversed(catalogue("full"))
    if case.method in MODULES
}
"""Each in one dtype: what is changed does not depend on it."""
REACHES_ALL = {
    "ssm_recurrence": {"A_bar", "B_bar", "C", "D"},
    "causal_convolution": {"K"},
    "s4d": {"delta", "A", "B", "C", "D"},
    "lssl": {"delta", "A", "B", "C", "D"},
    "s5": {"delta", "A", "B", "C", "D"},
    "h3": {"shift", "shift_D", "delta", "A", "B", "C", "D", "out_proj"},
}
"""Layers → the parameters in which a NaN may reach every output: common-5 keeps no channel apart there."""


def subject(case: Case) -> Subject:
    op = Op(lambda **_: None, dtypes=(case.dtype,), features=tuple(case.operator.features))
    return Subject(case, None, op, BitArrays())


def comparisons(asked: Subject, monkeypatch: pytest.MonkeyPatch) -> list[Comparison]:
    """What a question would change, and what would have to stay."""
    found: list[Comparison] = []

    def listed(_: Subject, comparisons: Sequence[Comparison], how: Sequence[str], *_also: Any) -> Finding:
        found.extend(comparisons)
        return Finding(message="nothing was run")

    module = import_module(f"ssm_conformance.checks.{MODULES[asked.case.method]}")
    monkeypatch.setattr(module, "compared", listed)
    METHODS[asked.case.method](asked)
    return found


def of(method: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "case", [c for c in CASES.values() if c.method == method], ids=lambda c: c.id
    )


@pytest.mark.parametrize("ordered", [True, False], ids=["in-time-order", "in-any-order"])
@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.id)
def test_every_change_is_one_and_something_must_stay(
    case: Case, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        import_module("ssm_conformance.checks.confinement"), "in_time_order", lambda _: ordered
    )
    asked = subject(case)
    outputs = {name: Stored(bounded.value, "") for name, bounded in asked.exact.items()}
    found = comparisons(asked, monkeypatch)
    assert found
    for chosen, kept, place in found:
        assert selected(chosen, asked.stored) == list(chosen), place
        assert selected(kept, outputs), place


@of("confinement")
def test_a_nan_is_put_into_every_array(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    floating = {name for name, draw in case.draws.items() if not draw.index}
    asked = {name for chosen, _, _ in comparisons(subject(case), monkeypatch) for name in chosen}
    assert asked == floating - REACHES_ALL.get(case.op, set())


@of("confinement")
def test_a_nan_is_put_into_the_first_row_and_into_the_last(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[str, set[int]] = {}
    for chosen, _, _ in comparisons(subject(case), monkeypatch):
        for name, mask in chosen.items():
            rows.setdefault(name, set()).update(np.nonzero(mask)[0])
    streamed = [name for name in rows if case.operator.argument(name).forms[0].shape.startswith("b ")]
    assert streamed
    for name in streamed:
        assert {0, case.draws[name].shape[0] - 1} <= rows[name]


def places(case: Case, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for _, _, place in comparisons(subject(case), monkeypatch):
        yield place


@of("skipped")
def test_skipped_rows_and_idle_slots_are_changed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(places(case, monkeypatch)) == ["in skipped rows", "in slots that no row names"]


@of("packing")
def test_the_first_sequence_and_the_last_are_changed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(places(case, monkeypatch)) == ["in the first sequence", "in the last sequence"]


@of("causality")
def test_each_cut_is_made(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    length = case.call().sizes["l"]
    cuts = case.options.get("cuts", (length // 2,)) or sorted({1, length // 3, length - 1})
    assert list(places(case, monkeypatch)) == [f"from t = {cut} on" for cut in cuts]
