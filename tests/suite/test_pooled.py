"""What a NaN in a pool may reach is what it reaches in a step without a defect, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from ssm_conformance.cases import find_case
from ssm_conformance.checks.perturb import bits, spoil
from ssm_conformance.checks.pooled import Pool, reaches
from ssm_conformance.checks.subject import Subject
from ssm_conformance.mutants import backend

STEP = "selective_state_update/extreme/float32/confinement-"
DUAL = "ssd_update/extreme/float32/confinement-"
CONVOLUTION = "causal_conv1d_update/extreme/float32/confinement-"


def subject(case_id: str, name: str) -> Subject:
    case, given = find_case(case_id), backend(name)
    return Subject(case, given, given.implementations(case.op)[0], given.adapters[0])


def test_rows_and_slots_of_every_kind_are_asked() -> None:
    pool = Pool(np.array([4, -1, 0, 2, -1, -1]), 6)
    assert pool.along("b") == (0, 3, 1, 5)
    assert pool.along("r") == (4, 2, 1, 5)
    assert Pool(np.array([1, 0]), 2).along("r") == (1, 0)
    assert Pool(np.array([-1]), 2).along("b") == (0,)
    assert Pool(np.array([1, 0, 2]), 3).along("b") == (0, 2)


@pytest.mark.parametrize(
    "name", ["typical", "groups", "complex", "pool", "pool-inplace", "pool-inplace-skipping"]
)
def test_of_a_scan_s_step_exactly_what_may_move_does(name: str) -> None:
    asked = subject(STEP + name, "sequential")
    before = asked.forward(asked.into(asked.stored))
    seen = set()
    for chosen, kept, place in reaches(asked):
        seen |= set(chosen)
        after = asked.forward(asked.into(spoil(asked.stored, chosen, "nan")))
        for output, mask in kept.items():
            moved = bits(before[output].array) != bits(after[output].array)
            assert np.array_equal(moved, np.broadcast_to(~mask, moved.shape)), (place, output)
    assert seen == {"state", "u", "delta", "A", "B", "C", "D", "z", "delta_bias"}


@pytest.mark.parametrize("name", ["typical", "groups", "pool", "pool-inplace-skipping"])
def test_of_a_step_of_heads_exactly_what_may_move_does(name: str) -> None:
    asked = subject(DUAL + name, "ssd-steps")
    before = asked.forward(asked.into(asked.stored))
    seen = set()
    for chosen, kept, place in reaches(asked):
        seen |= set(chosen)
        after = asked.forward(asked.into(spoil(asked.stored, chosen, "nan")))
        for output, mask in kept.items():
            moved = bits(before[output].array) != bits(after[output].array)
            assert np.array_equal(moved, np.broadcast_to(~mask, moved.shape)), (place, output)
    assert seen == {"state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias"}


@pytest.mark.parametrize("name", ["pool", "pool-longer", "served"])
def test_a_convolution_s_step_lets_no_more_move(name: str) -> None:
    asked = subject(CONVOLUTION + name, "linear")
    idle = int(np.flatnonzero(~Pool.of(asked).named)[0])
    for chosen, kept, _ in reaches(asked):
        if "state" in chosen and chosen["state"][idle].any():
            assert kept["y"].all()
            assert (~kept["state"]).sum() == 1, "a slot that nobody names keeps all but the element itself"
        elif "x" in chosen:
            row = int(np.argwhere(chosen["x"])[0, 0])
            assert kept["y"].all() == (asked.stored["state_indices"].array[row] < 0)
