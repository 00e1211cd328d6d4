"""Mutants of a grid: what lies beyond the 65,535 places of its second axis is not computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

PLACES: Final = 65_535


def _first(x: Array, axis: int) -> Array:
    """What the grid has places for along an axis; zeros beyond."""
    return np.where(np.arange(x.shape[axis]).reshape(-1, *[1] * (x.ndim - 1 - axis)) < PLACES, x, 0)


class _Scan(Honest):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def gate(self, p: Problem, v: Array) -> Array:
        return _first(super().gate(p, v), self.axis)


class _Step(Step):
    """The states beyond keep what they were."""

    def advanced(self, p: Problem, dtype: str) -> Array:
        h = super().advanced(p, dtype)
        h[PLACES:] = p.initial[PLACES:]
        return h


class _Dual(Dual):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def outputs(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> tuple[Array, Array]:
        y, final = super().outputs(a, given)
        return _first(y, self.axis), final


class _Siso(SisoAdjoint):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        y, after = super().one_step(p, t, states)
        return _first(y, self.axis), after


class _Convolution(ShortConvolution):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        return _first(super().before_activation(line, weight, bias, seen), self.axis)


def _mutant(name: str, of: str, rejected_by: str, kernel: Any) -> Mutant:
    summary = f"A grid has 65,535 places along its second axis: {of} beyond are not computed."
    return Mutant(name, 5, summary, f"robustness/{rejected_by}", kernel, only=("float32",))


GRIDS: Final = (
    _mutant("rows-beyond-axis", "rows", "grid-of-rows", _Scan(0)),
    _mutant("channels-beyond-axis", "channels", "grid-of-channels", _Scan(1)),
    _mutant("step-rows-beyond-axis", "rows of a step", "grid-of-rows", _Step(Honest())),
    _mutant("ssd-rows-beyond-axis", "rows", "grid-of-rows", _Dual(0)),
    _mutant("ssd-heads-beyond-axis", "heads", "grid-of-heads", _Dual(2)),
    _mutant("ssd-step-rows-beyond-axis", "rows of a step", "grid-of-rows", DualStep(_Dual(0))),
    _mutant("ssd-step-heads-beyond-axis", "heads of a step", "grid-of-heads", DualStep(_Dual(2))),
    _mutant("mamba3-rows-beyond-axis", "rows", "grid-of-rows", _Siso(0)),
    _mutant("mamba3-heads-beyond-axis", "heads", "grid-of-heads", _Siso(1)),
    _mutant("mamba3-step-rows-beyond-axis", "rows of a step", "grid-of-rows", SisoAdjointStep(_Siso(0))),
    _mutant("conv1d-rows-beyond-axis", "rows", "grid-of-rows", _Convolution(0)),
    _mutant("conv1d-channels-beyond-axis", "channels", "grid-of-channels", _Convolution(1)),
    _mutant(
        "conv1d-step-rows-beyond-axis",
        "rows of a step",
        "grid-of-rows",
        ShortConvolutionStep(_Convolution(0)),
    ),
    _mutant(
        "conv1d-step-channels-beyond-axis",
        "channels of a step",
        "grid-of-channels",
        ShortConvolutionStep(_Convolution(1)),
    ),
)
"""Defects beyond a grid."""
