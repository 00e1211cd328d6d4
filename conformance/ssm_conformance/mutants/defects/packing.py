"""Mutants of packed sequences and pooled states: ids and slots of any kind, many sequences, none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


class _FewSequences(Honest):
    """A block has 32 lanes: the state of later sequences begins at zero."""

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        return np.zeros_like(h) if p.offsets is not None and rows.start >= 32 else h


class _IdsInBytes(Honest):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(seq_idx.astype(np.uint8))


class _IdsOfIntegers(Honest):
    """int64 ids are read as int32 ones."""

    def resets(self, seq_idx: Array) -> Array:
        narrow = np.ascontiguousarray(seq_idx).view(np.int32)[:, : seq_idx.shape[1]]
        return super().resets(narrow)


class _NegativeIsPadding(Honest):
    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p, index = super().prepare(*args, **inputs), inputs.get("seq_idx")
        return p if index is None else replace(p, u=np.where((np.asarray(index) < 0)[:, None], 0, p.u))


class _NoResetAtFirstStep(Honest):
    def resets(self, seq_idx: Array) -> Array:
        found = super().resets(seq_idx)
        found[:, 1:2] = False
        return found


class _IdsInHalf(Honest):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(seq_idx.astype(np.int32))


class _DualIdsInHalf(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return seq_idx.astype(np.int32)


class _ConvolutionIdsInHalf(ShortConvolution):
    def begins(self, seq_idx: Array, t: int) -> Array:
        return super().begins(seq_idx.astype(np.int32), t)


def _counted_in_bytes(begins: Array) -> Array:
    """Beginnings of sequences, (b, l), numbered in 8 bits from 0: number 0 is the sequence of t = 0."""
    return np.asarray(begins & (np.cumsum(begins, axis=1) % 256 != 0))


class _ResetsInBytes(Honest):
    def resets(self, seq_idx: Array) -> Array:
        return _counted_in_bytes(super().resets(seq_idx))


class _DualResetsInBytes(Dual):
    def resets(self, seq_idx: Array) -> Array:
        begins = np.diff(seq_idx, axis=1, prepend=seq_idx[:, :1]) != 0
        return np.cumsum(_counted_in_bytes(begins), axis=1)


class _FewResets(Honest):
    """A table has room for 32 resets of a row."""

    def resets(self, seq_idx: Array) -> Array:
        found = super().resets(seq_idx)
        return found & (np.cumsum(found, axis=1) <= 32)


class _LateResetLost(Honest):
    """A chunk of 512 that a sequence begins with goes on from the one before."""

    def resets(self, seq_idx: Array) -> Array:
        found = super().resets(seq_idx)
        found[:, 512::512] = False
        return found


class _EmptyInFront(Honest):
    """The first block of steps is not looked for where no step is before it."""

    def leave(self, p: Problem, times: range, h: Array) -> Array:
        return np.zeros_like(h) if p.offsets is not None and times == range(0) else h


class _InitialOfBlockLost(Honest):
    """A sequence that begins where a block of 64 does begins from zero."""

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        lost = p.offsets is not None and times.start > 0 and times.start % 64 == 0
        return np.zeros_like(h) if lost else h


class _OneSequence(Honest):
    """One sequence by offsets is taken for none."""

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        return np.zeros_like(h) if p.offsets is not None and len(p.offsets) == 2 else h


class _DualNegativeIsPadding(Dual):
    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        a, index = super().inside(given), given.get("seq_idx")
        if index is None:
            return a
        return {**a, "x": np.where((np.asarray(index) < 0)[..., None, None], 0, a["x"])}


class _ConvolutionNegativeIsPadding(ShortConvolution):
    def seen(self, seq_idx: Array | None, b: int, l: int, w: int) -> Array:
        found = super().seen(seq_idx, b, l, w)
        if seq_idx is not None:
            found[..., :l] &= seq_idx >= 0
        return found


class _StepIntoContiguous(Step):
    """A pool that is not contiguous is made so, and the copy is written."""

    def target(self, state: Array, inplace: bool) -> Array:
        return super().target(state, inplace and state.flags.c_contiguous)


class _SlotsOfIntegers(Step):
    """int64 slots are read as int32 ones."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None:
            state_indices = np.ascontiguousarray(state_indices).view(np.int32)[:b]
        return super().rows_and_slots(state_indices, b)


