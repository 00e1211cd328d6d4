"""Mutants of linear systems and their layers in a path for many systems, states or steps at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.discretize import Bilinear, System, ZeroOrderHold
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Lssl
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel, S4Kernel
from ssm_conformance.mutants.kernels.online_memory import Compress
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel, Recurrence
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64
"""Systems, states or steps of a block."""
SEGMENT: Final = 1024
"""Steps of a program."""


def _last_block(size: int) -> slice:
    """What is left beyond whole blocks, where there is one at least."""
    return slice(size - size % BLOCK if size >= BLOCK else size, size)


def _without_last_channels(x: Array) -> Array:
    """(b, d, …) with zeros beyond whole blocks of channels."""
    x = x.copy()
    x[:, _last_block(x.shape[1])] = 0
    return x


class _ConvolutionOfWholeBlocks(Convolution):
    def convolve(self, u: Array, K: Array) -> Array:
        y = super().convolve(u, K)
        return _without_last_channels(y) if y.shape[2] > SEGMENT else y


class _RecurrenceLayer(Recurrence):
    """A path for some calls: h begins from zero at a step."""

    def __init__(self, taken: Callable[[Mapping[str, Array], bool], bool], at: int) -> None:
        self.taken, self.lost_at = taken, at

    def advance(self, p: Mapping[str, Array], k: int, h: Array, diagonal: bool) -> Array:
        lost = k == self.lost_at and self.taken(p, diagonal)
        return super().advance(p, k, np.zeros_like(h) if lost else h, diagonal)


class _KernelLayer(ConvolutionKernel):
    """A path for some B̄: after so many lags the powers begin again."""

    def __init__(self, taken: Callable[[Array, bool], bool], at: int) -> None:
        self.taken, self.period = taken, at

    def powers(self, A_bar: Array, B_bar: Array, length: int, diagonal: bool) -> list[Array]:
        found = super().powers(A_bar, B_bar, length, diagonal)
        if self.taken(B_bar, diagonal):
            found[self.period :] = found[: max(length - self.period, 0)]
        return found


class _ModesOfWholeBlocks:
    """Of 64 systems the last part of a block keeps Ā = 1."""

    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        A_bar, B_bar = super().discretize(system, diagonal, alpha)  # type: ignore[misc]  # of the rule beside it
        if diagonal and A_bar.ndim == 2:
            A_bar = A_bar.copy()
            A_bar[_last_block(len(A_bar))] = 1
        return A_bar, B_bar


class _MatrixOfTiles:
    """Of 64 states the last tile of 16 rows is taken from the diagonal tile alone."""

    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        A_bar, B_bar = super().discretize(system, diagonal, alpha)  # type: ignore[misc]  # of the rule beside it
        if not diagonal and A_bar.shape[-1] >= BLOCK:
            A_bar = A_bar.copy()
            A_bar[..., 48:, :48] = 0
        return A_bar, B_bar


class _ZohModes(_ModesOfWholeBlocks, ZeroOrderHold):
    pass


class _BilinearModes(_ModesOfWholeBlocks, Bilinear):
    pass


class _ZohMatrix(_MatrixOfTiles, ZeroOrderHold):
    pass


class _BilinearMatrix(_MatrixOfTiles, Bilinear):
    pass


class _S4dKernelOfWholeBlocks(S4dKernel):
    def output(self, p: Mapping[str, Array]) -> Array:
        C = super().output(p).copy()
        C[_last_block(len(C))] = 0
        return C


class _LowRankOfWholeBlocks(S4Kernel):
    def low_rank(self, P: Array, Q: Array) -> Array:
        found = super().low_rank(P, Q)
        found[_last_block(len(found))] = 0
        return found


class _LowRankOfHalf(S4Kernel):
    def low_rank(self, P: Array, Q: Array) -> Array:
        found = super().low_rank(P, Q)
        found[..., 16 if found.shape[-1] >= 32 else found.shape[-1] :] = 0
        return found


class _LowRankOfPairs(S4Kernel):
    """The states of a block are 32 pairs; the last 16 conjugates are left out of the low-rank part."""

    def mirrored(self, x: Array, name: str) -> Array:
        found = super().mirrored(x, name)
        if name in ("P", "Q") and found.shape[-1] >= BLOCK:
            found[..., 48:] = 0
        return found


class _S4KernelOfPoints(S4Kernel):
    """The transform has 1024 points: beyond them the kernel begins again."""

    def __call__(self, *, length: int, **inputs: Any) -> Any:
        K = super().__call__(length=length, **inputs)
        return np.asarray(K[:, np.arange(length) % SEGMENT])


class _S4dLayer(S4d):
    """With 64 channels and more than so many steps there is no D u beyond them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def feedthrough(self, p: Mapping[str, Array]) -> Array:
        found = super().feedthrough(p)
        found[..., self.steps if found.shape[1] >= BLOCK else found.shape[2] :] = 0
        return found


