"""Mutants whose outputs are right and whose gradients are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.mutant import Mutant


class _MaskAfterExponential(Honest):
    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        not_causal = self.exp(-p.step_at(t) * p.A)
        return np.asarray(super().carry_back(p, t, adjoint) + 0 * not_causal)


class _GroupSizeMissing(Honest):
    def over_groups(self, wide: Array, g: int) -> Array:
        return np.repeat(super().over_groups(wide, 1), g, axis=1)


class GroupsByProduct(Honest):
    """Gradients of groups are put next to each other by a product with zeros and ones."""

    def over_groups(self, wide: Array, g: int) -> Array:
        """Sums over the channels of each group."""
        found = super().over_groups(wide, g)
        with np.errstate(invalid="ignore"):
            return np.asarray(found + 0 * found.sum(1, keepdims=True))


class _PackedLacksExponential(Honest):
    def reaching_input(self, p: Problem, t: int, adjoint: Array, below: Array) -> Array:
        if not p.reset.any() and p.offsets is None:
            return below
        return self.forget((p.step_at(t) * p.A).conj() * adjoint, p.reset[:, t])


class _AdjointsOfChannelsLeak(Honest):
    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        below = super().carry_back(p, t, adjoint)
        return np.asarray(below + 0 * below.sum(1, keepdims=True))


class _AdjointsOfRowsLeak(Honest):
    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        below = super().carry_back(p, t, adjoint)
        return np.asarray(below + 0 * below.sum(0, keepdims=True))


class _AdjointNotConjugated(Honest):
    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        return self.forget(self.decay(p, t) * adjoint, p.reset[:, t])


class _StateNotConjugated(Honest):
    def slope_output(self, p: Problem, t: int, q: Array, h: Array) -> Array:
        return p.gamma * q * h


class _LastStateDropped(Honest):
    def cotangent(self, cotangents: Mapping[str, Any], name: str, like: Array, compute: str) -> Array:
        return super().cotangent({} if name == "last_state" else cotangents, name, like, compute)


class _InitialNotDecayed(Honest):
    def slope_initial(self, below: Array, first: Array) -> Array:
        return first


class _CrossesReset(Honest):
    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        return self.decay(p, t).conj() * adjoint


class _GateSlopeIncomplete(Honest):
    def gate_slope(self, z: Array) -> Array:
        return self.sigmoid(z)


class _StepSlopeForgotten(Honest):
    def step_slope(self, p: Problem) -> Array:
        return np.ones_like(p.x)


class _HoldSlopeOfEuler(Honest):
    def hold_slope(self, p: Problem, t: int) -> Array:
        return np.ones_like(p.step_at(t))


class _HoldIgnoresModes(Honest):
    def slope_modes(self, p: Problem, s: Array, dp: Array, held: Array) -> Array:
        return s * dp


class _PsiCancels(Honest):
    def psi(self, x: Array) -> Array:
        return np.where(x == 0, 0.5, (x * np.exp(x) - np.expm1(x)) / np.where(x == 0, 1, x * x))


GRADIENTS: Final = (
    Mutant(
        "mask-after-exponential",
        13,
        "Decays of the wrong sign are masked by zero after they overflow: the gradient is NaN.",
        "extreme/gradient-forget-and-recover",
        _MaskAfterExponential(),
    ),
    Mutant(
        "adjoints-of-channels-leak",
        None,
        "The adjoint of a channel adds zero times the sum of all: a NaN reaches every channel's gradient.",
        "extreme/confinement-gradients-typical",
        _AdjointsOfChannelsLeak(),
    ),
    Mutant(
        "adjoints-of-rows-leak",
        None,
        "The adjoint of a row adds zero times the sum of all: a NaN reaches every row's gradient.",
        "extreme/confinement-gradients-typical",
        _AdjointsOfRowsLeak(),
    ),
    Mutant(
        "group-size-missing",
        14,
        "The gradients of B and C are summed over all channels, for every group.",
        "gradient/groups",
        _GroupSizeMissing(),
    ),
    Mutant(
        "groups-by-product",
        None,
        "The gradients of B and C add zero times the sum of all groups: a NaN reaches every group's.",
        "extreme/confinement-gradients-groups",
        GroupsByProduct(),
        only=("float32",),
    ),
    Mutant(
        "packed-lacks-exponential",
        15,
        "With packed sequences the gradient of B is carried by ΔA in place of exp(ΔA).",
        "gradient/packed",
        _PackedLacksExponential(),
    ),
    Mutant(
        "adjoint-not-conjugated",
        18,
        "The adjoint recurrence multiplies by a, not by its conjugate.",
        "gradient/complex",
        _AdjointNotConjugated(),
    ),
    Mutant(
        "state-not-conjugated",
        18,
        "The gradient of C has the state, not its conjugate.",
        "gradient/complex",
        _StateNotConjugated(),
    ),
    Mutant(
        "last-state-dropped",
        19,
        "The cotangent of the last state is dropped.",
        "gradient/typical",
        _LastStateDropped(),
    ),
    Mutant(
        "initial-gradient-not-decayed",
        None,
        "The gradient of the initial state lacks the decay of the first step.",
        "gradient/initial",
        _InitialNotDecayed(),
    ),
    Mutant(
        "gradient-crosses-reset",
        27,
        "The adjoint state is not cut at a reset.",
        "gradient/packed",
        _CrossesReset(),
    ),
    Mutant(
        "gate-slope-incomplete",
        17,
        "The gradient of z lacks the derivative of the sigmoid.",
        "gradient/gate-only",
        _GateSlopeIncomplete(),
    ),
    Mutant(
        "step-slope-forgotten",
        17,
        "The gradient of delta does not pass through softplus.",
        "gradient/typical",
        _StepSlopeForgotten(),
    ),
    Mutant(
        "hold-slope-of-euler",
        None,
        "The gradient of Δ through the exact hold is that of the Euler rule.",
        "gradient/zoh",
        _HoldSlopeOfEuler(),
    ),
    Mutant(
        "hold-ignores-modes",
        None,
        "The gradient of A does not pass through the exact hold.",
        "gradient/zoh",
        _HoldIgnoresModes(),
    ),
    Mutant(
        "psi-cancels",
        11,
        "The slope of the exact hold in A is a difference of nearly equal numbers.",
        "gradient/zoh-near-zero",
        _PsiCancels(),
    ),
)
"""Wrong gradients."""
