"""Mutants that take one array, one gradient or one cotangent to be like another, or like the usual ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


def _late(x: Array) -> int:
    """Elements from the last address that is a multiple of 16 bytes to the first element."""
    return int(x.__array_interface__["data"][0]) % 16 // x.itemsize


def _beyond(x: Any) -> bool:
    """Whether an offset inside an array has more than 31 bits."""
    if not isinstance(x, np.ndarray):
        return False
    last = sum((size - 1) * step for size, step in zip(x.shape, x.strides, strict=True))
    return bool(last // x.itemsize >= 2**31)


def _wrapped(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays that reach so far are read from elsewhere, where there are zeros."""
    return {name: np.zeros_like(x) if _beyond(x) else x for name, x in given.items()}


class _AlignmentOfU(Honest):
    """Where u begins at a multiple of 16 bytes, z is read as if it did."""

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        z = inputs.get("z")
        if z is not None and _late(inputs["u"]) == 0 and z.flags.c_contiguous:
            inputs["z"] = np.roll(z, _late(z))
        return super().prepare(*args, **inputs)


class _CotangentIn32Bits(Honest):
    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any, **inputs: Any) -> dict[str, Any]:
        return super().vjp(_wrapped(cotangents), wrt, saved, **inputs)


class _PoolIn32Bits(Step):
    """A slot times the stride of slots is counted in the 32 bits of the slot."""

    def wide(self, state: Any, compute: str) -> Array:
        return super().wide(np.zeros_like(state) if _beyond(state) else state, compute)


class _DualIn32Bits(Dual):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_wrapped(given))


class _ConvolutionIn32Bits(ShortConvolution):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_wrapped(given))


class _OneBuffer(Honest):
    """Without a gradient of u the gradients of B and C are summed in one buffer."""

    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any, **inputs: Any) -> dict[str, Any]:
        found = super().vjp(cotangents, wrt, saved, **inputs)
        if "u" not in wrt and "B" in wrt and "C" in wrt:
            found["B"] = found["C"]
        return found


class _ByObject(Honest):
    """Gradients are kept by the array that they are of."""

    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any, **inputs: Any) -> dict[str, Any]:
        found = super().vjp(cotangents, wrt, saved, **inputs)
        last = {id(inputs[name]): name for name in wrt}
        return {name: found[last[id(inputs[name])]] for name in wrt}


class _AdjointClamped(Honest):
    """The adjoint state is clamped to what float16 holds."""

    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        below = super().carry_back(p, t, adjoint)
        return np.asarray(np.where(np.abs(below) > 65504, np.sign(below) * 65504, below), below.dtype)


class _SmallSkipped(Honest):
    """Steps whose adjoint state is small are skipped."""

    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        below = super().carry_back(p, t, adjoint)
        return np.asarray(np.where(np.abs(below) < 1e-9, 0, below))


class _PutBack(Honest):
    """delta_bias is added to the caller's delta, and what was there is put back."""

    def biased(self, delta: Any, bias: Array | None, compute: str) -> Array:
        if bias is None or delta.dtype != compute:
            return super().biased(delta, bias, compute)
        kept = delta.copy()
        delta += bias[:, None]
        found = np.array(delta)
        delta[...] = kept
        return found


class _NextRowRead(Honest):
    """The element after each row's is read too, and multiplied by zero."""

    def gate(self, p: Problem, v: Array) -> Array:
        found = super().gate(p, v)
        found[:-1] += 0 * found[1:]
        return found


class _NextAdjointRead(Honest):
    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        below = super().carry_back(p, t, adjoint)
        below[:-1] += 0 * below[1:]
        return below


class _StepBeforeRead(Honest):
    """The gradient of the step before is read too, and multiplied by zero."""

    def through_gate(self, p: Problem, r: Array, last: Array) -> dict[str, Array]:
        total = super().through_gate(p, r, last)
        before = np.pad(total["u"], ((0, 0), (0, 0), (1, 0)))[..., :-1]
        return total | {"u": total["u"] + 0 * before}


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


_IN_32_BITS: Final = "Offsets of elements are counted in 32 bits."
UNLIKE: Final = (
    _mutant(
        "alignment-of-u-for-z", 31, "Where u is aligned, z is read as if it were.",
        "robustness/apart-typical", _AlignmentOfU(),
    ),
    _mutant(
        "cotangent-in-32-bits", 29, "Offsets of elements of a cotangent are counted in 32 bits.",
        "robustness/far-cotangents-small", _CotangentIn32Bits(),
    ),
    _mutant(
        "step-slots-in-32-bits", 29, "A slot times the stride of slots is counted in 32 bits.",
        "robustness/far-state-small-pool", _PoolIn32Bits(Honest()),
    ),
    _mutant("ssd-offsets-in-32-bits", 29, _IN_32_BITS, "robustness/far-x-square", _DualIn32Bits()),
    _mutant("conv1d-offsets-in-32-bits", 29, _IN_32_BITS, "robustness/far-x-square", _ConvolutionIn32Bits()),
    _mutant(
        "one-buffer-without-u", 17, "Where u needs no gradient, those of B and C share a buffer.",
        "gradient/apart-typical", _OneBuffer(),
    ),
    _mutant(
        "gradients-by-object", None, "Gradients are kept by array: of two that are one, one is lost.",
        "robustness/shared-typical", _ByObject(),
    ),
    _mutant(
        "adjoint-clamped", 20, "The adjoint state is clamped to ±65504.",
        "gradient/scaled-typical", _AdjointClamped(),
    ),
    _mutant(
        "small-adjoint-skipped", None, "Where the adjoint state is below 1e-9 it is taken for zero.",
        "gradient/scaled-typical", _SmallSkipped(),
    ),
    _mutant(
        "writes-delta-and-puts-back", None, "delta_bias is added to the caller's delta, then taken out.",
        "robustness/inputs-unchanged-typical", _PutBack(),
    ),
    _mutant(
        "next-row-read", None, "The next row is read too, times zero: a NaN there reaches this one.",
        "extreme/confinement-typical", _NextRowRead(),
    ),
    _mutant(
        "step-next-row-read", None, "A step reads the next row too, times zero.",
        "extreme/confinement-typical", Step(_NextRowRead()),
    ),
    _mutant(
        "next-adjoint-read", None, "The backward pass reads the next row's adjoint state too, times zero.",
        "extreme/confinement-gradients-typical", _NextAdjointRead(),
    ),
    _mutant(
        "step-before-read", None, "The gradient of u reads that of the step before too, times zero.",
        "property/anticausality-typical", _StepBeforeRead(),
    ),
)  # fmt: skip
"""Defects of likeness."""
