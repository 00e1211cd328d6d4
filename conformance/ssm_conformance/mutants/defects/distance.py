"""Mutants that count in 32 bits along one dimension of one array, and in 64 along the others.

Their integers are as wide as a compiler's that takes the width of a product from its factors: a stride of
2³¹ and more is one of 64 bits, and so is its product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

Read = Callable[[Array], Array]


def _wraps(x: Array, dim: int, bits: int, every: int) -> Array:
    """Which indices of a dimension have an offset that wraps: of those that are multiples of ``every``.

    What lies between two of these is counted from the one before.
    """
    stride = x.strides[dim] // x.itemsize
    counted = np.arange(x.shape[dim]) // every * every
    return np.asarray((stride < 2**31) & (counted * stride >= 2**bits))


def _narrow(x: Array, dim: int, bits: int = 31, every: int = 1) -> Array:
    """What wraps is read as zero: where the address lies would end the process."""
    along = [1] * x.ndim
    along[dim] = -1
    return np.where(_wraps(x, dim, bits, every).reshape(along), x.dtype.type(0), x)


def _signed(dim: int) -> Read:
    return partial(_narrow, dim=dim)


def _unsigned(dim: int) -> Read:
    return partial(_narrow, dim=dim, bits=32)


def _misread(given: Mapping[str, Any], wrong: Mapping[str, Read]) -> dict[str, Any]:
    return {
        name: wrong[name](x) if name in wrong and isinstance(x, np.ndarray) else x
        for name, x in given.items()
    }


class _Scan(Honest):
    def __init__(self, **wrong: Read) -> None:
        self.wrong = wrong

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        return super().prepare(*args, **_misread(inputs, self.wrong))


class _Step(Step):
    def __init__(self, **wrong: Read) -> None:
        super().__init__(Honest())
        self.wrong = wrong

    def __call__(self, **given: Any) -> tuple[Any, Any]:
        return super().__call__(**_misread(given, self.wrong))


class _WritesPool(Step):
    """Of a pool that is written in place, the slots that wrap are not."""

    def __call__(self, *, state: Any, inplace: bool = False, **given: Any) -> tuple[Any, Any]:
        before, lost = state.copy(), _wraps(state, 0, 31, 1)
        y, new = super().__call__(state=state, inplace=inplace, **given)
        if inplace:
            new[lost] = before[lost]
        return y, new


class _Dual(Dual):
    def __init__(self, **wrong: Read) -> None:
        self.wrong = wrong

    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        return super().inside(_misread(given, self.wrong))


class _CotangentOfDual(Dual):
    """The cotangent of y, from head to head."""

    def vjp(self, cotangents: Any, *args: Any, **given: Any) -> dict[str, Any]:
        return super().vjp(_misread(cotangents, {"y": _signed(2)}), *args, **given)


class _DualStep(DualStep):
    def __init__(self, **wrong: Read) -> None:
        super().__init__()
        self.wrong = wrong

    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_misread(given, self.wrong))


class _Convolution(ShortConvolution):
    def __init__(self, **wrong: Read) -> None:
        self.wrong = wrong

    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_misread(given, self.wrong))


def _mutant(name: str, summary: str, case: str, kernel: Any) -> Mutant:
    return Mutant(name, 29, summary, f"robustness/far-{case}", kernel, only=("float32",))


DISTANCE: Final = (
    _mutant("time-in-32-bits", "u is counted in 32 bits along time.", "u-small", _Scan(u=_signed(2))),
    _mutant(
        "channels-in-32-bits", "z is counted in 32 bits from channel to channel.", "z-fours",
        _Scan(z=_signed(1)),
    ),
    _mutant(
        "states-in-unsigned-32-bits", "B is counted in 32 unsigned bits from state to state.", "B-fours",
        _Scan(B=_unsigned(1)),
    ),
    _mutant(
        "groups-in-32-bits", "C is counted in 32 bits from group to group.", "C-fours-packed",
        _Scan(C=_signed(1)),
    ),
    _mutant(
        "rows-of-ids-in-32-bits", "seq_idx is counted in 32 bits from row to row.", "seq_idx-fours-packed",
        _Scan(seq_idx=_signed(0)),
    ),
    _mutant(
        "blocks-in-32-bits", "delta is counted in 32 bits from one block of 32 steps to the next.",
        "delta-length-65", _Scan(delta=partial(_narrow, dim=2, every=32)),
    ),
    _mutant(
        "step-channels-in-32-bits", "The state is counted in 32 bits from channel to channel.", "state-fours",
        _Step(state=_signed(1)),
    ),
    _mutant(
        "step-slots-in-unsigned-32-bits", "Slots are counted in 32 unsigned bits.", "state-fours-pool",
        _Step(state=_unsigned(0)),
    ),
    _mutant(
        "step-writes-in-32-bits", "A slot is written where 32 bits say, in place.", "state-fours-inplace",
        _WritesPool(Honest()),
    ),
    _mutant(
        "ssd-heads-in-32-bits", "x is counted in 32 bits from head to head.", "x-square",
        _Dual(x=_signed(2)),
    ),
    _mutant(
        "ssd-channels-in-unsigned-32-bits", "z is counted in 32 unsigned bits from channel to channel.",
        "z-fours", _Dual(z=_unsigned(3)),
    ),
    _mutant(
        "ssd-chunks-in-32-bits", "B is counted in 32 bits from one chunk of 64 steps to the next.",
        "B-length-65", _Dual(B=partial(_narrow, dim=1, every=64)),
    ),
    _mutant(
        "ssd-cotangent-heads-in-32-bits", "The cotangent of y is counted in 32 bits from head to head.",
        "cotangents-square", _CotangentOfDual(),
    ),
    _mutant(
        "ssd-step-heads-in-32-bits", "The state is counted in 32 bits from head to head.", "state-square",
        _DualStep(state=_signed(1)),
    ),
    _mutant(
        "conv1d-channels-in-32-bits", "x is counted in 32 bits from channel to channel.", "x-square",
        _Convolution(x=_signed(1)),
    ),
)  # fmt: skip
"""Defects of distance."""
