"""Mutants of the scans, of their steps and of the short filter past the first calls.

Past a block of what is mostly few, at numbers that come in runs, of arrays of two types or of two orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual, DualForm
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import STREAMED, Step
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64
"""Channels, groups, rows, sequences or steps of a block, and the width of a head."""
TILE: Final = 128
"""Steps of a tile."""
WARP: Final = 32
"""Taps that a warp holds."""
FILTER: Final = ("weight", "bias")
HEADS: Final = ("dt", "B", "C", "z")


def _narrow(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The same call, of which these streams are rounded to bfloat16, in the dtypes that they have."""
    return {
        name: rounded(x, "bfloat16") if name in names and dtype_name(x) == "float32" else x
        for name, x in given.items()
    }


def _in_halves(stream: Any, size: int) -> bool:
    """Whether a path for layers in bfloat16 is taken."""
    return dtype_name(stream) == "bfloat16" and size >= BLOCK


class _StreamsOfLayer(Honest):
    def prepare(self, u: Any, *arguments: Any, **given: Any) -> Problem:
        taken = _in_halves(u, u.shape[1])
        return super().prepare(u, *arguments, **_narrow(given, STREAMED) if taken else given)


class _StreamsOfStep(Step):
    def __call__(self, *, u: Any, **given: Any) -> tuple[Any, Any]:
        return super().__call__(u=u, **_narrow(given, STREAMED) if _in_halves(u, u.shape[1]) else given)


class _StreamsOfHeads(Dual):
    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        x = given["x"]
        return super().inside(_narrow(given, HEADS) if _in_halves(x, x.shape[3]) else given)


class _TapsOfLayer(ShortConvolution):
    def __call__(self, *, return_last_state: bool = False, **given: Any) -> Any:
        x = given["x"]
        read = _narrow(given, FILTER) if _in_halves(x, x.shape[1]) else given
        return super().__call__(return_last_state=return_last_state, **read)


