"""Mutants of the single step."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.adjoint import Honest
from ssm_conformance.mutants.bits import Array, rounded
from ssm_conformance.mutants.mutant import Mutant
from ssm_conformance.mutants.rounding import SoftplusNaive
from ssm_conformance.mutants.step import Step
from ssm_conformance.mutants.structure import GroupsByRepeat


class _OtherLimits(Honest):
    def step_size(self, x: Array, softplus: bool) -> Array:
        return np.clip(super().step_size(x, softplus), 1e-3, 0.1)


class _KeptInBfloat16(Step):
    def kept(self, h: Array) -> Array:
        return rounded(h, "bfloat16")


class _WritesState(Step):
    def target(self, state: Array, inplace: bool) -> Array:
        return state


class _ReadsOldState(Step):
    def read_state(self, before: Array, h: Array) -> Array:
        return before


class _SkippedRowWritten(Step):
    def rows_and_slots(self, state_indices: Any, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(None, b)
        return rows, slots if state_indices is None else state_indices


STEPS: Final = (
    Mutant(
        "step-groups-by-repeat",
        1,
        "Groups of B and C are expanded by repetition: channel i reads group i mod g.",
        "value/groups",
        Step(GroupsByRepeat()),
    ),
    Mutant(
        "step-softplus-naive",
        10,
        "softplus is log(exp(x) + 1): all of it is lost for small exp(x), and it overflows for large x.",
        "extreme/softplus-small",
        Step(SoftplusNaive()),
    ),
    Mutant(
        "step-other-limits",
        3,
        "Decoding clamps Δ to limits that the scan does not have.",
        "property/chain-typical",
        Step(_OtherLimits()),
    ),
    Mutant(
        "step-state-in-bfloat16",
        22,
        "The new state is rounded to bfloat16: a chain of steps drifts from the scan.",
        "property/chain-typical",
        _KeptInBfloat16(Honest()),
    ),
    Mutant(
        "step-writes-state",
        None,
        "The state is updated in place where that is not asked for.",
        "robustness/inputs-unchanged-typical",
        _WritesState(Honest()),
    ),
    Mutant(
        "step-reads-old-state",
        25,
        "The output is read from the state before the step.",
        "value/typical",
        _ReadsOldState(Honest()),
    ),
    Mutant(
        "step-skipped-row-written",
        26,
        "An index of −1 does not skip the row: it writes the last slot of the pool.",
        "value/pool",
        _SkippedRowWritten(Honest()),
    ),
)
"""Defects of the step."""
