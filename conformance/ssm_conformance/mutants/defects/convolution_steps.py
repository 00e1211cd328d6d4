"""Mutants of the short convolution's step: of its pool, of longer states than are read, in 16 bits."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.mutant import Mutant


class _SkippedRowWritten(ShortConvolutionStep):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(None, b)
        return rows, slots if state_indices is None else state_indices


class _SkippedOutputUnwritten(ShortConvolutionStep):
    """What is not computed is not written either: there lies what lay there before."""

    def at_rest(self, y: Array, rows: Array, b: int) -> Array:
        out = super().at_rest(y, rows, b)
        out[np.setdiff1d(np.arange(b), rows)] = y[-1] if len(y) else 0
        return out


class _SkippedTimesZero(ShortConvolutionStep):
    """A skipped row is masked by a product with zero."""

    def __call__(self, *, x: Any, state_indices: Any = None, **given: Any) -> Any:
        y, state = super().__call__(x=x, state_indices=state_indices, **given)
        if state_indices is not None:
            y = np.where(state_indices[:, None] < 0, 0 * x, y)
        return y, state


class _WrittenByRow(ShortConvolutionStep):
    def written(self, rows: Array, slots: Array) -> Array:
        return rows


class _OtherSlotsCleared(ShortConvolutionStep):
    def target(self, state: Array, inplace: bool) -> Array:
        return state if inplace else np.zeros_like(state)


class _WritesACopy(ShortConvolutionStep):
    def target(self, state: Array, inplace: bool) -> Array:
        return state.copy()


class _IntoContiguous(ShortConvolutionStep):
    """A state that is not contiguous is made so, and the copy is written."""

    def target(self, state: Array, inplace: bool) -> Array:
        return super().target(state, inplace and state.flags.c_contiguous)


class _SlotsOfIntegers(ShortConvolutionStep):
    """int64 slots are read as int32 ones."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None:
            state_indices = np.ascontiguousarray(state_indices).view(np.int32)[:b]
        return super().rows_and_slots(state_indices, b)


class _SlotsInBytes(ShortConvolutionStep):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        narrow = None if state_indices is None else state_indices.astype(np.int8)
        return super().rows_and_slots(narrow, b)


class _ReadsTheOldest(ShortConvolutionStep):
    def read(self, before: Array, v: int) -> Array:
        return before[..., :v]


class _ShiftedByTheFilter(ShortConvolutionStep):
    """The state is shifted by a filter's length: as many zeros stand before x."""

    def shifted(self, line: Array, v: int) -> Array:
        k = line.shape[-1] - 1
        kept = line[..., min(v + 1, k) : k]
        gap = np.zeros((*line.shape[:2], max(k - 1 - kept.shape[-1], 0)), line.dtype)
        return np.concatenate([kept, gap, line[..., k:]], axis=-1)[..., :k]


class _OlderStay(ShortConvolutionStep):
    """The inputs that the filter reads are shifted; those before them stay."""

    def shifted(self, line: Array, v: int) -> Array:
        k = line.shape[-1] - 1
        return np.concatenate([line[..., : k - v], line[..., k - v + 1 :]], axis=-1)


class _UnreadTimesZero(ShortConvolutionStep):
    """The filter is filled up with zeros to the state's length."""

    def read(self, before: Array, v: int) -> Array:
        unread = before[..., : before.shape[-1] - v]
        return np.asarray(super().read(before, v) + 0 * unread.sum(-1, keepdims=True))


class _OlderPassNothingOn(ShortConvolutionStep):
    def handed_on(self, r: Array) -> Array:
        return np.zeros_like(r)


class _EntersThroughTheOtherHalf(ShortConvolutionStep):
    """x is rounded to the other type of 16 bits on its way into a state of one."""

    def entering(self, u: Array, x: Any, state: Any) -> Array:
        other = {"bfloat16": "float16", "float16": "bfloat16"}
        dtype = dtype_name(state)
        return rounded(u, other[dtype]) if dtype in HALF else u


class _EntersTruncated(ShortConvolutionStep):
    """x is cut off where it is to be rounded to the nearest."""

    def entering(self, u: Array, x: Any, state: Any) -> Array:
        cut = dtype_name(state) == "bfloat16" and u.dtype == np.float32
        return (u.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) if cut else u


class _KeptAsTheInput(ShortConvolutionStep):
    """A state in float32 beside an input in 16 bits is rounded to the input's dtype."""

    def entering(self, u: Array, x: Any, state: Any) -> Array:
        self.dtype = dtype_name(x)
        return u

    def shifted(self, line: Array, v: int) -> Array:
        new = super().shifted(line, v)
        return rounded(new, self.dtype) if self.dtype in HALF else new


