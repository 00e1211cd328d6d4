"""Mutants whose gradients lack terms, or sum them in too narrow a format."""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, loaded, rounded, stored
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.mutant import Mutant


class _BiasSumInBfloat16(Honest):
    def over_rows(self, terms: Array, name: str) -> Array:
        if name != "delta_bias":
            return super().over_rows(terms, name)
        total = np.zeros(terms.shape[1], terms.dtype)
        for term in np.moveaxis(terms, 1, 2).reshape(-1, terms.shape[1]):
            total = rounded(total + term, "bfloat16")
        return total


class _RowsRace(Honest):
    def over_rows(self, terms: Array, name: str) -> Array:
        return super().over_rows(terms[-1:] if name == "D" else terms, name)


class _MeanOverRows(Honest):
    def over_rows(self, terms: Array, name: str) -> Array:
        return np.asarray(super().over_rows(terms, name) / max(terms.shape[0], 1))


class _BlockOfChannelsLost(Honest):
    def add(self, terms: Array, axes: tuple[int, ...]) -> Array:
        if axes != (1,):
            return super().add(terms, axes)
        return super().add(terms[:, : max(1, terms.shape[1] - terms.shape[1] % 4)], axes)


class _ChannelsInBfloat16(Honest):
    def add(self, terms: Array, axes: tuple[int, ...]) -> Array:
        if axes != (1,):
            return super().add(terms, axes)
        total = np.zeros(terms.shape[:1] + terms.shape[2:], terms.dtype)
        for term in np.moveaxis(terms, 1, 0):
            total = rounded(total + term, "bfloat16")
        return total


class _LastChunkOnly(Honest):
    def over_rows(self, terms: Array, name: str) -> Array:
        return super().over_rows(terms[:, :, -(terms.shape[2] % 16) :] if name == "D" else terms, name)


class _ModesOfFirstRow(Honest):
    def slope_modes(self, p: Problem, s: Array, dp: Array, held: Array) -> Array:
        return super().slope_modes(p, s, dp, held)[:1]


class _FeedthroughNotDifferentiated(Honest):
    def through_gate(self, p: Problem, r: Array, last: Array) -> dict[str, Array]:
        total = super().through_gate(p, r, last)
        if p.D is not None:
            total["u"] = total["u"] - p.D[:, None] * self.gate(p, r)
        return total


class _GateNotDifferentiated(Honest):
    def through_gate(self, p: Problem, r: Array, last: Array) -> dict[str, Array]:
        total = super().through_gate(p, r, last)
        if p.D is not None:
            total["D"] = self.over_rows(r * p.u, "D")
        return total


class _SavedGateUndeclared(Honest):
    def saved(self, p: Problem, v: Array) -> Array:
        return loaded(stored(v, p.io), p.compute)


class _AdjointInBfloat16(Honest):
    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        return rounded(super().carry_back(p, t, adjoint), "bfloat16")


class _StepThroughStateOnly(Honest):
    def hold_slope(self, p: Problem, t: int) -> Array:
        return np.zeros_like(p.step_at(t))


SUMS: Final = (
    Mutant(
        "bias-sum-in-bfloat16",
        None,
        "The gradient of delta_bias is accumulated in bfloat16.",
        "gradient/typical",
        _BiasSumInBfloat16(),
    ),
    Mutant(
        "rows-race",
        16,
        "The rows of the batch overwrite each other's gradient of D: the last one stays.",
        "gradient/typical",
        _RowsRace(),
    ),
    Mutant(
        "mean-over-rows",
        None,
        "Gradients of D and delta_bias are means over the batch.",
        "gradient/typical",
        _MeanOverRows(),
    ),
    Mutant(
        "block-of-channels-lost",
        None,
        "The gradients of B and C lack the last, partial block of channels.",
        "gradient/typical",
        _BlockOfChannelsLost(),
    ),
    Mutant(
        "channels-in-bfloat16",
        None,
        "The gradients of B and C are accumulated over channels in bfloat16.",
        "gradient/typical",
        _ChannelsInBfloat16(),
    ),
    Mutant(
        "last-chunk-only",
        16,
        "The gradient of D is that of the last chunk: the others were overwritten.",
        "gradient/typical",
        _LastChunkOnly(),
    ),
    Mutant(
        "modes-of-first-row",
        17,
        "The gradient of A is that of the first row of the batch.",
        "gradient/typical",
        _ModesOfFirstRow(),
    ),
    Mutant(
        "feedthrough-not-differentiated",
        17,
        "The gradient of u does not pass through D.",
        "gradient/typical",
        _FeedthroughNotDifferentiated(),
    ),
    Mutant(
        "gate-not-differentiated",
        17,
        "The gradient of D does not pass through the gate.",
        "gradient/typical",
        _GateNotDifferentiated(),
    ),
    Mutant(
        "saved-gate-undeclared",
        None,
        "The output before the gate is kept in the input's dtype, and not declared so.",
        "gradient/typical",
        _SavedGateUndeclared(),
        only=("bfloat16", "float16"),
    ),
    Mutant(
        "adjoint-in-bfloat16",
        22,
        "The adjoint state is kept in bfloat16 from step to step.",
        "gradient/typical",
        _AdjointInBfloat16(),
    ),
    Mutant(
        "step-through-state-only",
        17,
        "The gradient of Δ does not pass through what is added to the state.",
        "gradient/typical",
        _StepThroughStateOnly(),
    ),
)
"""Sums that are not."""
