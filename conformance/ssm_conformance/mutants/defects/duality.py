"""Mutants of SSD, of its form by matrix products, and of its step."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual, DualForm, Limits
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.mutant import Mutant


class _LimitsIgnored(Dual):
    def limited(self, free: Array, limits: Limits) -> Array:
        return free


class _GroupsByRepeat(Dual):
    def grouped(self, M: Array, h: int) -> Array:
        return super().grouped(np.take(M, np.arange(h) % M.shape[2], axis=2), h)


class _SkipOfFirstChannel(Dual):
    def skip(self, D: Array, p: int) -> Array:
        return super().skip(D if D.ndim == 1 else D[:, 0], p)


class _ResetsIgnored(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return np.zeros_like(seq_idx)


class _SlopeBeyondLimits(Dual):
    def slope(self, raw: Array, softplus: bool, limits: Limits) -> Array:
        return super().slope(raw, softplus, (-inf, inf))


class _NoSlopeAtLimits(Dual):
    def slope(self, raw: Array, softplus: bool, limits: Limits) -> Array:
        free = self.free_step(raw, softplus)
        at = (free == limits[0]) | (free == limits[1])
        return np.where(at, 0, super().slope(raw, softplus, limits))


class _HeadsRace(Dual):
    def over_width(self, terms: Array) -> Array:
        return super().over_width(terms[..., -1:])


class _MaskAfterExponential(DualForm):
    def between(self, p: Array, seen: Array) -> Array:
        return self.exp(p[..., :, None] - p[..., None, :]) * seen


class _RatioOfExponentials(DualForm):
    def between(self, p: Array, seen: Array) -> Array:
        grown = self.exp(p)
        return np.where(seen, grown[..., :, None] / grown[..., None, :], 0)


class _OwnStepMissing(DualForm):
    def seen(self, number: Array) -> Array:
        return np.tril(super().seen(number), -1)


class _ChunksNotJoined(DualForm):
    def carried(self, state: Array, added: Array, through: Array) -> Array:
        return added


class _StateNotDecayed(DualForm):
    def carried(self, state: Array, added: Array, through: Array) -> Array:
        return super().carried(state, added, np.where(through > 0, 1, through))


class _OperandsInBfloat16(DualForm):
    def product(self, a: Array, b: Array) -> Array:
        return super().product(rounded(a, "bfloat16"), rounded(b, "bfloat16"))


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel, **more: Any
) -> Mutant:
    return Mutant(f"ssd-{name}", failure, summary, rejected_by, kernel, **more)


DUALITY: Final = (
    _mutant("limits-ignored", None, "Δ is not clamped to dt_limit.", "value/limits", _LimitsIgnored()),
    _mutant("groups-by-repeat", 1, "Head i reads group i mod g.", "value/groups", _GroupsByRepeat()),
    _mutant(
        "skip-of-first-channel", None, "D of a head's first channel serves all of them.", "value/wide-skip",
        _SkipOfFirstChannel(),
    ),
    _mutant(
        "resets-ignored", 27, "States leak from one packed sequence into the next.",
        "property/packing-packed", _ResetsIgnored(),
    ),
    _mutant(
        "slope-beyond-limits", None, "The gradient of dt passes where Δ is clamped.", "gradient/limits",
        _SlopeBeyondLimits(),
    ),
    _mutant(
        "no-slope-at-limits", None, "The gradient of dt does not pass where Δ is a limit.",
        "gradient/at-limits", _NoSlopeAtLimits(), only=("float32",),
    ),
    _mutant(
        "step-no-slope-at-limits", None, "The gradient of a step's dt does not pass where Δ is a limit.",
        "gradient/at-limits", DualStep(_NoSlopeAtLimits()), only=("float32",),
    ),
    _mutant(
        "heads-race", 16, "Channels of a head overwrite each other's gradient of Δ.", "gradient/typical",
        _HeadsRace(),
    ),
    _mutant(
        "mask-after-exponential", 13, "What lies ahead is masked after the exponential, which overflows.",
        "extreme/strong-decay", _MaskAfterExponential(),
    ),
    _mutant(
        "ratio-of-exponentials", 20, "Decays are exp(p_t)/exp(p_s): zero by zero where they underflow.",
        "extreme/strong-decay", _RatioOfExponentials(),
    ),
    _mutant(
        "own-step-missing", None, "A step does not see its own input.", "value/typical", _OwnStepMissing()
    ),
    _mutant("chunks-not-joined", 2, "Every chunk starts from nothing.", "value/long", _ChunksNotJoined()),
    _mutant(
        "state-not-decayed", 2, "The state passes from chunk to chunk without its decay.", "value/long",
        _StateNotDecayed(),
    ),
    _mutant(
        "operands-in-bfloat16", None, "Operands of the matrix products are rounded to bfloat16, undeclared.",
        "value/typical", _OperandsInBfloat16(),
    ),
    _mutant(
        "step-other-limits", 3, "A step does not clamp Δ, where the scan does.", "value/limits",
        DualStep(_LimitsIgnored()),
    ),
    _mutant(
        "step-groups-by-repeat", 1, "Head i of a step reads group i mod g.", "property/chain-groups",
        DualStep(_GroupsByRepeat()),
    ),
)  # fmt: skip
"""Defects of SSD."""