class _ReadsWhatEntered(ShortConvolutionStep):
    """The output is computed from x as the state keeps it."""

    def __call__(self, *, x: Any, state: Any, **given: Any) -> Any:
        if dtype_name(state) in HALF and dtype_name(x) not in HALF:
            x = rounded(x, dtype_name(state))
        return super().__call__(x=x, state=state, **given)


class _PoolUnclaimed(ShortConvolutionStep):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None, b)


def _mutant(
    name: str, failure: int | None, summary: str, by: str, kernel: ShortConvolutionStep, **more: Any
) -> Mutant:
    return Mutant(f"conv1d-step-{name}", failure, summary, by, kernel, **more)


_SINGLE: Final = ("float32",)

CONVOLUTION_STEPS: Final = (
    _mutant(
        "skipped-row-written",
        26,
        "An index of −1 does not skip the row: it writes the last slot of the pool.",
        "value/pool",
        _SkippedRowWritten(),
    ),
    _mutant(
        "skipped-row-not-zero",
        28,
        "The output of a skipped row is another row's.",
        "value/pool",
        _SkippedOutputUnwritten(),
    ),
    _mutant(
        "skipped-row-times-zero",
        28,
        "The output of a skipped row is zero times its input: a NaN there is a NaN.",
        "property/skipped-pool",
        _SkippedTimesZero(),
        only=_SINGLE,
    ),
    _mutant(
        "written-by-row",
        26,
        "The new state is written to the row's place in the pool, not to its slot.",
        "value/pool",
        _WrittenByRow(),
    ),
    _mutant(
        "other-slots-cleared",
        26,
        "Slots of the pool that no row names come back as zeros.",
        "value/pool",
        _OtherSlotsCleared(),
    ),
    _mutant(
        "writes-a-copy",
        26,
        "With `inplace` a copy is written, and the state that was given stays.",
        "property/in-place-inplace",
        _WritesACopy(),
        only=_SINGLE,
    ),
    _mutant(
        "into-contiguous",
        31,
        "With `inplace` a state that is not contiguous is copied, and the copy is written.",
        "property/in-place-inplace",
        _IntoContiguous(),
        only=_SINGLE,
    ),
    _mutant(
        "slots-of-wrong-width",
        26,
        "state_indices of int64 is read as if it were int32.",
        "value/pool-permuted",
        _SlotsOfIntegers(),
    ),
    _mutant(
        "slots-in-bytes",
        29,
        "Slots are kept in 8 bits.",
        "value/pool-large",
        _SlotsInBytes(),
        only=_SINGLE,
    ),
    _mutant(
        "reads-the-oldest",
        4,
        "Of a state that is longer than the filter the oldest inputs are read, not the newest.",
        "value/longer",
        _ReadsTheOldest(),
    ),
    _mutant(
        "shifted-by-the-filter",
        26,
        "The state is shifted by the filter's length, not by one.",
        "value/longer",
        _ShiftedByTheFilter(),
    ),
    _mutant(
        "older-inputs-stay",
        26,
        "Of a state that is longer than the filter the part that is read is shifted alone.",
        "value/longer",
        _OlderStay(),
    ),
    _mutant(
        "unread-times-zero",
        None,
        "Inputs that the filter does not read are multiplied by zero: a NaN there reaches the output.",
        "extreme/unread-longer",
        _UnreadTimesZero(),
    ),
    _mutant(
        "older-cotangent-dropped",
        19,
        "The cotangent of inputs that are only shifted is dropped.",
        "gradient/longer",
        _OlderPassNothingOn(),
    ),
    _mutant(
        "half-state-through-the-other",
        None,
        "On its way into a state in 16 bits x is rounded to the other type of 16 bits first.",
        "value/half-state",
        _EntersThroughTheOtherHalf(),
        only=_SINGLE,
    ),
    _mutant(
        "half-state-truncated",
        None,
        "On its way into a state in 16 bits x is cut off where it is to be rounded to the nearest.",
        "value/half-state",
        _EntersTruncated(),
        only=_SINGLE,
    ),
    _mutant(
        "half-state-read-back",
        None,
        "The output is computed from x as a state in 16 bits keeps it.",
        "value/half-state",
        _ReadsWhatEntered(),
        only=_SINGLE,
    ),
    _mutant(
        "state-kept-as-the-input",
        12,
        "A state in float32 beside an input in 16 bits is rounded to the input's dtype.",
        "value/typical",
        _KeptAsTheInput(),
        only=HALF,
    ),
    _mutant(
        "unclaimed-ignored",
        36,
        "state_indices is taken, is not claimed, and is ignored.",
        "error/unclaimed-state_indices",
        _PoolUnclaimed(),
        only=_SINGLE,
        claims={"features": ("mixed_dtypes",)},
    ),
)
"""Defects of the step that serves an engine."""
