"""Mutants of packed rows: more of them than a block has, and sequences that begin one step off a block."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.mutant import Mutant

CHUNK: Final = 64


def _of_few(seq_idx: Array, few: int) -> Array:
    """The ids, those of the last of a few rows in all rows after it."""
    return np.asarray(seq_idx[np.minimum(np.arange(len(seq_idx)), few - 1)])


def _begins(seq_idx: Array) -> Array:
    """Where the index differs from the one before, (b, l)."""
    return np.asarray(np.diff(seq_idx, axis=1, prepend=seq_idx[:, :1]) != 0)


def _without_last_of_chunk(begins: Array) -> Array:
    """The beginnings, but for one at the last step of a chunk that has no other."""
    found = begins.copy()
    for start in range(0, begins.shape[1] - CHUNK + 1, CHUNK):
        end = start + CHUNK - 1
        found[:, end] &= begins[:, start : end + 1].sum(1) > 1
    return found


class _IdsOfFewRows(Honest):
    def __init__(self, few: int) -> None:
        self.few = few

    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_of_few(seq_idx, self.few))


class _DualIdsOfFewRows(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return _of_few(seq_idx, 4)


class _SisoIdsOfFewRows(SisoAdjoint):
    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        return super().begins(None if seq_idx is None else _of_few(seq_idx, 4), t)


class _ConvolutionIdsOfFewRows(ShortConvolution):
    def begins(self, seq_idx: Array, t: int) -> Array:
        return super().begins(_of_few(seq_idx, 4), t)


class _LastOfChunkLost(Honest):
    """A chunk's first id and that of its last step but one say whether the state passes through it."""

    def resets(self, seq_idx: Array) -> Array:
        return _without_last_of_chunk(super().resets(seq_idx))


class _LastOfChunkLostBack(Honest):
    """The same in the backward pass alone."""

    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        reset = _without_last_of_chunk(p.reset)
        return self.forget(self.decay(p, t).conj() * adjoint, reset[:, t])


class _DualLastOfChunkLost(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return np.cumsum(_without_last_of_chunk(_begins(seq_idx)), axis=1)


class _DualLastOfChunkLostBack(Dual):
    scan = _LastOfChunkLostBack()


class _SisoLastOfChunkLost(SisoAdjoint):
    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        if seq_idx is None or t == 0:
            return None
        return np.asarray(_without_last_of_chunk(_begins(seq_idx))[:, t])


class _BesideBlockLost(Honest):
    """A sequence by offsets that begins a step off a block of 128 begins from zero."""

    def __init__(self, off: int) -> None:
        self.off = off

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        lost = p.offsets is not None and times.start > 1 and (times.start - self.off) % 128 == 0
        return np.zeros_like(h) if lost else h


class _ThirdEmptyLost(Honest):
    """Of empty sequences after each other two are looked past."""

    def scan(self, p: Problem) -> tuple[Array, Array]:
        v, last = super().scan(p)
        if p.offsets is not None:
            empty = np.diff(p.offsets) == 0
            last[2:][empty[2:] & empty[1:-1] & empty[:-2]] = 0
        return v, last


def _mutant(name: str, failure: int, summary: str, case: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, case, kernel, only=("float32",))


_FOURTH: Final = "Rows past the fourth have the fourth one's ids."
_LAST: Final = "A sequence that begins with the last step of a chunk of 64 goes on from the one before."
_BACK: Final = "Backwards, one that begins with the last step of a chunk of 64 hands on to the one before."

PACKED_ROWS: Final = (
    _mutant("ids-of-four-rows", 27, _FOURTH, "value/packed-around-blocks", _IdsOfFewRows(4)),
    _mutant(
        "ids-of-64-rows", 27, "Rows past the 64th have that one's ids.", "value/packed-rows-67",
        _IdsOfFewRows(64),
    ),
    _mutant("ssd-ids-of-four-rows", 27, _FOURTH, "value/packed-rows-67", _DualIdsOfFewRows()),
    _mutant("mamba3-ids-of-four-rows", 27, _FOURTH, "value/packed-rows-67", _SisoIdsOfFewRows()),
    _mutant("conv1d-ids-of-four-rows", 27, _FOURTH, "value/packed-rows-67", _ConvolutionIdsOfFewRows()),
    _mutant("reset-at-chunk-end-lost", 27, _LAST, "value/packed-around-blocks", _LastOfChunkLost()),
    _mutant(
        "gradient-crosses-chunk-end", 27, _BACK, "gradient/packed-around-blocks", _LastOfChunkLostBack(),
    ),
    _mutant("ssd-reset-at-chunk-end-lost", 27, _LAST, "value/packed-around-blocks", _DualLastOfChunkLost()),
    _mutant(
        "ssd-gradient-crosses-chunk-end", 27, _BACK, "gradient/packed-around-blocks",
        _DualLastOfChunkLostBack(),
    ),
    _mutant(
        "mamba3-reset-at-chunk-end-lost", 27, _LAST, "value/packed-around-blocks", _SisoLastOfChunkLost(),
    ),
    _mutant(
        "initial-lost-before-block", 24, "A sequence that begins a step before a block of 128 is from zero.",
        "value/offsets-around-blocks", _BesideBlockLost(-1),
    ),
    _mutant(
        "initial-lost-after-block", 24, "A sequence that begins a step after a block of 128 is from zero.",
        "value/offsets-around-blocks", _BesideBlockLost(1),
    ),
    _mutant(
        "third-empty-lost", 26, "Of empty sequences after each other the third one's last state is zero.",
        "value/offsets-around-blocks", _ThirdEmptyLost(),
    ),
)  # fmt: skip
"""Defects of packed rows."""