class _LsslOfWholeBlocks(Lssl):
    def outputs(self, y: Array) -> Array:
        return _without_last_channels(y)


class _S5OfWholeBlocks(S5):
    def feedthrough(self, p: Mapping[str, Array]) -> Array:
        return _without_last_channels(super().feedthrough(p))


class _H3OfManyModes(H3):
    def keys(self, p: Mapping[str, Array]) -> Array:
        found = super().keys(p)
        return _without_last_channels(found) if p["A"].shape[1] >= 32 else found


class _H3OfNarrowHeads(H3):
    """A head is four wide."""

    def in_heads(self, x: Array, heads: int) -> Array:
        found = super().in_heads(x, heads).copy()
        found[:, :, 4:] = 0
        return found


class _H3OfSegments(H3):
    def keys(self, p: Mapping[str, Array]) -> Array:
        found = super().keys(p)
        found[..., SEGMENT if found.shape[1] >= BLOCK else found.shape[2] :] = 0
        return found


class _SignalsOfWholeBlocks(Compress):
    def first(self, f: Array, n: int) -> Array:
        c = super().first(f, n)
        signals = prod(c.shape[:-1])
        c.reshape(signals, n)[_last_block(signals)] = 0
        return c


class _CoefficientsOfTiles(Compress):
    """Coefficients in tiles of half a block, where there are two."""

    def discrete(self, n: int, step: Array, method: str) -> tuple[Array, Array]:
        A, B = super().discrete(n, step, method)
        A, half = A.copy(), BLOCK // 2
        if n >= BLOCK:
            A[:, half:, :half] = 0
        return A, B


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


def _many(p: Mapping[str, Array], diagonal: bool) -> bool:
    """More systems than a block."""
    return diagonal and len(p["A_bar"]) >= BLOCK


def _large(p: Mapping[str, Array], diagonal: bool) -> bool:
    """A dense system of more states than a block."""
    return not diagonal and p["A_bar"].shape[-1] >= BLOCK


