"""Every mutant is rejected, and by the case that it names."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from ssm_backends import ArgumentError, claims_as_data
from ssm_conformance.cases import find_case
from ssm_conformance.checks import perform
from ssm_conformance.checks.subject import Subject
from ssm_conformance.mutants import MUTANTS, Mutant, backend
from ssm_conformance.mutants.gradients import GRADIENTS
from ssm_conformance.mutants.interface import INTERFACE
from ssm_conformance.mutants.rounding import ROUNDING
from ssm_conformance.mutants.steps import STEPS
from ssm_conformance.mutants.structure import STRUCTURE
from ssm_conformance.planning import reason_not_asked

TABLES = (STRUCTURE, ROUNDING, GRADIENTS, INTERFACE, STEPS)
LOST = {("softplus-cut", "float32"), ("softplus-cut", "bfloat16")}
"""Computed by the self-test, not granted: see test_selftest.py."""
PAIRS = [
    pytest.param(mutant, dtype, id=f"{name}-{dtype}")
    for name, mutant in MUTANTS.items()
    for dtype in mutant.dtypes
    if (name, dtype) not in LOST
]


@pytest.mark.parametrize(("mutant", "dtype"), PAIRS)
def test_the_named_case_rejects_the_mutant(mutant: Mutant, dtype: str) -> None:
    verdict = perform(find_case(mutant.case_id(dtype)), mutant.backend())
    assert verdict.status == "fail", verdict.message
    assert verdict.message


def test_names_are_unique() -> None:
    names = Counter(mutant.name for table in TABLES for mutant in table)
    assert [name for name, count in names.items() if count > 1] == []
    assert set(names) == set(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_the_row_of_a_mutant_is_well_formed(mutant: Mutant) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", mutant.name)
    assert mutant.failure is None or 1 <= mutant.failure <= 36
    assert mutant.summary.endswith(".")
    subject = mutant.backend()
    assert claims_as_data(subject)["name"] == mutant.name
    (op,) = subject.implementations(mutant.op)
    for dtype in mutant.dtypes:
        assert reason_not_asked(find_case(mutant.case_id(dtype)), op) is None


def test_there_is_a_mutant_for_each_kind_of_check() -> None:
    checks = {mutant.rejected_by.partition("/")[0] for mutant in MUTANTS.values()}
    assert checks == {
        "value",
        "gradient",
        "property",
        "memory",
        "determinism",
        "robustness",
        "extreme",
        "error",
    }


@pytest.mark.parametrize("mutant", GRADIENTS, ids=[mutant.name for mutant in GRADIENTS])
@pytest.mark.parametrize("recipe", ["typical", "packed", "complex", "zoh"])
def test_a_wrong_gradient_leaves_the_outputs_alone(mutant: Mutant, recipe: str) -> None:
    case = find_case(f"selective_scan/value/float32/{recipe}")
    found = []
    for subject in (backend("honest"), mutant.backend()):
        held = Subject(case, subject, subject.implementations(case.op)[0], subject.adapters[0])
        found.append(held.forward(held.call))
    honest, wrong = found
    for name, item in honest.items():
        np.testing.assert_array_equal(wrong[name].array, item.array)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`name` must be one of honest.*; got 'nonesuch'"):
        backend("nonesuch")
