"""Mutants of what goes from chunk to chunk, from sequence to sequence, and from call to call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.chunked import Chunked
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.mutant import Mutant


class _DecayOfFirstChunk(Chunked):
    def pass_on(self, local: Array, products: list[Array], carried: Array) -> Array:
        return np.asarray(local + products[0] * carried)


class _ChunkBoundaryLost(Chunked):
    def pass_on(self, local: Array, products: list[Array], carried: Array) -> Array:
        return local


class _DecayFromChunkStart(Honest):
    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        for t in range(times.start - times.start % Chunked.chunk, times.start):
            h = self.decay(p, t) * h
        return h


class _InitialIgnored(Honest):
    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        return np.zeros_like(super().begin(p, times, rows))


class _InitialNotDecayed(Honest):
    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        for t in times[:1]:
            first = h + self.advance(p, t, np.zeros_like(h))[1]
            yield t, h, first
            yield from super().states(p, times[1:], first)


class _InitialForOneTokenOnly(Honest):
    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        return h if len(times) <= 1 else np.zeros_like(h)


class _ResetAtChunkLost(Chunked):
    chunk = 8

    def resets(self, seq_idx: Array) -> Array:
        changed = super().resets(seq_idx)
        changed[:, :: self.chunk] = False
        return changed


class _LeaksFromCallToCall(Honest):
    def __init__(self) -> None:
        self.left: Array | None = None

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        return h if self.left is None or self.left.shape != h.shape else h + self.left

    def leave(self, p: Problem, times: range, h: Array) -> Array:
        self.left = h
        return h


class _SequencesIgnored(Honest):
    def resets(self, seq_idx: Array) -> Array:
        return np.zeros(seq_idx.shape, dtype=bool)


class _ResetWhereIndexRises(Honest):
    def resets(self, seq_idx: Array) -> Array:
        changed = super().resets(seq_idx)
        changed[:, 1:] &= seq_idx[:, 1:] > seq_idx[:, :-1]
        return changed


class _ResetOfAnyRow(Honest):
    def resets(self, seq_idx: Array) -> Array:
        changed = super().resets(seq_idx)
        return np.broadcast_to(changed.any(0), changed.shape)


class _ResetMultiplies(Honest):
    def forget(self, decayed: Array, reset: Array) -> Array:
        return decayed * ~reset[:, None, None]


class _EmptySequenceLost(Honest):
    def leave(self, p: Problem, times: range, h: Array) -> Array:
        return h if len(times) else np.zeros_like(h)


class _LastStateTooEarly(Honest):
    def leave(self, p: Problem, times: range, h: Array) -> Array:
        for t in times[-1:]:
            h = h - self.hold(p, t) * p.u[:, :, t, None] * self.input_matrix(p, t)
        return h


class _LastStateAfterOutput(Honest):
    def leave(self, p: Problem, times: range, h: Array) -> Array:
        return self.output_matrix(p, times[-1]) * h if len(times) else h


SEQUENCES: Final = (
    Mutant(
        "decay-of-first-chunk",
        2,
        "The sum from chunk to chunk runs over the wrong axis: each chunk carries by the first one's decay.",
        "value/long-moderate-decay",
        _DecayOfFirstChunk(),
    ),
    Mutant(
        "chunk-boundary-lost",
        2,
        "Each chunk begins from zero.",
        "value/long-moderate-decay",
        _ChunkBoundaryLost(),
    ),
    Mutant(
        "decay-from-chunk-start",
        24,
        "The initial state of a packed sequence is decayed from the start of its chunk.",
        "value/offsets",
        _DecayFromChunkStart(),
    ),
    Mutant("initial-ignored", 25, "The initial state is ignored.", "value/initial", _InitialIgnored()),
    Mutant(
        "initial-not-decayed",
        None,
        "The initial state is added to the first step without its decay.",
        "value/initial",
        _InitialNotDecayed(),
    ),
    Mutant(
        "initial-for-one-token-only",
        25,
        "The initial state is read where l = 1 and forgotten for several tokens.",
        "property/split-typical",
        _InitialForOneTokenOnly(),
    ),
    Mutant(
        "sequences-ignored",
        27,
        "seq_idx is claimed and does nothing: the state leaks into the next sequence.",
        "property/packing-packed",
        _SequencesIgnored(),
    ),
    Mutant(
        "reset-where-index-rises",
        27,
        "The state is reset where seq_idx rises, and leaks where it falls.",
        "value/packed",
        _ResetWhereIndexRises(),
    ),
    Mutant(
        "reset-of-any-row",
        28,
        "A reset in one row of the batch resets all of them.",
        "value/packed",
        _ResetOfAnyRow(),
    ),
    Mutant(
        "reset-multiplies",
        27,
        "A reset multiplies the state by zero: a NaN leaks into the next sequence.",
        "property/packing-packed",
        _ResetMultiplies(),
    ),
    Mutant(
        "reset-at-chunk-lost",
        24,
        "A sequence that begins where a chunk of 8 does is not reset.",
        "value/packed",
        _ResetAtChunkLost(),
    ),
    Mutant(
        "leaks-from-call-to-call",
        30,
        "A call begins in the state in which the one before it ended.",
        "determinism/forward-typical",
        _LeaksFromCallToCall(),
    ),
    Mutant(
        "empty-sequence-lost",
        26,
        "The last state of an empty sequence is zero, not its initial state.",
        "value/offsets",
        _EmptySequenceLost(),
    ),
    Mutant(
        "last-state-too-early",
        26,
        "The last state lacks what the last step adds.",
        "value/typical",
        _LastStateTooEarly(),
    ),
    Mutant(
        "last-state-after-output",
        None,
        "The last state is returned after output work: multiplied by C.",
        "value/typical",
        _LastStateAfterOutput(),
    ),
)
"""Wrong hand-overs."""
