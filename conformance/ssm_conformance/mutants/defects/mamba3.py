"""Mutants of Mamba-3's recurrence and of its step."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.mamba3 import Siso, SisoStep
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.mutant import Mutant


class _TurnsBackwards(Siso):
    def rotated(self, x: Array, theta: Array) -> Array:
        return super().rotated(x, -theta)


class _TurnsHalves(Siso):
    def rotated(self, x: Array, theta: Array) -> Array:
        a = theta.shape[-1]
        first, second = x[..., :a], x[..., a : 2 * a]
        cos, sin = np.cos(theta), np.sin(theta)
        pair = [first * cos - second * sin, first * sin + second * cos]
        return np.concatenate([*pair, x[..., 2 * a :]], axis=-1)


class _TanhForgotten(Siso):
    def turn(self, step: Array, angle: Array) -> Array:
        return np.asarray(step[..., None] * np.pi * angle).astype(angle.dtype)


class _GroupsByRepeat(Siso):
    def of_heads(self, x: Array, bias: Array) -> Array:
        return np.asarray(np.take(x, np.arange(len(bias)) % x.shape[1], axis=1) + bias)


class _BiasForgotten(Siso):
    def of_heads(self, x: Array, bias: Array) -> Array:
        return super().of_heads(x, np.zeros_like(bias))


class _EarlyNotDecayed(Siso):
    def early(self, share: Array, step: Array, decay: Array) -> Array:
        return (1 - share) * step


class _ResetsIgnored(Siso):
    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        return None


class _ReducedModuloPi(Siso):
    def returned(self, theta: Array) -> Array:
        return np.mod(theta, np.pi).astype(theta.dtype)


class _EarlySourceNotDifferentiated(SisoAdjoint):
    def of_before(self, early: Array, of_key: Array, of_value: Array) -> tuple[Array, Array]:
        return np.zeros_like(of_key), np.zeros_like(of_value)


class _EarlyWeightNotDifferentiated(SisoAdjoint):
    def of_weights(self, d_late: Array, d_early: Array) -> tuple[Array, Array]:
        return d_late, np.zeros_like(d_early)


class _NotTurnedBack(SisoAdjoint):
    def turned_back(self, cotangent: Array, theta: Array) -> Array:
        return self.rotated(cotangent, theta)


class _AngleOfOneStep(SisoAdjoint):
    def carried_angle(self, dtheta: Array) -> Array:
        return np.zeros_like(dtheta)


class _GradientCrossesReset(SisoAdjoint):
    def cut_back(self, fresh: Array | None, states: list[Array]) -> list[Array]:
        return states


class _AngleCrossesReset(SisoAdjoint):
    def cut_back(self, fresh: Array | None, states: list[Array]) -> list[Array]:
        return [states[0], *super().cut_back(fresh, states)[1:]]


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel, **more: Any
) -> Mutant:
    return Mutant(f"mamba3-{name}", failure, summary, rejected_by, kernel, **more)


MAMBA3: Final = (
    _mutant("turns-backwards", None, "Pairs turn the other way.", "value/typical", _TurnsBackwards()),
    _mutant(
        "turns-halves", None, "Pairs are halves of a vector, not neighbours.", "value/typical",
        _TurnsHalves(),
    ),
    _mutant("tanh-forgotten", None, "Angles are not bounded by tanh.", "value/typical", _TanhForgotten()),
    _mutant("groups-by-repeat", 1, "Head i reads group i mod g.", "value/groups", _GroupsByRepeat()),
    _mutant("bias-forgotten", None, "q and k have no bias.", "value/typical", _BiasForgotten()),
    _mutant(
        "early-not-decayed", None, "What the step before gives is not decayed.", "value/typical",
        _EarlyNotDecayed(),
    ),
    _mutant(
        "resets-ignored", 27, "States leak into the next sequence.", "property/packing-packed",
        _ResetsIgnored(),
    ),
    _mutant("reduced-modulo-pi", None, "θ is returned modulo π.", "value/many-turns", _ReducedModuloPi()),
    _mutant(
        "early-source-not-differentiated", 17, "Nothing flows back to the step before's key and value.",
        "gradient/typical", _EarlySourceNotDifferentiated(),
    ),
    _mutant(
        "early-weight-not-differentiated", 17, "The weight (1 − λ)Δα has no gradient.", "gradient/typical",
        _EarlyWeightNotDifferentiated(),
    ),
    _mutant(
        "not-turned-back", 17, "Cotangents of keys and queries are turned by θ, not by −θ.",
        "gradient/typical", _NotTurnedBack(),
    ),
    _mutant(
        "angle-of-one-step", 17, "The gradient of an angle is that of its own step alone.",
        "gradient/typical", _AngleOfOneStep(),
    ),
    _mutant(
        "gradient-crosses-reset", 27, "Gradients flow from one packed sequence into the one before.",
        "gradient/packed", _GradientCrossesReset(),
    ),
    _mutant(
        "angle-crosses-reset", 27, "The sum of the angles' gradients runs on across a reset.",
        "gradient/packed", _AngleCrossesReset(),
    ),
    _mutant(
        "step-not-turned-back", 17, "A step turns cotangents by θ, not by −θ.", "gradient/typical",
        SisoAdjointStep(_NotTurnedBack()),
    ),
    _mutant(
        "step-turns-backwards", None, "A step turns pairs the other way.", "property/chain-typical",
        SisoStep(_TurnsBackwards()),
    ),
)  # fmt: skip
"""Defects of Mamba-3."""
