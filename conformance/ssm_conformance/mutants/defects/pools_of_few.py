"""Mutants of steps on one row or 67, one slot or none, and with more taps than kernels are compiled for."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.pooled import Pooled
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64


class _LoneRow(Pooled):
    """A batch of one row reads and writes the first slot."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None if b == 1 else state_indices, b)


class _LoneSlot(Pooled):
    """A pool of one slot is the state of every row: −1 is not looked for."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None and self.slots == 1:
            state_indices = np.zeros_like(state_indices)
        return super().rows_and_slots(state_indices, b)

    def __call__(self, *, state: Any, **given: Any) -> Any:
        self.slots = state.shape[0]
        return super().__call__(state=state, **given)  # type: ignore[safe-super]  # of the kernel beside it


class _NoSlot(Pooled):
    """Skipped rows are computed from slot 0, and thrown away: a pool without one raises."""

    def wide(self, state: Any, compute: str) -> Array:
        found = super().wide(state, compute)
        found[np.zeros(1, dtype=int)]
        return found


class _LoneRowApart(Pooled):
    """The state of a single row is written to a copy."""

    def target(self, state: Array, inplace: bool) -> Array:
        return super().target(state, inplace and state.shape[0] > 1)


class _BlockWritten(Pooled):
    """Of states that are written in place, those of the first 64 rows are."""

    def target(self, state: Array, inplace: bool) -> Array:
        self.before = state[BLOCK:].copy() if inplace else None
        return super().target(state, inplace)

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        if inplace and self.before is not None:
            new[BLOCK:] = self.before
        return super().held(state, new, inplace)


class _LoneRowOfScan(_LoneRow, Step):
    pass


class _LoneRowOfConvolution(_LoneRow, ShortConvolutionStep):
    pass


class _LoneRowOfHeads(_LoneRow, DualStep):
    pass


class _LoneSlotOfScan(_LoneSlot, Step):
    pass


class _LoneSlotOfConvolution(_LoneSlot, ShortConvolutionStep):
    pass


class _LoneSlotOfHeads(_LoneSlot, DualStep):
    pass


class _NoSlotOfScan(_NoSlot, Step):
    pass


class _NoSlotOfConvolution(_NoSlot, ShortConvolutionStep):
    pass


class _NoSlotOfHeads(_NoSlot, DualStep):
    pass


class _LoneRowOfScanApart(_LoneRowApart, Step):
    pass


class _LoneRowOfConvolutionApart(_LoneRowApart, ShortConvolutionStep):
    pass


class _LoneRowOfHeadsApart(_LoneRowApart, DualStep):
    pass


class _BlockOfScanWritten(_BlockWritten, Step):
    pass


class _BlockOfConvolutionWritten(_BlockWritten, ShortConvolutionStep):
    pass


class _BlockOfHeadsWritten(_BlockWritten, DualStep):
    pass


class _SlotsOfFewTaps(ShortConvolutionStep):
    """Filters of more taps have a path of their own, which takes the rows in order."""

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.taps = taps

    def __call__(self, *, state_indices: Any = None, **given: Any) -> Any:
        kept = None if given["weight"].shape[1] > self.taps else state_indices
        return super().__call__(state_indices=kept, **given)


class _StateOfFewTaps(ShortConvolutionStep):
    """Filters of more than eight taps keep w − 1 inputs: what a longer state holds besides is not shifted."""

    def shifted(self, line: Array, v: int) -> Array:
        new = super().shifted(line, v)
        unread = new.shape[-1] - v
        return np.concatenate([line[..., :unread], new[..., unread:]], axis=-1) if v > 7 else new


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


def _pools(kind: str, *kernels: Kernel) -> tuple[Mutant, ...]:
    """The mutants of one operator's step in a pool."""
    rows = (
        ("lone-row-in-first-slot", "A single row reads and writes the first slot.", "value/pool-one-row"),
        ("lone-slot-not-skipped", "Of a pool of one slot no row is skipped.", "value/pool-one-slot"),
        ("no-slot-fails", "A pool without slots raises, though every row is skipped.", "value/pool-none"),
        (
            "lone-row-not-written",
            "The state of a single row is written to a copy.",
            "property/in-place-inplace-one-row",
        ),
        (
            "block-written",
            "Of states that are written in place those of 64 rows are.",
            "value/inplace-rows-67",
        ),
    )
    return tuple(
        _mutant(f"{kind}-{name}", 26, summary, rejected_by, kernel)
        for (name, summary, rejected_by), kernel in zip(rows, kernels, strict=True)
    )


POOLS_OF_FEW: Final = (
    *_pools(
        "step", _LoneRowOfScan(Honest()), _LoneSlotOfScan(Honest()), _NoSlotOfScan(Honest()),
        _LoneRowOfScanApart(Honest()), _BlockOfScanWritten(Honest()),
    ),
    *_pools(
        "conv1d-step", _LoneRowOfConvolution(), _LoneSlotOfConvolution(), _NoSlotOfConvolution(),
        _LoneRowOfConvolutionApart(), _BlockOfConvolutionWritten(),
    ),
    *_pools(
        "ssd-step", _LoneRowOfHeads(), _LoneSlotOfHeads(), _NoSlotOfHeads(), _LoneRowOfHeadsApart(),
        _BlockOfHeadsWritten(),
    ),
    _mutant(
        "conv1d-step-slots-of-four-taps", 26, "With more than four taps rows take the slots in order.",
        "value/taps-5-slots", _SlotsOfFewTaps(4),
    ),
    _mutant(
        "conv1d-step-slots-of-eight-taps", 26, "With more than eight taps rows take the slots in order.",
        "value/taps-9-slots", _SlotsOfFewTaps(8),
    ),
    _mutant(
        "conv1d-step-state-of-eight-taps", 26,
        "With more than eight taps what a state holds besides w − 1 inputs is not shifted.",
        "value/taps-9-slots-longer-inplace", _StateOfFewTaps(),
    ),
)  # fmt: skip
"""Defects of what a step short-cuts where it serves few."""
