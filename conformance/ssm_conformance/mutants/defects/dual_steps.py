"""Mutants of SSD's step on states in a pool: who steps, where states go, and what a product lets through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.mutant import Mutant


def _by_product(parts: Array, axis: int) -> Array:
    """Parts as a product of ones and zeros with all of them along an axis puts each in its place."""
    with np.errstate(invalid="ignore"):
        return np.asarray(parts + 0 * parts.sum(axis, keepdims=True))


class _SkippedRowWritten(DualStep):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(None, b)
        return rows, slots if state_indices is None else state_indices


class _SkippedRowComputed(DualStep):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None if state_indices is None else np.maximum(state_indices, 0), b)


class _PoolUnclaimed(DualStep):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None, b)


class _WrittenByRow(DualStep):
    """The new state is written where the state of a row would lie, were there no pool."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, self.slots = super().rows_and_slots(state_indices, b)
        return rows, self.slots

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        moved = new.copy()
        moved[: self.slots.size] = new[self.slots]
        return super().held(state, moved, inplace)


class _SlotsOfIntegers(DualStep):
    """int64 slots are read as int32 ones."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None:
            state_indices = np.ascontiguousarray(state_indices).view(np.int32)[:b]
        return super().rows_and_slots(state_indices, b)


class _NoneSkipped(DualStep):
    """−1 of int32 is compared with an index of int64: never equal."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None and state_indices.dtype == np.int64:
            return np.arange(b), state_indices
        return super().rows_and_slots(state_indices, b)


class _ShortSlots(DualStep):
    """Slots are kept in a few bits.

    Parameters
    ----------
    dtype
        Integers of as many bits.
    """

    def __init__(self, dtype: type[np.integer[Any]]) -> None:
        super().__init__()
        self.dtype = dtype

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None if state_indices is None else state_indices.astype(self.dtype), b)


class _OtherSlotsCleared(DualStep):
    def target(self, state: Array, inplace: bool) -> Array:
        return state if inplace else np.zeros_like(state)


class _AddedToThePool(DualStep):
    def target(self, state: Array, inplace: bool) -> Array:
        target = super().target(state, inplace)
        target += 0.0
        return target


class _WritesACopy(DualStep):
    def target(self, state: Array, inplace: bool) -> Array:
        return state.copy()


class _IntoContiguous(DualStep):
    """A state that is not contiguous is made so, and the copy is written."""

    def target(self, state: Array, inplace: bool) -> Array:
        return super().target(state, inplace and state.flags.c_contiguous)


class _WritesInput(DualStep):
    def target(self, state: Array, inplace: bool) -> Array:
        return state


class _PoolGivenBack(DualStep):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(state_indices, b)
        self.idle = not rows.size
        return rows, slots

    def target(self, state: Array, inplace: bool) -> Array:
        return super().target(state, inplace or self.idle)


class _HalfStateTruncated(DualStep):
    """The new state is cut off where it is to be rounded to its 16 bits."""

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        dtype = dtype_name(state)
        if dtype in HALF:
            near = rounded(new, dtype)
            unit = np.ldexp(1.0, np.frexp(near)[1] - (8 if dtype == "bfloat16" else 11))
            new = np.where(np.abs(near) > np.abs(new), near - np.sign(new) * unit, near).astype(new.dtype)
        return super().held(state, new, inplace)


class _SlotsByProduct(DualStep):
    """New states are put into the pool by a product with zeros and ones."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, self.slots = super().rows_and_slots(state_indices, b)
        return rows, self.slots

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        new[self.slots] = _by_product(new[self.slots], 0)
        return super().held(state, new, inplace)


class _Mixed(DualStep):
    """The new state is multiplied by a matrix of zeros and ones along one of its axes.

    Parameters
    ----------
    axis
        Heads, channels of a head, or states.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        new[...] = _by_product(new, self.axis)
        return super().held(state, new, inplace)


class _SlotGradientsByProduct(DualStep):
    def placed(self, name: str, found: Array, given: Any, rows: Array, slots: Array, r_state: Array) -> Any:
        mixed = _by_product(found, 0) if name == "state" else found
        return super().placed(name, mixed, given, rows, slots, r_state)


class _IdleCotangentDropped(DualStep):
    def placed(self, name: str, found: Array, given: Any, rows: Array, slots: Array, r_state: Array) -> Any:
        return super().placed(name, found, given, rows, slots, 0 * r_state)


