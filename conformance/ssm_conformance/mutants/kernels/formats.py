"""Honest scans with the arithmetic of other machines: exp2, fused products, flushed subnormals."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, loaded, stored
from ssm_conformance.mutants.kernels.scan import Problem

LOG2_E: Final = 1.4426950408889634
"""log₂ e, as float64 has it."""


class Prescaled(Honest):
    """exp(x) = exp2(x log₂ e), as GPUs have it."""

    def exp(self, x: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.functions.Functions`."""
        modulus = np.exp2(x.real * x.real.dtype.type(LOG2_E))
        if not np.iscomplexobj(x):
            return np.asarray(modulus)
        return np.asarray(modulus * (np.cos(x.imag) + 1j * np.sin(x.imag)), x.dtype)


class Fused(Honest):
    """a h + b and v + D u each rounded once."""

    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        """See :class:`~ssm_conformance.mutants.kernels.scan.Scan`."""
        decayed, _ = super().advance(p, t, h)
        pushed = self.hold(p, t) * p.u[:, :, t, None] * self.input_matrix(p, t)
        exact = _wider(self.decay(p, t)) * _wider(h)
        return decayed, (self.forget(exact, p.reset[:, t]) + _wider(pushed)).astype(decayed.dtype)

    def feed(self, p: Problem, v: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.scan.Scan`."""
        if p.D is None:
            return v
        return np.asarray(_wider(v) + _wider(p.D)[:, None] * _wider(p.u)).astype(v.dtype)


def _wider(x: Array) -> Array:
    """float32 as float64; float64 as whatever is longest here."""
    wide: Any = {"f": np.float64, "d": np.longdouble, "F": np.complex128, "D": np.clongdouble}
    return x.astype(wide[x.dtype.char])


class Flushed(Honest):
    """Subnormal numbers are zero, in what is read and in what is computed."""

    def load(self, x: Any, compute: str) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.kernel.Kernel`."""
        found = loaded(x, compute)
        return found if str(x.dtype) == "float16" else _flushed(found)  # a GPU never flushes those

    def store(self, x: Array, dtype: str) -> Any:
        """See :class:`~ssm_conformance.mutants.kernels.kernel.Kernel`."""
        return stored(_flushed(x), dtype)

    def exp(self, x: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.functions.Functions`."""
        return _flushed(super().exp(x))

    def softplus(self, x: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.functions.Functions`."""
        return _flushed(super().softplus(x))

    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        """See :class:`~ssm_conformance.mutants.kernels.scan.Scan`."""
        decayed = self.forget(_flushed(self.decay(p, t) * h), p.reset[:, t])
        pushed = _flushed(_flushed(self.hold(p, t) * p.u[:, :, t, None]) * self.input_matrix(p, t))
        return decayed, _flushed(decayed + pushed)

    def contract(self, C: Array, h: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.scan.Scan`."""
        return _flushed(super().contract(C, h))

    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.adjoint.Honest`."""
        return _flushed(super().carry_back(p, t, adjoint))

    def slope_input(self, p: Problem, t: int, adjoint: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.adjoint.Honest`."""
        return _flushed(super().slope_input(p, t, adjoint))


def _flushed(x: Array) -> Array:
    """A zero of its sign where a real or an imaginary part is subnormal."""
    if np.iscomplexobj(x):
        found = np.empty_like(x)  # a sum with 1j loses the sign of a zero
        found.real, found.imag = _flushed(x.real), _flushed(x.imag)
        return found
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


class Widened(Honest):
    """Everything between load and store in float64."""

    def precision(self, compute: str) -> str:
        """See :class:`~ssm_conformance.mutants.kernels.scan.Scan`."""
        return "float64"


class SavedGate(Honest):
    """The output before the gate is kept for the backward pass in the input's dtype."""

    def saved(self, p: Problem, v: Array) -> Array:
        """See :class:`~ssm_conformance.mutants.kernels.adjoint.Honest`."""
        return loaded(stored(v, p.io), p.compute)
