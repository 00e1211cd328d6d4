"""Every mutant is rejected, and by the case that it names."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from ssm_backends import OPERATORS, ArgumentError, claims_as_data
from ssm_conformance.cases import find_case
from ssm_conformance.checks.subject import Subject
from ssm_conformance.mutants import HONEST, MUTANTS, TABLES, Mutant, backend
from ssm_conformance.mutants.defects.functions import CutScan, SoftplusCut
from ssm_conformance.mutants.defects.gradients import GRADIENTS
from ssm_conformance.mutants.defects.layer_gradients import LAYER_GRADIENTS
from ssm_conformance.mutants.defects.sums import SUMS
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.planning import reason_not_asked
from ssm_conformance.reports.matrix import CHECKS
from ssm_conformance.selftest import pairs, row

IN_TURN = [pair for pair in pairs(fast=True) if pair.name in MUTANTS]
"""Each in one dtype; the command ``ssm-spec selftest`` asks every dtype."""


@pytest.mark.parametrize(("name", "dtype"), IN_TURN, ids=lambda value: value)
def test_the_named_case_rejects_the_mutant(name: str, dtype: str) -> None:
    found = row(name, dtype, None)
    assert found.right, found
    if found.outcome != "rejected":
        assert found.outcome == "lost in rounding"
        assert found.loss is not None
        assert 0 < found.loss.ratio < 1
        assert found.loss.cases > 80
        assert found.loss.drawn == 0


class CutDual(SoftplusCut, Dual):
    pass


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("cut", [0.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("op", ["selective_scan", "selective_state_update", "ssd", "ssd_update"])
def test_a_softplus_is_judged_where_it_bends(
    op: str, cut: float, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong by 0.7 to 3e-4, of steps that no layer starts with and some come to take."""
    scan, dual = CutScan(cut), CutDual(cut)
    kernels = {"selective_scan": scan, "selective_state_update": Step(scan)}
    kernels |= {"ssd": dual, "ssd_update": DualStep(dual)}
    monkeypatch.setitem(
        MUTANTS, "cut", Mutant("cut", None, "Cut.", "extreme/softplus-near", kernels[op], only=(dtype,))
    )
    assert MUTANTS["cut"].op == op
    assert row("cut", dtype, None).outcome == "rejected"


def test_names_are_unique() -> None:
    names = Counter([*HONEST, *(mutant.name for table in TABLES for mutant in table)])
    assert [name for name, count in names.items() if count > 1] == []
    assert set(names) == {*HONEST, *MUTANTS}


@pytest.mark.parametrize("mutant", [m for m in MUTANTS.values() if m.runs_here()], ids=lambda m: m.name)
def test_the_row_of_a_mutant_is_well_formed(mutant: Mutant) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", mutant.name)
    assert mutant.failure is None or 1 <= mutant.failure <= 36
    assert mutant.summary.endswith(".")
    subject = mutant.backend()
    assert claims_as_data(subject)["name"] == mutant.name
    (op,) = subject.implementations(mutant.op)
    for dtype in mutant.dtypes:
        assert reason_not_asked(find_case(mutant.case_id(dtype)), op) is None


def test_there_is_a_mutant_for_each_operator_and_for_each_kind_of_check() -> None:
    assert {mutant.op for mutant in MUTANTS.values()} == set(OPERATORS)
    assert {mutant.check for mutant in MUTANTS.values()} == set(CHECKS)
    assert len(MUTANTS) >= 80


def outputs(name: str, case_id: str) -> dict[str, bytes]:
    case, subject = find_case(case_id), backend(name)
    held = Subject(case, subject, subject.implementations(case.op)[0], subject.adapters[0])
    return {output: item.array.tobytes() for output, item in held.forward(held.call).items()}


@pytest.mark.parametrize("mutant", [*GRADIENTS, *SUMS], ids=lambda mutant: mutant.name)
@pytest.mark.parametrize("recipe", ["packed", "complex", "zoh"])
def test_a_wrong_gradient_leaves_the_outputs_alone(mutant: Mutant, recipe: str) -> None:
    dtype = "bfloat16" if "bfloat16" in mutant.only else "float32"
    case = f"selective_scan/value/{dtype}/{recipe}"
    assert outputs(mutant.name, case) == outputs("sequential", case)


@pytest.mark.parametrize("mutant", LAYER_GRADIENTS, ids=lambda mutant: mutant.name)
def test_a_wrong_gradient_of_a_layer_leaves_its_outputs_alone(mutant: Mutant) -> None:
    case = f"{mutant.op}/value/float32/typical"
    assert outputs(mutant.name, case) == outputs("pytorch-layers", case)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`name` must be one of sequential.*; got 'nonesuch'"):
        backend("nonesuch")


def test_a_mutant_is_a_plugin_like_any_other() -> None:
    from ssm_backends import Plugin, UnavailableError, load

    plugin = Plugin(name="mutant", module="ssm_conformance.mutants.plugin")
    assert load(plugin, "groups-by-repeat").name == "groups-by-repeat"
    with pytest.raises(UnavailableError, match="`device` must name a mutant; got None"):
        load(plugin)


def test_rounding_to_nothing_is_seen() -> None:
    case = find_case("selective_scan/value/float32/typical")
    seen = []
    for name in ("sequential", "state-in-float16"):
        subject = backend(name)
        held = Subject(case, subject, subject.implementations(case.op)[0], subject.adapters[0])
        seen.append(held.forward(held.call)["last_state"].exact)
    assert 0 < np.abs(seen[0] - seen[1]).max() < 1e-2
