"""Mutants that take short cuts for one row, one state or one head, or lose what is far along in long rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64


def _lone(ids: Array) -> Array:
    """The ids where a single row is one sequence."""
    return np.zeros_like(ids) if ids.shape[0] == 1 else ids


def _halved(ids: Array) -> Array:
    """The ids where beyond 64 steps those of 64 bits are read by their lower half."""
    late = ids.copy()
    if ids.dtype == np.int64:
        late[:, BLOCK:] = ids[:, BLOCK:].astype(np.int32)
    return late


class _LoneDual(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_lone(seq_idx))


class _LoneSiso(SisoAdjoint):
    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        return super().begins(None if seq_idx is None else _lone(seq_idx), t)


class _Halved(Honest):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_halved(seq_idx))


class _HalvedDual(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_halved(seq_idx))


class _HalvedSiso(SisoAdjoint):
    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        return super().begins(None if seq_idx is None else _halved(seq_idx), t)


class _HalvedConvolution(ShortConvolution):
    def begins(self, seq_idx: Array, t: int) -> Array:
        return super().begins(_halved(seq_idx), t)


class _OneState(Honest):
    """A single state is a path of its own, that takes what is given as ``loses`` changes it."""

    def __init__(self, **lost: Any) -> None:
        self.lost = lost

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        return (
            replace(p, **{name: change(p) for name, change in self.lost.items()}) if p.A.shape[1] == 1 else p
        )


class _OneMode(Honest):
    """Of a single complex mode the real part is the output: the factor 2 is missing."""

    def output(self, p: Problem, t: int, h: Array) -> Array:
        v = super().output(p, t, h)
        return v / p.gamma if p.A.shape[1] == 1 else v


class _OneConstant(Honest):
    """A constant B or C of a single state is squeezed: every channel reads the first one's."""

    def at(self, matrix: Array, t: int, d: int) -> Array:
        found = super().at(matrix, t, d)
        return found[:, :1] if matrix.ndim == 2 and matrix.shape[1] == 1 else found


class _OneStateOfGroups(Honest):
    """Groups of a single state are read by the axis of states: the first serves all."""

    def groups(self, d: int, g: int) -> Array:
        return np.zeros(d, dtype=int) if self.single else super().groups(d, g)

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        self.single = p.A.shape[1] == 1
        return p