class _ScoresInFloat16(DualForm):
    """In float16, products of heads of 64 with 64 states are kept in that type."""

    def outputs(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> tuple[Array, Array]:
        sizes = a["x"].shape[3], a["B"].shape[3]
        self.taken = dtype_name(given["x"]) == "float16" and min(sizes) >= BLOCK
        return super().outputs(a, given)

    def product(self, a: Array, b: Array) -> Array:
        found = super().product(a, b)
        return rounded(found, "float16") if self.taken else found


class _PackedInFloat16(ShortConvolution):
    """In float16, of 64 channels ids are compared in the first tile of 128 steps."""

    def __call__(self, *, return_last_state: bool = False, **given: Any) -> Any:
        x, ids = given["x"], given.get("seq_idx")
        if ids is not None and dtype_name(x) == "float16" and x.shape[1] >= BLOCK:
            given["seq_idx"] = np.where(np.arange(ids.shape[1]) < TILE, ids, ids[:, :TILE][:, -1:])
        return super().__call__(return_last_state=return_last_state, **given)


class _SequencesOfBlock(Honest):
    def scan(self, p: Problem) -> tuple[Array, Array]:
        v, last = super().scan(p)
        if p.offsets is not None:
            last[BLOCK:] = 0
        return v, last


class _GroupsOfBlock(Honest):
    def groups(self, d: int, g: int) -> Array:
        return np.minimum(super().groups(d, g), BLOCK - 1)


class _DualGroups(Dual):
    scan = _GroupsOfBlock()


class _RowsOfBlock(Step):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(state_indices, b)
        kept = slice(None) if state_indices is None else rows < BLOCK
        return rows[kept], slots[kept]


class _FilterRowsOfBlock(ShortConvolutionStep):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(state_indices, b)
        kept = slice(None) if state_indices is None else rows < BLOCK
        return rows[kept], slots[kept]


class _TapsOfWarp(ShortConvolution):
    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        read = weight.copy()
        read[:, : max(weight.shape[1] - WARP, 0)] = 0
        return super().before_activation(line, read, bias, seen)


class _OutputByInput(Honest):
    """The variant for a real B reads a complex C's real part."""

    def prepare(self, *arguments: Any, **given: Any) -> Problem:
        if np.iscomplexobj(given["A"]) and not np.iscomplexobj(given["B"]):
            given["C"] = given["C"].real
        return super().prepare(*arguments, **given)


class _IdleChunksSkipped(Honest):
    """In a chunk of 64 steps that are all zero nothing is read from the state."""

    def output(self, p: Problem, t: int, h: Array) -> Array:
        chunk = p.s[:, :, t - t % BLOCK :][:, :, :BLOCK]
        idle = (chunk == 0).all(-1) & (chunk.shape[2] == BLOCK)
        return np.where(idle, 0, super().output(p, t, h))


class _DualIdle(Dual):
    scan = _IdleChunksSkipped()


class _ComplexInRatios(Honest):
    """Four steps at once, by quotients of products of complex decays."""

    def output(self, p: Problem, t: int, h: Array) -> Array:
        found = super().output(p, t, h)
        if p.gamma == 1:
            return found
        product = np.prod([self.decay(p, s) for s in range(t - t % 4, t + 1)], axis=0)
        return np.where((product == 0).any(-1), np.nan, found)


def _last_unread(state: Any) -> Any:
    """States of which the dimension before the last lies closest: beyond whole blocks it reads as zero."""
    size = state.shape[-2]
    if size < BLOCK or not isinstance(state, np.ndarray) or state.strides[-2] >= state.strides[-1]:
        return state
    state = state.copy()
    state[..., size - size % BLOCK :, :] = 0
    return state


class _StepTurned(Step):
    def __call__(self, *, state: Any, **given: Any) -> tuple[Any, Any]:
        return super().__call__(state=_last_unread(state), **given)


class _DualStepTurned(DualStep):
    def __call__(self, *, state: Any, **given: Any) -> Any:
        return super().__call__(state=_last_unread(state), **given)


class _FilterStepTurned(ShortConvolutionStep):
    def __call__(self, *, state: Any, **given: Any) -> Any:
        return super().__call__(state=_last_unread(state), **given)


class _NothingFromLast(Honest):
    """In 16 bits, of a last state's cotangent alone nothing comes back to u."""

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: Problem | None, **inputs: Any
    ) -> dict[str, Any]:
        found = super().vjp(cotangents, wrt, saved, **inputs)
        return _without(found, "u", cotangents, inputs["u"])


class _DualNothingFromLast(Dual):
    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any
    ) -> dict[str, Any]:
        return _without(super().vjp(cotangents, wrt, saved, **given), "x", cotangents, given["x"])


class _FilterNothingFromLast(ShortConvolution):
    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any
    ) -> dict[str, Any]:
        return _without(super().vjp(cotangents, wrt, saved, **given), "x", cotangents, given["x"])


def _without(found: dict[str, Any], name: str, cotangents: Mapping[str, Any], stream: Any) -> dict[str, Any]:
    """The gradients, of which one is zero in 16 bits where y has no cotangent."""
    if cotangents.get("y") is not None or dtype_name(stream) not in HALF or name not in found:
        return found
    lost = found[name]
    zero = type(lost)(np.zeros_like(lost.bits)) if dtype_name(lost) == "bfloat16" else np.zeros_like(lost)
    return found | {name: zero}


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel, dtype: str = "float32"
) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=(dtype,))


