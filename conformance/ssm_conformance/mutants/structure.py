"""Mutants whose equation is wrong: groups, chunks, time, state, sequences, output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.adjoint import Honest
from ssm_conformance.mutants.bits import Array
from ssm_conformance.mutants.chunked import CHUNK, Chunked
from ssm_conformance.mutants.honest import Problem, State
from ssm_conformance.mutants.mutant import Mutant


class GroupsByRepeat(Honest):
    """Also a defect of the step."""

    def groups(self, d: int, g: int) -> Array:
        """Channel i reads group i mod g."""
        return np.arange(d) % g


class _GroupsByMatrix(Honest):
    def expand(self, matrix: Array, d: int) -> Array:
        one_hot = self.groups(d, matrix.shape[1])[:, None] == np.arange(matrix.shape[1])
        return np.asarray(np.einsum("dg,bgn->bdn", one_hot.astype(matrix.dtype), matrix))


class _OneBlockOfStates(Honest):
    def contract(self, C: Array, h: Array) -> Array:
        return super().contract(C[..., :32], h[..., :32])


class _DecayOfFirstChunk(Chunked):
    def pass_on(self, local: Array, products: list[Array], carried: Array) -> Array:
        return np.asarray(local + products[0] * carried)


class _ChunkBoundaryLost(Chunked):
    def pass_on(self, local: Array, products: list[Array], carried: Array) -> Array:
        return local


class _DecayFromChunkStart(Honest):
    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        for t in range(times.start - times.start % CHUNK, times.start):
            h = self.decay(p, t) * h
        return h


class _TailKept(Honest):
    def scan(self, p: Problem) -> tuple[Array, Array]:
        v, last = super().scan(p)
        return np.concatenate([v[:, :, 1:], v[:, :, :1]], axis=2), last


class _OneStepLate(Honest):
    def scan(self, p: Problem) -> tuple[Array, Array]:
        v, last = super().scan(p)
        return np.concatenate([np.zeros_like(v[:, :, :1]), v[:, :, :-1]], axis=2), last


class _NothingWritten(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        return np.zeros_like(v)


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


class _FeedthroughAfterGate(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        return self.feed(p, self.gate(p, v))


class _GateIsSigmoid(Honest):
    def gate(self, p: Problem, v: Array) -> Array:
        return v if p.z is None else v * self.sigmoid(p.z)


class _OtherRule(Honest):
    def hold(self, p: Problem, t: int) -> Array:
        return super().hold(replace(p, zoh=not p.zoh), t)


class _OneModeOfThePair(Honest):
    def output(self, p: Problem, t: int, h: Array) -> Array:
        return self.contract(self.output_matrix(p, t), h)


class _PairByImaginaryPart(Honest):
    def output(self, p: Problem, t: int, h: Array) -> Array:
        return self.contract(np.where(p.A.imag != 0, 2, 1) * self.output_matrix(p, t), h).astype(p.compute)


class _BiasAfterSoftplus(Honest):
    def prepare(self, *args: Any, delta_bias: Any = None, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        if delta_bias is None:
            return p
        return replace(p, s=p.s + self.load(delta_bias, p.compute)[:, None])


STRUCTURE: Final = (
    Mutant(
        "groups-by-repeat",
        1,
        "Groups of B and C are expanded by repetition: channel i reads group i mod g.",
        "value/groups",
        GroupsByRepeat(),
    ),
    Mutant(
        "groups-by-matrix",
        None,
        "Groups are expanded by a product with a matrix of zeros and ones: 0 · NaN reaches every channel.",
        "extreme/confinement-groups",
        _GroupsByMatrix(),
    ),
    Mutant(
        "one-block-of-states",
        None,
        "The loop over blocks of 32 states is missing: the output reads the first block.",
        "value/wide-state",
        _OneBlockOfStates(),
    ),
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
    Mutant(
        "tail-kept",
        4,
        "Of one step too many the last l are kept: y at t is that of t + 1.",
        "property/causality-plain",
        _TailKept(),
    ),
    Mutant("one-step-late", None, "The output lags the input by one step.", "value/typical", _OneStepLate()),
    Mutant("nothing-written", 8, "The output is all zeros.", "value/typical", _NothingWritten()),
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
    Mutant(
        "feedthrough-after-gate",
        None,
        "D u is added after the gate.",
        "value/typical",
        _FeedthroughAfterGate(),
    ),
    Mutant("gate-is-sigmoid", None, "The gate is σ(z), not z σ(z).", "value/gate-only", _GateIsSigmoid()),
    Mutant("other-rule", 9, "B is discretised by the other rule.", "value/zoh", _OtherRule()),
    Mutant(
        "one-mode-of-the-pair",
        None,
        "For complex A the factor 2 is missing.",
        "value/complex",
        _OneModeOfThePair(),
    ),
    Mutant(
        "pair-by-imaginary-part",
        None,
        "The factor 2 is missing for modes whose imaginary part is zero.",
        "value/complex",
        _PairByImaginaryPart(),
    ),
    Mutant(
        "bias-after-softplus",
        None,
        "delta_bias is added after softplus.",
        "value/typical",
        _BiasAfterSoftplus(),
    ),
)
"""Wrong equations."""
