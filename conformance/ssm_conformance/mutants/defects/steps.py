"""Mutants of the single step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF
from ssm_conformance.mutants.defects.functions import SoftplusNaive
from ssm_conformance.mutants.defects.structure import GroupsByMatrix, GroupsByRepeat
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


class _OtherLimits(Honest):
    def step_size(self, x: Array, softplus: bool) -> Array:
        return np.clip(super().step_size(x, softplus), 1e-3, 0.1)


class _RatesByMatrix(Honest):
    def matrix(self, A: Array) -> Array:
        return np.asarray(np.einsum("de,en->dn", np.eye(len(A), dtype=A.dtype), A))


class _KeptInBfloat16(Step):
    def kept(self, h: Array, dtype: str) -> Array:
        return rounded(h, "bfloat16")


class _HalfStateTruncated(Step):
    def kept(self, h: Array, dtype: str) -> Array:
        near = rounded(h, dtype) if dtype in HALF else h
        return np.where(np.abs(near) > np.abs(h), near - np.sign(h) * _ulp(near, dtype), near)


class _HalfStateReadBack(Step):
    def read_state(self, before: Array, h: Array, dtype: str) -> Array:
        return rounded(h, dtype) if dtype in HALF else h


class _HalfStateRoundedTwice(Step):
    def advanced(self, p: Problem, dtype: str) -> Array:
        decayed, h = self.kernel.advance(p, 0, p.initial)
        return rounded(decayed, dtype) + rounded(h - decayed, dtype) if dtype in HALF else h


class _ReadsOldState(Step):
    def read_state(self, before: Array, h: Array, dtype: str) -> Array:
        return before


class _SkippedRowWritten(Step):
    def rows_and_slots(self, state_indices: Any, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(None, b)
        return rows, slots if state_indices is None else state_indices


class _OtherSlotsCleared(Step):
    def target(self, state: Array, inplace: bool) -> Array:
        return state if inplace else np.zeros_like(state)


class _SkippedRowComputed(Step):
    def rows_and_slots(self, state_indices: Any, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None if state_indices is None else np.maximum(state_indices, 0), b)


class _PoolUnclaimed(Step):
    def rows_and_slots(self, state_indices: Any, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None, b)


class _OtherRule(Honest):
    def hold(self, p: Problem, t: int) -> Array:
        return super().hold(replace(p, zoh=not p.zoh), t)


class _FeedthroughAfterGate(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        return self.feed(p, self.gate(p, v))


class _StateGradientNotDecayed(Honest):
    def slope_initial(self, below: Array, first: Array) -> Array:
        return first


class _NewStateDropped(Step):
    def cotangent(self, cotangents: Mapping[str, Any], name: str, like: Array, compute: str) -> Array:
        return super().cotangent({} if name == "state" else cotangents, name, like, compute)


class _StatesSummedInBfloat16(Honest):
    def contract(self, C: Array, h: Array) -> Array:
        return rounded(super().contract(C, h), "bfloat16")


def _ulp(x: Array, dtype: str) -> Array:
    """The distance between neighbours there, in a 16-bit dtype."""
    bits = 8 if dtype == "bfloat16" else 11
    return np.asarray(np.ldexp(1.0, np.frexp(x)[1] - bits)).astype(x.dtype)


STEPS: Final = (
    Mutant(
        "step-groups-by-repeat",
        1,
        "Groups of B and C are expanded by repetition: channel i reads group i mod g.",
        "value/groups",
        Step(GroupsByRepeat()),
    ),
    Mutant(
        "step-groups-by-matrix",
        None,
        "Groups are expanded by a product with a matrix of zeros and ones: 0 · NaN reaches every channel.",
        "extreme/confinement-groups",
        Step(GroupsByMatrix()),
    ),
    Mutant(
        "step-rates-by-matrix",
        None,
        "Rates are put to their channels by a product with zeros and ones: 0 · NaN reaches every channel.",
        "extreme/confinement-typical",
        Step(_RatesByMatrix()),
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
        "step-half-state-truncated",
        None,
        "A state in 16 bits is cut off where it is to be rounded to the nearest.",
        "value/half-state",
        _HalfStateTruncated(Honest()),
    ),
    Mutant(
        "step-half-state-read-back",
        None,
        "The output is read from the state after it was rounded to 16 bits.",
        "value/half-state",
        _HalfStateReadBack(Honest()),
    ),
    Mutant(
        "step-half-state-rounded-twice",
        None,
        "The decayed state and the new input are each rounded to the state's 16 bits, then their sum.",
        "value/half-state",
        _HalfStateRoundedTwice(Honest()),
    ),
    Mutant(
        "step-reads-old-state",
        25,
        "The output is read from the state before the step.",
        "value/typical",
        _ReadsOldState(Honest()),
    ),
    Mutant(
        "step-other-slots-cleared",
        26,
        "Slots of the pool that no row names come back as zeros.",
        "value/pool",
        _OtherSlotsCleared(Honest()),
    ),
    Mutant(
        "step-skipped-row-computed",
        28,
        "A skipped row is computed from slot 0.",
        "value/pool",
        _SkippedRowComputed(Honest()),
    ),
    Mutant(
        "step-unclaimed-ignored",
        36,
        "state_indices is taken, is not claimed, and is ignored.",
        "error/unclaimed-state_indices",
        _PoolUnclaimed(Honest()),
        only=("float32",),
        claims={"features": ("complex", "grouped", "zoh")},
    ),
    Mutant("step-other-rule", 9, "B is discretised by the other rule.", "value/zoh", Step(_OtherRule())),
    Mutant(
        "step-feedthrough-after-gate",
        9,
        "D u is added after the gate.",
        "value/typical",
        Step(_FeedthroughAfterGate()),
    ),
    Mutant(
        "step-state-gradient-not-decayed",
        17,
        "The gradient of the state lacks the decay.",
        "gradient/typical",
        Step(_StateGradientNotDecayed()),
    ),
    Mutant(
        "step-new-state-dropped",
        19,
        "The cotangent of the new state is dropped.",
        "gradient/typical",
        _NewStateDropped(Honest()),
    ),
    Mutant(
        "step-output-in-bfloat16",
        12,
        "The sum over states is rounded to bfloat16.",
        "value/typical",
        Step(_StatesSummedInBfloat16()),
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