_MIXED: Final = "Past a block in bfloat16 streams in float32 are read in bfloat16."
_TURNED: Final = "Of states that lie the other way round, what is beyond whole blocks of 64 reads as zero."
_ROWS: Final = "Of the rows that a pool serves 64 take the step."
_GROUPS: Final = "Heads of groups past 64 read the last of those."
_IDLE: Final = "In a chunk of 64 steps that are all zero nothing is read from the state."
_ALONE: Final = "In 16 bits, of a last state's cotangent alone nothing comes back to the input."
FURTHER: Final = (
    _mutant("scan-layer-streams-narrowed", 32, _MIXED, "value/layer-mixed", _StreamsOfLayer(), "bfloat16"),
    _mutant(
        "step-layer-streams-narrowed", 32, _MIXED, "value/layer-mixed", _StreamsOfStep(Honest()), "bfloat16"
    ),
    _mutant("ssd-layer-streams-narrowed", 32, _MIXED, "value/layer-mixed", _StreamsOfHeads(), "bfloat16"),
    _mutant(
        "ssd-step-layer-streams-narrowed", 32, _MIXED, "value/layer-mixed", DualStep(_StreamsOfHeads()),
        "bfloat16",
    ),
    _mutant("short-layer-taps-narrowed", 32, _MIXED, "value/layer-mixed", _TapsOfLayer(), "bfloat16"),
    _mutant(
        "short-step-layer-taps-narrowed", 32, _MIXED, "value/layer-mixed",
        ShortConvolutionStep(_TapsOfLayer()), "bfloat16",
    ),
    _mutant(
        "ssd-scores-in-float16", 22, "In float16, products of heads of 64 of 64 states stay in that type.",
        "value/layer-groups", _ScoresInFloat16(), "float16",
    ),
    _mutant(
        "short-ids-of-first-tile", None, "In float16, of 64 channels, ids past 128 steps are not compared.",
        "value/layer-packed", _PackedInFloat16(), "float16",
    ),
    _mutant(
        "sequences-of-block", 7, "Of packed sequences by offsets 64 have a last state.",
        "robustness/sequences-70", _SequencesOfBlock(),
    ),
    _mutant(
        "step-groups-of-block", 7, "Channels of groups past 64 read the last of those.",
        "robustness/groups-67", Step(_GroupsOfBlock()),
    ),
    _mutant("ssd-groups-of-block", 7, _GROUPS, "robustness/groups-67", _DualGroups()),
    _mutant("ssd-step-groups-of-block", 7, _GROUPS, "robustness/groups-67", DualStep(_DualGroups())),
    _mutant("pool-rows-of-block", 7, _ROWS, "robustness/pool-67", _RowsOfBlock(Honest())),
    _mutant("short-step-pool-rows-of-block", 7, _ROWS, "robustness/pool-67", _FilterRowsOfBlock()),
    _mutant("short-taps-of-warp", 7, "Of taps 32 are read.", "robustness/taps-67", _TapsOfWarp()),
    _mutant(
        "short-step-taps-of-warp", 7, "Of taps 32 are read.", "robustness/taps-67",
        ShortConvolutionStep(_TapsOfWarp()),
    ),
    _mutant(
        "output-by-kind-of-input", 11, "Beside a real B a complex C is read as its real part.",
        "value/complex-real-B", _OutputByInput(),
    ),
    _mutant(
        "step-output-by-kind-of-input", 11, "Beside a real B a complex C is read as its real part.",
        "value/complex-real-B", Step(_OutputByInput()),
    ),
    _mutant("idle-chunks-skipped", None, _IDLE, "extreme/idle-chunks", _IdleChunksSkipped()),
    _mutant("ssd-idle-chunks-skipped", None, _IDLE, "extreme/idle-chunks", _DualIdle()),
    _mutant(
        "complex-in-ratios", 20, "Four steps at once, by quotients of products of complex decays.",
        "extreme/strong-decay-complex", _ComplexInRatios(),
    ),
    _mutant("step-turned-states-lost", 5, _TURNED, "robustness/transposed-layer", _StepTurned(Honest())),
    _mutant(
        "ssd-step-turned-states-lost", 5, _TURNED, "robustness/transposed-layer-wide-skip", _DualStepTurned()
    ),
    _mutant("short-step-turned-states-lost", 5, _TURNED, "robustness/transposed-layer", _FilterStepTurned()),
    _mutant("nothing-from-last-alone", 17, _ALONE, "gradient/apart-typical", _NothingFromLast(), "bfloat16"),
    _mutant(
        "ssd-nothing-from-last-alone", 17, _ALONE, "gradient/apart-typical", _DualNothingFromLast(),
        "bfloat16",
    ),
    _mutant(
        "short-nothing-from-last-alone", 17, _ALONE, "gradient/apart-typical", _FilterNothingFromLast(),
        "bfloat16",
    ),
)  # fmt: skip
"""Defects that the first calls do not reach."""
