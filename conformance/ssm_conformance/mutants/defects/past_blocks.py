"""Mutants of the linear rooms and of Mamba-3 that compute whole blocks, of whatever there is much of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.discretize import Bilinear, Discretisation, System, ZeroOrderHold
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Layer, Lssl
from ssm_conformance.mutants.kernels.mamba3 import Siso, SisoStep
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel, S4Kernel
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel, Recurrence
from ssm_conformance.mutants.mutant import Mutant

ROWS: Final = 16
"""Rows of a tile."""
BLOCK: Final = 64
"""States, systems, inputs or outputs of a block."""


def _left_over(size: int, tile: int) -> slice:
    """What lies beyond whole tiles, where there is one at least."""
    return slice(size - size % tile if size > tile else size, size)


class _RowsOfTiles(Recurrence):
    def run(self, p: Mapping[str, Array], diagonal: bool) -> tuple[Array, list[Array]]:
        y, kept = super().run(p, diagonal)
        y[_left_over(len(y), ROWS)] = 0
        return y, kept


class _LayerOfTiles(Layer):
    def recurrence(self) -> Recurrence:
        return _RowsOfTiles()


class _S4dRows(_LayerOfTiles, S4d):
    pass


class _S5Rows(_LayerOfTiles, S5):
    pass


class _LsslRows(_LayerOfTiles, Lssl):
    pass


class _H3Rows(H3):
    def keys(self, p: Mapping[str, Array]) -> Array:
        found = super().keys(p)
        found[_left_over(len(found), ROWS)] = 0
        return found


class _ConvolutionRows(Convolution):
    def convolve(self, u: Array, K: Array) -> Array:
        y = super().convolve(u, K)
        y[_left_over(len(y), BLOCK)] = 0
        return y


class _ModesOfBlock(Recurrence):
    def output(self, p: Mapping[str, Array], k: int, before: Array, h: Array, gamma: int) -> Array:
        read = p["C"].copy()
        read[..., BLOCK if gamma == 2 else read.shape[-1] :] = 0
        return super().output({**p, "C": read}, k, before, h, gamma)


class _LagsOfBlock(ConvolutionKernel):
    def times(self, matrix: Array, columns: Array) -> Array:
        return super().times(matrix[..., :BLOCK], columns[..., :BLOCK, :])


class _KernelOfBlock(S4dKernel):
    def output(self, p: Mapping[str, Array]) -> Array:
        C = super().output(p).copy()
        C[..., BLOCK:] = 0
        return C


class _H3OfBlock(H3):
    def lags(self) -> ConvolutionKernel:
        return _LagsOfBlock()


class _StatesOfBlock(Recurrence):
    def output(self, p: Mapping[str, Array], k: int, before: Array, h: Array, gamma: int) -> Array:
        return super().output(p, k, before, np.where(np.arange(h.shape[-2]) < BLOCK, h.mT, 0).mT, gamma)


class _LsslOfBlock(Lssl):
    def recurrence(self) -> Recurrence:
        return _StatesOfBlock()


class _LowRankOfBlock(S4Kernel):
    def low_rank(self, P: Array, Q: Array) -> Array:
        found = super().low_rank(P, Q)
        found[..., BLOCK:] = 0
        return found


class _MatricesOfBlock(Discretisation):
    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        A_bar, B_bar = super().discretize(system, diagonal, alpha)  # type: ignore[safe-super]  # the rule's
        if not diagonal and A_bar.ndim == 3:
            A_bar = A_bar.copy()
            A_bar[_left_over(len(A_bar), BLOCK)] = 0
        return A_bar, B_bar


class _ZohMatrices(_MatricesOfBlock, ZeroOrderHold):
    pass


class _BilinearMatrices(_MatricesOfBlock, Bilinear):
    pass


class _RecurrenceMatrices(Recurrence):
    def run(self, p: Mapping[str, Array], diagonal: bool) -> tuple[Array, list[Array]]:
        y, kept = super().run(p, diagonal)
        if not diagonal and y.ndim == 4:
            y[:, _left_over(y.shape[1], BLOCK)] = 0
        return y, kept


class _KernelMatrices(ConvolutionKernel):
    def __call__(self, *, length: int, diagonal: bool = False, **inputs: Any) -> Any:
        K = super().__call__(length=length, diagonal=diagonal, **inputs)
        if not diagonal and K.ndim == 4:
            K[_left_over(len(K), BLOCK)] = 0
        return K


class _OutputsOfBlock(Recurrence):
    def run(self, p: Mapping[str, Array], diagonal: bool) -> tuple[Array, list[Array]]:
        y, kept = super().run(p, diagonal)
        y[..., _left_over(y.shape[-2], BLOCK), :] = 0
        return y, kept


class _KernelInputsOfBlock(ConvolutionKernel):
    def __call__(self, *, length: int, diagonal: bool = False, **inputs: Any) -> Any:
        K = super().__call__(length=length, diagonal=diagonal, **inputs)
        K[..., _left_over(K.shape[-2], BLOCK), :] = 0
        return K


class _HeadsOfTwoBlocks(Siso):
    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        y, states = super().one_step(p, t, states)
        y[..., 2 * BLOCK :] = 0
        return y, states


def _mutant(name: str, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, 7, summary, f"robustness/{rejected_by}", kernel, only=("float32",))


_ROWS: Final = "Rows are computed in tiles of 16; what is left over is not."
_MODES: Final = "Of modes 64 are summed."
_STATES: Final = "Of states 64 are read."
_MATRICES: Final = "Of full matrices whole blocks of 64 are computed."
_HEADS: Final = "Of a head 128 channels are computed."
PAST_BLOCKS: Final = (
    _mutant("recurrence-rows-of-tiles", _ROWS, "rows-67", _RowsOfTiles()),
    _mutant("s4d-rows-of-tiles", _ROWS, "rows-67", _S4dRows()),
    _mutant("s5-rows-of-tiles", _ROWS, "rows-67", _S5Rows()),
    _mutant("lssl-rows-of-tiles", _ROWS, "rows-67", _LsslRows()),
    _mutant("h3-rows-of-tiles", _ROWS, "rows-67", _H3Rows()),
    _mutant(
        "convolution-rows-of-blocks", "Rows are computed in blocks of 64; what is left over is not.",
        "rows-67", _ConvolutionRows(),
    ),
    _mutant("recurrence-modes-of-block", _MODES, "modes-67", _ModesOfBlock()),
    _mutant("kernel-modes-of-block", _MODES, "modes-67", _LagsOfBlock()),
    _mutant("s4d-kernel-modes-of-block", _MODES, "modes-67", _KernelOfBlock()),
    _mutant("h3-modes-of-block", _MODES, "modes-67", _H3OfBlock()),
    _mutant("lssl-states-of-block", _STATES, "states-67", _LsslOfBlock()),
    _mutant("s4-low-rank-of-block", "Of states 64 are in the low-rank part.", "states-65", _LowRankOfBlock()),
    _mutant("zoh-matrices-of-block", _MATRICES, "matrices-67", _ZohMatrices()),
    _mutant("bilinear-matrices-of-block", _MATRICES, "matrices-67", _BilinearMatrices()),
    _mutant("recurrence-matrices-of-block", _MATRICES, "matrices-67", _RecurrenceMatrices()),
    _mutant("kernel-matrices-of-block", _MATRICES, "matrices-67", _KernelMatrices()),
    _mutant(
        "recurrence-outputs-of-block", "Of outputs of a system whole blocks of 64 are computed.",
        "inputs-70", _OutputsOfBlock(),
    ),
    _mutant(
        "kernel-inputs-of-block", "Of outputs and inputs of a system whole blocks of 64 have kernels.",
        "inputs-70", _KernelInputsOfBlock(),
    ),
    _mutant("mamba3-heads-of-two-blocks", _HEADS, "widths-129", _HeadsOfTwoBlocks()),
    _mutant("mamba3-step-heads-of-two-blocks", _HEADS, "widths-129", SisoStep(_HeadsOfTwoBlocks())),
)  # fmt: skip
"""Defects past one block."""