SYSTEM_SIZES: Final = (
    _mutant(
        "convolution-last-channels-lost", 5, "Of 1024 steps and 64 channels whole blocks are computed.",
        "value/layer", _ConvolutionOfWholeBlocks(),
    ),
    _mutant(
        "recurrence-block-lost", 2, "With 64 systems, step 256 begins from zero.",
        "value/layer", _RecurrenceLayer(_many, 256),
    ),
    _mutant(
        "recurrence-segment-lost", 2, "With 64 systems, step 1024 begins from zero.",
        "value/layer-long", _RecurrenceLayer(_many, SEGMENT),
    ),
    _mutant(
        "recurrence-large-block-lost", 2, "With 64 states of one system, step 64 begins from zero.",
        "value/layer-dense", _RecurrenceLayer(_large, BLOCK),
    ),
    _mutant(
        "kernel-begins-again", None, "With 64 systems, lag 1024 is lag 0 again.",
        "value/layer", _KernelLayer(lambda B, diagonal: diagonal and len(B) >= BLOCK, SEGMENT),
    ),
    _mutant(
        "kernel-large-begins-again", None, "With 64 states of one system, lag 64 is lag 0 again.",
        "value/layer-dense", _KernelLayer(lambda B, diagonal: not diagonal and B.shape[-2] >= BLOCK, BLOCK),
    ),
    _mutant(
        "zoh-last-systems-lost", 5, "Of 64 diagonal systems the last part of a block keeps Ā = 1.",
        "value/layer", _ZohModes(),
    ),
    _mutant(
        "zoh-last-rows-lost", 7, "Of 64 states the last 16 rows of Ā lack what is left of the diagonal tile.",
        "value/layer-legs", _ZohMatrix(),
    ),
    _mutant(
        "bilinear-last-systems-lost", 5, "Of 64 diagonal systems the last part of a block keeps Ā = 1.",
        "value/layer", _BilinearModes(),
    ),
    _mutant(
        "bilinear-last-rows-lost", 7, "Of 64 states the last 16 rows of Ā lack what is left of their tile.",
        "value/layer-legs", _BilinearMatrix(),
    ),
    _mutant(
        "s4d-kernel-last-channels-lost", 5, "Of 64 channels those in whole blocks have a kernel.",
        "value/layer", _S4dKernelOfWholeBlocks(),
    ),
    _mutant(
        "s4-low-rank-of-whole-blocks", 5, "Of 64 channels those in whole blocks have a low-rank part.",
        "value/layer", _LowRankOfWholeBlocks(),
    ),
    _mutant(
        "s4-transform-of-1024", None, "Beyond 1024 lags the kernel begins again.",
        "value/layer-long", _S4KernelOfPoints(),
    ),
    _mutant(
        "s4-low-rank-of-half", 7, "Of 32 states 16 are in the low-rank part.",
        "value/layer-states", _LowRankOfHalf(),
    ),
    _mutant(
        "s4-low-rank-of-48", 7, "Of 32 pairs the last 16 conjugates are not in the low-rank part.",
        "value/layer-pairs", _LowRankOfPairs(),
    ),
    _mutant(
        "s4d-last-steps-lost", 8, "With 64 channels there is no D u beyond a block of 64 steps.",
        "value/layer", _S4dLayer(BLOCK),
    ),
    _mutant(
        "s4d-segment-lost", 8, "With 64 channels there is no D u beyond 1024 steps.",
        "value/layer-long", _S4dLayer(SEGMENT),
    ),
    _mutant(
        "lssl-last-channels-lost", 5, "Of 64 channels those in whole blocks are computed.",
        "value/layer", _LsslOfWholeBlocks(),
    ),
    _mutant(
        "s5-last-channels-lost", 5, "Of 64 channels those in whole blocks have their D u.",
        "value/layer", _S5OfWholeBlocks(),
    ),
    _mutant(
        "h3-last-channels-lost", 5, "With 32 modes the keys of channels in whole blocks are read.",
        "value/layer", _H3OfManyModes(),
    ),
    _mutant(
        "h3-heads-of-four", 7, "Of wider heads four channels are read.",
        "value/layer-heads", _H3OfNarrowHeads(),
    ),
    _mutant(
        "h3-segment-lost", 2, "With 64 channels there are no keys beyond 1024 steps.",
        "value/layer-long", _H3OfSegments(),
    ),
    _mutant(
        "compress-last-signals-lost", 5, "Of 64 signals the last part of a block begins from zero.",
        "value/layer", _SignalsOfWholeBlocks(),
    ),
    _mutant(
        "compress-tiles-apart", 7, "Of 64 coefficients the last 32 do not read the first.",
        "value/layer-states", _CoefficientsOfTiles(),
    ),
)  # fmt: skip
"""Defects of one path for large sizes."""
