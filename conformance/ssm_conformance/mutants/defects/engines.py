"""Mutants of steps as engines call them: indices of other widths, long states, zeros that lose their sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.pooled import Pooled
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


class _NoneSkipped(Pooled):
    """−1 of int32 is compared with an index of int64: never equal."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None and state_indices.dtype == np.int64:
            return np.arange(b), state_indices
        return super().rows_and_slots(state_indices, b)


class _NoneSkippedOfScan(_NoneSkipped, Step):
    pass


class _NoneSkippedOfConvolution(_NoneSkipped, ShortConvolutionStep):
    pass


class _ShortSlots(Step):
    """Slots are kept in 16 bits."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None if state_indices is None else state_indices.astype(np.int16), b)


class _ShortSlotsOfConvolution(ShortConvolutionStep):
    """Slots are kept in 16 bits, but for −1 without a sign."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None:
            state_indices = np.where(state_indices < 0, state_indices, state_indices & 0xFFFF)
        return super().rows_and_slots(state_indices, b)


class _AddedToThePool(Pooled):
    """What is new is added to a pool from which what was there is taken: elsewhere zero is added."""

    def target(self, state: Array, inplace: bool) -> Array:
        target = super().target(state, inplace)
        target += 0.0
        return target


class _AddedToThePoolOfScan(_AddedToThePool, Step):
    pass


class _AddedToThePoolOfConvolution(_AddedToThePool, ShortConvolutionStep):
    pass


class _NextSlotHandedOn(Step):
    """A slot that no row names gets the state of the next one."""

    def target(self, state: Array, inplace: bool) -> Array:
        target = super().target(state, inplace)
        target[...] = np.roll(target, -1, axis=0)
        return target


class _NextRowHandedOn(ShortConvolutionStep):
    """What a state holds from before is the next row's."""

    def shifted(self, line: Array, v: int) -> Array:
        new = super().shifted(line, v).copy()
        new[..., :-1] = np.roll(new[..., :-1], -1, axis=0)
        return new


class _ShiftedBySum(ShortConvolutionStep):
    """A state is shifted by a product with a matrix of zeros and ones, in which no zero has a sign."""

    def shifted(self, line: Array, v: int) -> Array:
        return super().shifted(line, v) + 0


class _OldestStay(ShortConvolutionStep):
    """Of a state 64 inputs are shifted."""

    def shifted(self, line: Array, v: int) -> Array:
        new = super().shifted(line, v).copy()
        old = max(new.shape[-1] - max(64, v), 0)
        new[..., :old] = line[..., :old]
        return new


class _OldestPassNothingOn(ShortConvolutionStep):
    """Backwards, of the inputs that are not read 16 are shifted."""

    def handed_on(self, r: Array) -> Array:
        found = r.copy()
        found[..., : max(r.shape[-1] - 16, 0)] = 0
        return found


class _InPlaceAlone(Pooled):
    """Autograd takes the state that is written for the input alone: its cotangent counts beside that of y."""

    def counted(self, cotangents: Mapping[str, Any], inplace: bool) -> Mapping[str, Any]:
        lost = inplace and cotangents.get("y") is None
        return {} if lost else super().counted(cotangents, inplace)


class _InPlaceAloneOfScan(_InPlaceAlone, Step):
    pass


class _InPlaceAloneOfConvolution(_InPlaceAlone, ShortConvolutionStep):
    pass


def _mutant(name: str, failure: int | None, summary: str, case: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, case, kernel, only=("float32",))


_NOT_SKIPPED: Final = "An index of −1 of int64 does not skip the row: it writes the last slot of the pool."
_SIGN: Final = "Zero is added to slots that no row names: a −0 there becomes 0."
_ALONE: Final = "With `inplace` the cotangent of the new state is dropped where it is alone."

ENGINES: Final = (
    _mutant("step-int64-not-skipped", 26, _NOT_SKIPPED, "value/pool-int64", _NoneSkippedOfScan(Honest())),
    _mutant(
        "conv1d-step-int64-not-skipped", 26, _NOT_SKIPPED, "value/pool-int64", _NoneSkippedOfConvolution(),
    ),
    _mutant(
        "step-slots-in-16-bits", 29, "Slots are kept in 16 bits.", "value/pool-of-many",
        _ShortSlots(Honest()),
    ),
    _mutant(
        "conv1d-step-slots-in-unsigned-16-bits", 29, "Slots are kept in 16 unsigned bits.",
        "value/pool-of-many", _ShortSlotsOfConvolution(),
    ),
    _mutant("step-adds-to-pool", None, _SIGN, "property/bits-kept-pool", _AddedToThePoolOfScan(Honest())),
    _mutant(
        "conv1d-step-adds-to-pool", None, _SIGN, "property/bits-kept-pool", _AddedToThePoolOfConvolution(),
    ),
    _mutant(
        "conv1d-step-shifted-by-sum", None, "Zero is added to what is shifted: a −0 becomes 0.",
        "property/bits-kept-typical", _ShiftedBySum(),
    ),
    _mutant(
        "step-next-slot-handed-on", None, "A slot that no row names gets the state of the next one.",
        "property/bits-kept-pool", _NextSlotHandedOn(Honest()),
    ),
    _mutant(
        "conv1d-step-next-row-handed-on", None, "What a state holds from before is the next row's.",
        "property/bits-kept-typical", _NextRowHandedOn(),
    ),
    _mutant(
        "conv1d-step-oldest-stay", 26, "Of a state that is longer than 64 inputs the oldest stay.",
        "value/longest", _OldestStay(),
    ),
    _mutant(
        "conv1d-step-oldest-pass-nothing-on", 19,
        "The cotangents of all but the newest 16 inputs that are not read are dropped.", "gradient/longest",
        _OldestPassNothingOn(),
    ),
    _mutant(
        "step-in-place-alone-dropped", 19, _ALONE, "gradient/apart-inplace", _InPlaceAloneOfScan(Honest()),
    ),
    _mutant(
        "conv1d-step-in-place-alone-dropped", 19, _ALONE, "gradient/apart-inplace",
        _InPlaceAloneOfConvolution(),
    ),
)  # fmt: skip
"""Defects of steps that serve an engine."""