class _NothingInNoTime(Honest):
    """Without a step nothing is launched, and the states of sequences by offsets stay zero."""

    def leave(self, p: Problem, times: range, h: Array) -> Array:
        none = p.offsets is not None and not p.u.shape[2]
        return np.zeros_like(h) if none else h


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


PACKING: Final = (
    _mutant(
        "sequences-beyond-warp", 26, "The initial states of all but the first 32 sequences are zero.",
        "value/offsets-many", _FewSequences(),
    ),
    _mutant(
        "ids-in-bytes", 27, "seq_idx is compared in 8 bits.", "value/packed-ids", _IdsInBytes(),
    ),
    _mutant(
        "ids-of-wrong-width", 27, "seq_idx of int64 is read as if it were int32.",
        "value/packed-ids", _IdsOfIntegers(),
    ),
    _mutant(
        "negative-id-is-padding", 28, "Where seq_idx is negative nothing goes in.",
        "value/packed-ids", _NegativeIsPadding(),
    ),
    _mutant(
        "no-reset-at-first-step", 27, "A sequence of one step in front is not reset after.",
        "value/packed-ids", _NoResetAtFirstStep(),
    ),
    _mutant(
        "ssd-negative-id-is-padding", 28, "Where seq_idx is negative nothing goes in.",
        "value/packed-ids", _DualNegativeIsPadding(),
    ),
    _mutant(
        "conv1d-negative-id-is-padding", 28, "Where seq_idx is negative nothing comes out.",
        "value/packed-ids", _ConvolutionNegativeIsPadding(),
    ),
    _mutant(
        "step-into-contiguous-copy", 26, "A state that is not contiguous is copied, and the copy is updated.",
        "property/in-place-inplace", _StepIntoContiguous(Honest()),
    ),
    _mutant(
        "step-slots-of-wrong-width", 26, "state_indices of int64 is read as if it were int32.",
        "value/pool-permuted", _SlotsOfIntegers(Honest()),
    ),
    _mutant(
        "offsets-in-no-time", 26, "Where l = 0 the last states of sequences by offsets are zero.",
        "robustness/offsets-empty", _NothingInNoTime(),
    ),
    _mutant(
        "ids-in-32-bits", 27, "seq_idx of int64 is compared in 32 bits.",
        "value/packed-wide-ids", _IdsInHalf(),
    ),
    _mutant(
        "ssd-ids-in-32-bits", 27, "seq_idx of int64 is compared in 32 bits.",
        "value/packed-wide-ids", _DualIdsInHalf(),
    ),
    _mutant(
        "conv1d-ids-in-32-bits", 27, "seq_idx of int64 is compared in 32 bits.",
        "value/packed-wide-ids", _ConvolutionIdsInHalf(),
    ),
    _mutant(
        "resets-counted-in-bytes", 27, "Sequences are numbered in 8 bits: the 256th is the first.",
        "value/packed-each-step", _ResetsInBytes(),
    ),
    _mutant(
        "ssd-resets-counted-in-bytes", 27, "Sequences are numbered in 8 bits: the 256th is the first.",
        "value/packed-each-step", _DualResetsInBytes(),
    ),
    _mutant(
        "resets-beyond-warp", 27, "Of a row, all but the first 32 resets are lost.",
        "value/packed-each-step", _FewResets(),
    ),
    _mutant(
        "late-reset-lost", 24, "A sequence that begins where a chunk of 512 does is not reset.",
        "value/packed-late", _LateResetLost(),
    ),
    _mutant(
        "empty-in-front-lost", 26, "The last state of an empty sequence in front is zero.",
        "value/offsets-at-blocks", _EmptyInFront(),
    ),
    _mutant(
        "initial-lost-at-block", 24, "A sequence that begins where a block of 64 does begins from zero.",
        "value/offsets-at-blocks", _InitialOfBlockLost(),
    ),
    _mutant(
        "initial-of-one-sequence-lost", 26, "One sequence by offsets begins from zero.",
        "value/offsets-of-one", _OneSequence(),
    ),
)  # fmt: skip
"""Defects of packing."""