class _OneStateOfDual(Dual):
    """Heads of a single state are one sequence in each row."""

    def in_scan(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> dict[str, Any]:
        kept = dict(given)
        if a["B"].shape[3] == 1:
            kept.pop("seq_idx", None)
        return super().in_scan(a, kept)


class _SkipSqueezed(Dual):
    """A D of one head, or of heads of one channel, loses that axis, and is read as one number a head."""

    def skip(self, D: Array, p: int) -> Array:
        flat = D.squeeze()
        return np.resize(np.repeat(flat, p), D.size) if flat.ndim == 1 and D.ndim == 2 else super().skip(D, p)


class _SkipOfOne(Dual):
    """A D whose last axis is one is spread over the channels of all heads in turn."""

    def skip(self, D: Array, p: int) -> Array:
        return np.full(D.size, D.reshape(-1)[0]) if D.ndim == 2 and p == 1 else super().skip(D, p)


class _Sixteen(Honest):
    """With more than 32 states, blocks of 64 steps beyond the sixteenth begin from zero."""

    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        lost = p.A.shape[1] > 32 and t and t % (16 * BLOCK) == 0
        return super().advance(p, t, np.zeros_like(h) if lost else h)


class _SixteenOfDual(Dual):
    scan = _Sixteen()


class _SixteenOfSiso(SisoAdjoint):
    """Where heads are wider than 16, step 1024 begins from zero."""

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        theta, S, *before = states
        lost = t == 16 * BLOCK and S.shape[-2] > 16
        return super().one_step(p, t, [theta, np.zeros_like(S) if lost else S, *before])


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


FEW: Final = (
    _mutant(
        "ssd-lone-row-is-one-sequence", 27, "A single packed row is one sequence.",
        "value/packed-alone-long", _LoneDual(),
    ),
    _mutant(
        "mamba3-lone-row-is-one-sequence", 27, "A single packed row is one sequence.",
        "value/packed-alone-long", _LoneSiso(),
    ),
    _mutant(
        "ids-of-later-chunks-in-32-bits", 27, "Beyond 64 steps seq_idx of int64 is read by its lower half.",
        "value/packed-wide-ids-long", _Halved(),
    ),
    _mutant(
        "ssd-ids-of-later-chunks-in-32-bits", 27,
        "Beyond 64 steps seq_idx of int64 is read by its lower half.",
        "value/packed-wide-ids-long", _HalvedDual(),
    ),
    _mutant(
        "mamba3-ids-of-later-chunks-in-32-bits", 27,
        "Beyond 64 steps seq_idx of int64 is read by its lower half.",
        "value/packed-wide-ids-long", _HalvedSiso(),
    ),
    _mutant(
        "conv1d-ids-of-later-chunks-in-32-bits", 27,
        "Beyond 64 steps seq_idx of int64 is read by its lower half.",
        "value/packed-wide-ids-long", _HalvedConvolution(),
    ),
    _mutant(
        "one-state-not-reset", 27, "A single state of a channel is not reset.",
        "robustness/one-state-packed", _OneState(reset=lambda p: np.zeros_like(p.reset)),
    ),
    _mutant(
        "one-state-of-euler", 11, "A single state is held by the Euler rule.",
        "robustness/one-state-zoh-packed", _OneState(zoh=lambda p: False),
    ),
    _mutant(
        "one-state-begins-in-order", 24,
        "Of sequences by offsets, a single state of the first one begins them all.",
        "robustness/one-state-offsets",
        _OneState(initial=lambda p: p.initial if p.offsets is None else 0 * p.initial + p.initial[:1]),
    ),
    _mutant(
        "one-mode-without-its-pair", None, "Of a single complex mode the factor 2 is missing.",
        "robustness/one-state-complex-packed", _OneMode(),
    ),
    _mutant(
        "step-one-mode-without-its-pair", None, "Of a single complex mode of a step the factor 2 is missing.",
        "robustness/one-state-complex", Step(_OneMode()),
    ),
    _mutant(
        "step-one-state-of-euler", 11, "A single state of a step is held by the Euler rule.",
        "robustness/one-state-zoh", Step(_OneState(zoh=lambda p: False)),
    ),
    _mutant(
        "one-constant-squeezed", 31, "A constant B or C of one state is read for the first channel alone.",
        "robustness/one-state-constant", _OneConstant(),
    ),
    _mutant(
        "one-state-of-first-group", 1, "Groups of one state all read the first.",
        "robustness/one-state-grouped", _OneStateOfGroups(),
    ),
    _mutant(
        "ssd-one-state-not-reset", 27, "Heads of one state are not reset.",
        "robustness/one-state-packed", _OneStateOfDual(),
    ),
    _mutant(
        "ssd-skip-of-one-head-squeezed", 31, "A D of (1, p) is squeezed, and read as one number a head.",
        "robustness/one-head-wide-D", _SkipSqueezed(),
    ),
    _mutant(
        "ssd-skip-of-one-channel-spread", 31, "A D of (h, 1) is spread over the heads.",
        "robustness/one-channel-wide-D", _SkipOfOne(),
    ),
    _mutant(
        "ssd-step-skip-of-one-head-squeezed", 31,
        "A step's D of (1, p) is squeezed, and read as one number a head.",
        "robustness/one-head-wide-D", DualStep(_SkipSqueezed()),
    ),
    _mutant(
        "ssd-step-skip-of-one-channel-spread", 31, "A step's D of (h, 1) is spread over the heads.",
        "robustness/one-channel-wide-D", DualStep(_SkipOfOne()),
    ),
    _mutant(
        "many-states-sixteen-blocks", 2, "With more than 32 states step 1024 begins from zero.",
        "value/wide-and-long", _Sixteen(),
    ),
    _mutant(
        "ssd-many-states-sixteen-blocks", 2, "With more than 32 states step 1024 begins from zero.",
        "value/wide-and-long", _SixteenOfDual(),
    ),
    _mutant(
        "mamba3-wide-heads-sixteen-blocks", 2, "In heads wider than 16 step 1024 begins from zero.",
        "value/wide-and-long", _SixteenOfSiso(),
    ),
)  # fmt: skip
"""Defects of what is one where options meet it, and of ids and states in long rows."""
