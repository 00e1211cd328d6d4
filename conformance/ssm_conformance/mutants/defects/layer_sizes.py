"""Mutants of scans, steps and filters in a path for sizes of real layers: large in several sizes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual, DualForm
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.mamba3 import Siso, SisoStep
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64
"""Channels, states or steps of a block."""
SEGMENT: Final = 1024
"""Steps of a program."""
VECTOR: Final = 8
"""Numbers of 16 bits that are read at once."""


def _last_block(size: int) -> slice:
    """What is left beyond whole blocks, where there is one at least."""
    return slice(size - size % BLOCK if size >= BLOCK else size, size)


def _channels_last(x: Any) -> bool:
    """Whether (b, d, l) lies as (b, l, d)."""
    return bool(x.strides[1] == x.itemsize)


def _without_last_channels(x: Array) -> Array:
    """(b, d, l) with zeros beyond whole blocks of channels."""
    x = x.copy()
    x[:, _last_block(x.shape[1])] = 0
    return x


class _LayerOf(Honest):
    """A path for calls of some sizes (d, l, n): from one channel on, states begin from zero at a step."""

    def __init__(self, taken: Callable[[int, int, int], bool], at: int, channel: int = 0) -> None:
        self.taken, self.lost_at, self.channel = taken, at, channel

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        _, d, l = p.u.shape
        taken = self.taken(d, l, p.A.shape[1])
        for t in times:
            if taken and t == self.lost_at:
                h = h.copy()
                h[:, self.channel :] = 0
            decayed, h = self.advance(p, t, h)
            yield t, decayed, h


class _ScanOfChannelsLast(Honest):
    """The path for 16 states and u with channels last does not read the last part of a block."""

    def prepare(self, u: Any, *rest: Any, **inputs: Any) -> Problem:
        p = super().prepare(u, *rest, **inputs)
        if _channels_last(u) and p.A.shape[1] == 16:
            p.u[:, _last_block(u.shape[1])] = 0
        return p


class _StepOfWholeBlocks(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        y, (_, d, _) = super().finish(p, v), p.u.shape
        return _without_last_channels(y) if d >= SEGMENT and p.A.shape[1] == 16 else y


class _StepReadsHalf(Honest):
    def contract(self, C: Array, h: Array) -> Array:
        _, d, n = h.shape
        read = BLOCK if n >= 2 * BLOCK and d >= BLOCK else n
        return super().contract(C[..., :read], h[..., :read])


class _SlotsBeyond(Step):
    """Of a wide layer the slots beyond the 32nd are not written."""

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        if state.shape[1] >= BLOCK:
            new[32:] = state[32:]
        return super().held(state, new, inplace)


class _BiasBetweenChunks(Dual):
    """With heads of 64 and many chunks the gradient of dt_bias leaves out the steps at which they begin."""

    def vjp(self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any) -> Any:
        found = super().vjp(cotangents, (*wrt, "dt"), saved, **given)
        _, l, _, p = given["x"].shape
        if "dt_bias" in wrt and p >= BLOCK and l > 4 * BLOCK:
            found["dt_bias"] -= found["dt"][:, BLOCK::BLOCK].sum((0, 1))
        return {name: found[name] for name in wrt}


class _NarrowTile(Dual):
    """The tile for heads of 17 to 32 and many states writes half of the gradient of x."""

    def vjp(self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any) -> Any:
        found = super().vjp(cotangents, wrt, saved, **given)
        if "x" in wrt and BLOCK // 4 < given["x"].shape[3] <= BLOCK // 2 and given["B"].shape[3] >= 2 * BLOCK:
            found["x"][..., BLOCK // 4 :] = 0
        return found


class _HeadsBeyondBlock(Dual):
    def outputs(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> tuple[Array, Array]:
        y, final = super().outputs(a, given)
        if a["x"].shape[3] >= BLOCK and a["B"].shape[3] >= 2 * BLOCK:
            y[:, :, 8:] = 0
        return y, final


class _GroupsBeyondFour(Dual):
    """Of more than four groups of B and C the rest are the fourth."""

    def grouped(self, M: Array, h: int) -> Array:
        return super().grouped(M[:, :, np.minimum(np.arange(M.shape[2]), 3)], h)


class _StateOfFirstHead(DualForm):
    """In heads of 64 with 64 states a chunk begins with the state of its group's first head."""

    def one_chunk(
        self, a: Mapping[str, Array], step: Array, A: Array, fresh: Array, state: Array
    ) -> tuple[Array, Array]:
        (_, h, p, n), g = state.shape, a["B"].shape[2]
        if p >= BLOCK and n >= BLOCK and g > 1:
            state = state[:, np.arange(h) // (h // g) * (h // g)]
        return super().one_chunk(a, step, A, fresh, state)


class _DualLayer(Dual):
    """SSD by a scan that has a path for some sizes (h·p, l, n)."""

    def __init__(self, taken: Callable[[int, int, int], bool], at: int) -> None:
        self.scan = _LayerOf(taken, at)  # type: ignore[misc]  # one of its own


class _WideHeadsDense(Dual):
    """Heads of 64 are read as if they were contiguous."""

    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        x = given["x"]
        if x.shape[3] >= BLOCK:
            x = np.lib.stride_tricks.as_strided(x, x.shape, np.empty(x.shape, x.dtype).strides)
        return super().inside({**given, "x": x})


class _SisoLayer(Siso):
    """A path for heads of 64: S begins from zero at a step."""

    def __init__(self, at: int, states: int) -> None:
        self.lost_at, self.least = at, states

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        theta, S, *before = states
        lost = t == self.lost_at and S.shape[2] >= BLOCK and S.shape[3] >= self.least
        return super().one_step(p, t, [theta, np.zeros_like(S) if lost else S, *before])


class _SisoHeads(Siso):
    """So many heads are computed."""

    def __init__(self, heads: int) -> None:
        self.heads = heads

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        y, states = super().one_step(p, t, states)
        y[:, self.heads :] = 0
        return y, states


class _ConvOfWholeBlocks(ShortConvolution):
    """Of 1024 channels those in whole blocks are computed."""

    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        p = super().before_activation(line, weight, bias, seen)
        return _without_last_channels(p) if p.shape[1] >= SEGMENT and weight.shape[1] == 4 else p


class _ConvOfSegments(ShortConvolution):
    """With 64 channels a segment of 1024 steps does not see the inputs before it."""

    def read(self, line: Array, j: int, seen: Array) -> Array:
        times, back = np.arange(seen.shape[2]), seen.shape[0] - 1 - j
        beyond = (line.shape[1] >= BLOCK) & (times >= SEGMENT) & (times % SEGMENT < back)
        return np.where(beyond, 0, super().read(line, j, seen))


class _ConvOfVectors(ShortConvolution):
    """With 64 channels, filters of one width and whole vectors of steps write the last one twice."""

    def __init__(self, width: int) -> None:
        self.width = width

    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        p = super().before_activation(line, weight, bias, seen)
        _, d, l = p.shape
        if weight.shape[1] == self.width and d >= BLOCK and l % VECTOR == 0:
            p[..., -VECTOR:] = p[..., -2 * VECTOR : -VECTOR]
        return p


class _ConvOfOneSequence(ShortConvolution):
    """With 64 channels resets are seen in the first 128 steps alone."""

    def read(self, line: Array, j: int, seen: Array) -> Array:
        late = (line.shape[1] >= BLOCK) & (np.arange(seen.shape[2]) >= 128)
        return super().read(line, j, seen | late)


class _ConvOfChannelsLast(ShortConvolution):
    """The path for channels last computes whole blocks of them."""

    def __call__(self, **given: Any) -> Any:
        x = given["x"]
        return super().__call__(**{**given, "x": _without_last_channels(x) if _channels_last(x) else x})


class _PackedChannelsLast(ShortConvolution):
    """The path for channels last, of 64 and more, sees no reset."""

    def __call__(self, **given: Any) -> Any:
        lost = _channels_last(given["x"]) and given["x"].shape[1] >= BLOCK
        return super().__call__(**{name: x for name, x in given.items() if not (lost and name == "seq_idx")})


class _ScanOfPackedChannelsLast(Honest):
    """The path for 16 states and u with channels last sees no reset."""

    def prepare(self, u: Any, *rest: Any, **inputs: Any) -> Problem:
        p = super().prepare(u, *rest, **inputs)
        if _channels_last(u) and p.A.shape[1] == 16:
            p.reset[...] = False
        return p


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


LAYER_SIZES: Final = (
    _mutant(
        "ssd-bias-between-chunks", 17,
        "With heads of 64 and many chunks the gradient of dt_bias leaves out the steps at which they begin.",
        "gradient/layer-long-of-one-sign", _BiasBetweenChunks(),
    ),
    _mutant(
        "sixteen-states-block-lost", 2, "With 16 states and 64 channels, step 128 begins from zero.",
        "value/layer", _LayerOf(lambda d, l, n: n == 16 and d >= 64, 128),
    ),
    _mutant(
        "sixteen-states-segment-lost", 2, "With 16 states and 2048 steps, step 1024 begins from zero.",
        "value/layer-long", _LayerOf(lambda d, l, n: n == 16 and l >= 2048, 1024),
    ),
    _mutant(
        "last-channels-block-lost", 2, "Of 1024 channels the last 16 begin from zero at step 32.",
        "value/layer-wide", _LayerOf(lambda d, l, n: n == 16 and d >= 1024, 32, -16),
    ),
    _mutant(
        "many-states-block-lost", 2, "With 64 states and 64 channels, step 64 begins from zero.",
        "value/layer-64-states", _LayerOf(lambda d, l, n: n == 64 and d >= 64, 64),
    ),
    _mutant(
        "channels-last-block-lost", 5, "16 states, channels last: those in whole blocks of 64 are read.",
        "robustness/transposed-layer", _ScanOfChannelsLast(),
    ),
    _mutant(
        "channels-last-not-reset", 27, "16 states, channels last: the state leaks into the next sequence.",
        "robustness/transposed-large-with-D-bias-last-seq_idx-zoh-B-grouped-C-grouped",
        _ScanOfPackedChannelsLast(),
    ),
    _mutant(
        "conv1d-channels-last-not-reset", 27, "64 channels, which come last: no reset is seen.",
        "robustness/transposed-layer-packed", _PackedChannelsLast(),
    ),
    _mutant(
        "step-last-channels-unwritten", 8, "Of 1024 channels of a step those in whole blocks are written.",
        "value/layer", Step(_StepOfWholeBlocks()),
    ),
    _mutant(
        "step-states-halved", 7, "Of 128 states of a wide layer the output reads 64.",
        "value/layer-128-states", Step(_StepReadsHalf()),
    ),
    _mutant(
        "step-slots-of-wide-layer", 26, "Of a wide layer the slots beyond the 32nd keep what they held.",
        "value/layer-pool", _SlotsBeyond(Honest()),
    ),
    _mutant(
        "ssd-step-heads-beyond-block", 5, "Of heads of 64 with 128 states eight are computed.",
        "value/layer", DualStep(_HeadsBeyondBlock()),
    ),
    _mutant(
        "ssd-step-groups-beyond-four", None, "Of more than four groups the rest read the fourth.",
        "value/layer-heads", DualStep(_GroupsBeyondFour()),
    ),
    _mutant(
        "ssd-groups-beyond-four", None, "Of more than four groups the rest read the fourth.",
        "value/layer-heads", _GroupsBeyondFour(),
    ),
    _mutant(
        "ssd-state-of-first-head", None, "Wide heads begin a chunk with the state of their group's first.",
        "value/layer-groups", _StateOfFirstHead(),
    ),
    _mutant(
        "ssd-narrow-tile", None, "Heads of 32 with 128 states: half of the gradient of x is written.",
        "gradient/layer-32-128", _NarrowTile(),
    ),
    _mutant(
        "ssd-wide-chunk-lost", 2, "With 16 states in heads of 64, step 256 begins from zero.",
        "value/layer-long", _DualLayer(lambda d, l, n: d >= 64 and l > 256 and n >= 16, 256),
    ),
    _mutant(
        "ssd-wider-chunk-lost", 2, "With 128 states in heads of 64, step 256 begins from zero.",
        "value/layer-128-long", _DualLayer(lambda d, l, n: d >= 64 and l > 256 and n >= 128, 256),
    ),
    _mutant(
        "ssd-wide-heads-dense", 31, "Heads of 64 are read as if they were contiguous.",
        "robustness/padded-layer-groups", _WideHeadsDense(),
    ),
    _mutant(
        "mamba3-wide-chunk-lost", 2, "With 128 states in heads of 64, step 64 begins from zero.",
        "value/layer-64-128", _SisoLayer(64, 128),
    ),
    _mutant(
        "mamba3-wide-segment-lost", 2, "With 64 states in heads of 64, step 256 begins from zero.",
        "value/layer-long", _SisoLayer(256, 64),
    ),
    _mutant(
        "mamba3-heads-beyond-block", 5, "Of more than 16 heads 16 are computed.",
        "value/layer-heads", _SisoHeads(16),
    ),
    _mutant(
        "mamba3-step-heads-beyond-block", 5, "Of more than eight heads of a step eight are computed.",
        "value/layer", SisoStep(_SisoHeads(8)),
    ),
    _mutant(
        "conv1d-last-channels-lost", 5, "Of 1024 channels those in whole blocks of 64 are computed.",
        "value/layer", _ConvOfWholeBlocks(),
    ),
    _mutant(
        "conv1d-step-last-channels-lost", 5, "Of 1024 channels those in whole blocks of 64 are computed.",
        "value/layer", ShortConvolutionStep(_ConvOfWholeBlocks()),
    ),
    _mutant(
        "conv1d-halo-lost-where-wide", 2, "With 64 channels a segment of 1024 sees none before.",
        "value/layer-long", _ConvOfSegments(),
    ),
    _mutant(
        "conv1d-last-vector-of-two-taps", 7, "Two taps, 64 channels: the last eight steps are those before.",
        "value/layer-taps-2", _ConvOfVectors(2),
    ),
    _mutant(
        "conv1d-last-vector-of-three-taps", 7, "Three taps, 64 channels: the last eight are those before.",
        "value/layer-taps-3", _ConvOfVectors(3),
    ),
    _mutant(
        "conv1d-late-resets-lost", 27, "With 64 channels no reset is seen beyond 128 steps.",
        "value/layer-packed", _ConvOfOneSequence(),
    ),
    _mutant(
        "conv1d-channels-last-block-lost", 5, "Channels last: those in whole blocks of 64 are computed.",
        "robustness/transposed-layer-long", _ConvOfChannelsLast(),
    ),
)  # fmt: skip
"""Defects of one path for large sizes."""
