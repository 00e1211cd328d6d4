"""What a step hands on: which exchange of places is seen, and which change is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ssm_conformance.case import Case
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.checks import perform
from ssm_conformance.checks.kept import UNUSUAL
from ssm_conformance.checks.perturb import bits
from ssm_conformance.mutants import MUTANTS, backend

CASES = {
    (case.op, case.recipe.name): case for case in catalogue("full") if case.method == "bits_kept"
}.values()
OPS = {"selective_state_update": "sequential", "causal_conv1d_update": "linear"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_neighbours_along_every_axis_differ(case: Case) -> None:
    shape = case.draws["state"].shape
    assert all(size % len(UNUSUAL) for size in shape)
    state = np.resize(UNUSUAL, shape)
    for axis, size in enumerate(shape):
        for shift in range(1, size):
            moved = bits(np.roll(state, shift, axis)) != bits(state)
            assert moved.reshape(-1, shape[-1]).any(1).all() or shift % len(UNUSUAL) == 0, (axis, shift)


@pytest.mark.parametrize("op", OPS)
def test_a_nan_may_come_back_as_another(op: str) -> None:
    case, honest = find_case(f"{op}/property/float32/bits-kept-pool"), backend(OPS[op])
    (implementation,) = honest.implementations(op)

    def other_nan(**given: Any) -> Any:
        y, state = implementation.fn(**given)
        before = bits(state).copy()
        state[np.isnan(state)] = np.array(0xFFC12345, np.uint32).view(np.float32)
        changed.append((bits(state) != before).any())
        return y, state

    changed: list[bool] = []
    assert perform(case, replace(honest, ops={op: replace(implementation, fn=other_nan)})).status == "pass"
    assert changed == [True]


@pytest.mark.parametrize("name", ["step-next-slot-handed-on", "conv1d-step-next-row-handed-on"])
def test_another_row_s_state_is_seen(name: str) -> None:
    mutant = MUTANTS[name]
    found = perform(find_case(mutant.case_id("float32")), mutant.backend())
    assert found.status == "fail"
    assert "must have the bits of" in found.message