class _InPlaceAlone(DualStep):
    def counted(self, cotangents: Mapping[str, Any], inplace: bool) -> Mapping[str, Any]:
        lost = inplace and cotangents.get("y") is None
        return {} if lost else super().counted(cotangents, inplace)


def _mutant(name: str, failure: int | None, summary: str, case: str, kernel: DualStep) -> Mutant:
    return Mutant(f"ssd-step-{name}", failure, summary, case, kernel, only=("float32",))


_PRODUCT: Final = "are put in their places by a product with zeros and ones: 0 · NaN reaches the others."
DUAL_STEPS: Final = (
    _mutant(
        "skipped-row-written", 26,
        "An index of −1 does not skip the row: it writes the last slot of the pool.", "value/pool",
        _SkippedRowWritten(),
    ),
    _mutant(
        "skipped-row-computed", 28, "A skipped row is computed from slot 0.", "value/pool",
        _SkippedRowComputed(),
    ),
    _mutant(
        "written-by-row", 26, "The new state is written to the row's place in the pool, not to its slot.",
        "value/pool", _WrittenByRow(),
    ),
    _mutant(
        "slots-of-wrong-width", 26, "state_indices of int64 is read as if it were int32.",
        "value/pool-permuted", _SlotsOfIntegers(),
    ),
    _mutant(
        "int64-not-skipped", 26,
        "An index of −1 of int64 does not skip the row: it writes the last slot of the pool.",
        "value/pool-int64", _NoneSkipped(),
    ),
    _mutant("slots-in-bytes", 29, "Slots are kept in 8 bits.", "value/pool-large", _ShortSlots(np.int8)),
    _mutant(
        "slots-in-16-bits", 29, "Slots are kept in 16 bits.", "value/pool-of-many", _ShortSlots(np.int16),
    ),
    _mutant(
        "other-slots-cleared", 26, "Slots of the pool that no row names come back as zeros.", "value/pool",
        _OtherSlotsCleared(),
    ),
    _mutant(
        "adds-to-pool", None, "Zero is added to slots that no row names: a −0 there becomes 0.",
        "property/bits-kept-pool", _AddedToThePool(),
    ),
    _mutant(
        "writes-a-copy", 26, "With `inplace` a copy is written, and the state that was given stays.",
        "property/in-place-inplace", _WritesACopy(),
    ),
    _mutant(
        "into-contiguous", 31,
        "With `inplace` a state that is not contiguous is copied, and the copy is written.",
        "property/in-place-inplace", _IntoContiguous(),
    ),
    _mutant(
        "writes-state", None, "The state is updated in place where that is not asked for.",
        "robustness/inputs-unchanged-typical", _WritesInput(),
    ),
    _mutant(
        "pool-given-back", None, "Where every row is skipped the pool itself is returned, not a copy.",
        "robustness/reused-pool-idle", _PoolGivenBack(),
    ),
    _mutant(
        "half-state-truncated", None,
        "A state in 16 bits is cut off where it is to be rounded to the nearest.", "value/half-state",
        _HalfStateTruncated(),
    ),
    _mutant(
        "slots-by-product", None, f"New states {_PRODUCT}", "extreme/confinement-pool", _SlotsByProduct(),
    ),
    _mutant(
        "heads-by-product", None, f"Heads of the new state {_PRODUCT}", "extreme/confinement-groups",
        _Mixed(1),
    ),
    _mutant(
        "channels-by-product", None, f"Channels of the new state {_PRODUCT}", "extreme/confinement-typical",
        _Mixed(2),
    ),
    _mutant(
        "states-by-product", None, f"States {_PRODUCT}", "extreme/confinement-typical", _Mixed(3),
    ),
    _mutant(
        "slot-gradients-by-product", None, f"Gradients of states {_PRODUCT}",
        "extreme/confinement-gradients-pool", _SlotGradientsByProduct(),
    ),
    _mutant(
        "idle-cotangent-dropped", 19, "Slots that no row names do not hand their cotangent on.",
        "gradient/pool", _IdleCotangentDropped(),
    ),
    _mutant(
        "inplace-cotangent-dropped", 19,
        "With `inplace` the cotangent of the new state is dropped where it is alone.",
        "gradient/apart-inplace", _InPlaceAlone(),
    ),
    Mutant(
        "ssd-step-unclaimed-ignored", 36, "state_indices is taken, is not claimed, and is ignored.",
        "error/unclaimed-state_indices", _PoolUnclaimed(), only=("float32",),
        claims={"features": ("mixed_dtypes", "per_channel_skip")},
    ),
)  # fmt: skip
"""Defects of SSD's step on a pool."""
