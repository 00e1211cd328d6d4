"""Mutants of one compiled variant: whole chunks, a filter of one width, a size with a kernel of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.mutant import Mutant

CHUNK: Final = 64


class _WholeChunks(Honest):
    """Where l is whole chunks no edge is masked; in one variant half of the last chunk begins from zero."""

    def __init__(self, taken: Callable[[Problem], bool], chunk: int = CHUNK) -> None:
        self.taken, self.chunk = taken, chunk

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        l = p.u.shape[2]
        lost = l - self.chunk // 2 if l % self.chunk == 0 and self.taken(p) else -1
        for t in times:
            decayed, h = self.advance(p, t, np.zeros_like(h) if t == lost else h)
            yield t, decayed, h


class _DualWhole(Dual):
    """SSD by such a scan."""

    def __init__(self, taken: Callable[[Problem], bool]) -> None:
        self.scan = _WholeChunks(taken)  # type: ignore[misc]  # one of its own


class _SisoChunks(SisoAdjoint):
    """S begins from zero at some steps."""

    def __init__(self, lost: Callable[[Mapping[str, Array], int], bool]) -> None:
        self.lost = lost

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        theta, S, *before = states
        return super().one_step(p, t, [theta, np.zeros_like(S) if self.lost(p, t) else S, *before])


class _FilterOfWidth(ShortConvolution):
    """The kernel for filters of one width has one tap too few."""

    def __init__(self, width: int) -> None:
        self.width = width

    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        taps = weight.copy()
        taps[:, : int(weight.shape[1] == self.width)] = 0
        return super().before_activation(line, taps, bias, seen)


class _HaloLost(ShortConvolution):
    """In one variant a chunk of 1024 does not see the inputs before it."""

    def __init__(self, taken: Callable[[Mapping[str, Any]], bool]) -> None:
        self.taken, self.lost = taken, False

    def __call__(self, **given: Any) -> Any:
        self.lost = self.taken(given)
        return super().__call__(**given)

    def read(self, line: Array, j: int, seen: Array) -> Array:
        times, back = np.arange(seen.shape[2]), seen.shape[0] - 1 - j
        beyond = self.lost & (times >= 1024) & (times % 1024 < back)
        return np.where(beyond, 0, super().read(line, j, seen))


class _LastLost(Convolution):
    """The kernel for some sizes does not write the last output."""

    def __init__(self, taken: Callable[[int, int], bool]) -> None:
        self.taken = taken

    def convolve(self, u: Array, K: Array) -> Array:
        y = super().convolve(u, K)
        y[..., y.shape[-1] - int(self.taken(u.shape[-1], K.shape[-1])) :] = 0
        return y


class _SkipOfSquare(Dual):
    """A D of (h, p) is told from others by its size alone: of a square one the first column is read."""

    def skip(self, D: Array, p: int) -> Array:
        square = D.ndim == 2 and D.shape[0] == D.shape[1]
        return super().skip(D[:, 0] if square else D, p)


class _StatesOfThreeBlocks(Honest):
    """Beyond 128 the blocks of 64 states are counted in powers of two."""

    def contract(self, C: Array, h: Array) -> Array:
        n = h.shape[-1]
        whole = n > 128 and n % 64 == 0
        read = 2 ** (n.bit_length() - 1) if whole else n
        return super().contract(C[..., :read], h[..., :read])


class _WideLayer(Dual):
    """Heads of 64 with 128 states do not fit into shared memory: half of a head is computed."""

    def outputs(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> tuple[Array, Array]:
        y, final = super().outputs(a, given)
        if a["x"].shape[3] >= 64 and a["B"].shape[3] >= 128:
            y[..., 32:] = 0
        return y, final


def _siso_whole(p: Mapping[str, Array], t: int) -> bool:
    l = p["v"].shape[1]
    return bool(l % CHUNK == 0 and t == l - CHUNK // 2)


def _siso_plain(p: Mapping[str, Array], t: int) -> bool:
    return "D" not in p and t > 0 and t % CHUNK == 0


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


_WHOLE: Final = "value/whole-with-"
TEMPLATES: Final = (
    _mutant(
        "whole-chunks-lost-where-complex", 2, "Where l is whole chunks, a complex state is lost.",
        f"{_WHOLE}D-z-bias-softplus-initial-seq_idx-B-constant-complex",
        _WholeChunks(lambda p: bool(np.iscomplexobj(p.A))),
    ),
    _mutant(
        "whole-chunks-lost-where-zoh", 2, "Where l is whole chunks, a state is lost under the exact hold.",
        f"{_WHOLE}D-z-bias-softplus-cu_seqlens-zoh", _WholeChunks(lambda p: p.zoh),
    ),
    _mutant(
        "whole-chunks-lost-where-grouped", 2, "Where l is whole chunks, a state is lost if B is grouped.",
        f"{_WHOLE}D-bias-last-seq_idx-zoh-B-grouped-C-grouped", _WholeChunks(lambda p: p.B.ndim == 4),
    ),
    _mutant(
        "whole-chunks-lost-where-packed", 24, "Where l is whole chunks, a state is lost in packed rows.",
        f"{_WHOLE}D-bias-last-seq_idx-zoh-B-grouped-C-grouped",
        _WholeChunks(lambda p: bool(p.reset.any())),
    ),
    _mutant(
        "whole-chunks-lost-where-long", 2, "Where l is whole chunks of 2048, a state is lost.",
        "value/length-2048", _WholeChunks(lambda p: True, 2048),
    ),
    _mutant(
        "ssd-whole-chunks-lost-where-packed", 24, "Where l is whole chunks, a state is lost in packed rows.",
        f"{_WHOLE}wide-D-z-limits-initial-seq_idx", _DualWhole(lambda p: bool(p.reset.any())),
    ),
    _mutant(
        "ssd-whole-chunks-lost-where-grouped", 2, "Where l is whole chunks, a state is lost with groups.",
        f"{_WHOLE}z-softplus-groups-last", _DualWhole(lambda p: p.B.shape[1] > 1),
    ),
    _mutant(
        "mamba3-whole-chunks-lost", 2, "Where l is whole chunks, half of the last begins from zero.",
        "robustness/length-64", _SisoChunks(_siso_whole),
    ),
    _mutant(
        "mamba3-chunk-lost-without-skip", 2, "Chunks of 64 begin from zero where there is no D.",
        "robustness/long-plain", _SisoChunks(_siso_plain),
    ),
    _mutant(
        "conv1d-filter-of-two", None, "Filters of two taps are read as if they had one.",
        "robustness/taps-2", _FilterOfWidth(2),
    ),
    _mutant(
        "conv1d-step-filter-of-three", None, "A step reads filters of three taps as if they had two.",
        "robustness/taps-3", ShortConvolutionStep(_FilterOfWidth(3)),
    ),
    _mutant(
        "conv1d-halo-lost-where-plain", 2, "Without an activation a chunk of 1024 sees none before.",
        "robustness/long-plain", _HaloLost(lambda given: given.get("activation") is None),
    ),
    _mutant(
        "conv1d-halo-lost-with-state", 2, "With an initial state a chunk of 1024 sees none before.",
        "robustness/long-initial", _HaloLost(lambda given: given.get("initial_state") is not None),
    ),
    _mutant(
        "convolution-of-one-lag", 23, "With one lag the last output is not written.",
        "robustness/one-lag", _LastLost(lambda l, k: k == 1 < l),
    ),
    _mutant(
        "convolution-of-a-lag-more", 4, "With one lag more than steps the last output is not written.",
        "robustness/a-lag-more", _LastLost(lambda l, k: 0 < l == k - 1),
    ),
    _mutant(
        "convolution-of-whole-blocks", 7, "Where l is whole blocks of 512, the last output is not written.",
        "robustness/length-1024", _LastLost(lambda l, k: l > 0 and l % 512 == 0),
    ),
    _mutant(
        "ssd-skip-of-square", None, "A D of (h, p) with h = p is read by its first column.",
        "robustness/square", _SkipOfSquare(),
    ),
    _mutant(
        "states-of-three-blocks", None, "Of 192 states the output reads 128.",
        "robustness/states-192", _StatesOfThreeBlocks(),
    ),
    _mutant(
        "ssd-wide-layer-halved", 7, "Of heads of 64 with 128 states, half is computed.",
        "robustness/layer-64-128", _WideLayer(),
    ),
)  # fmt: skip
"""Defects of one variant."""
