"""Mutants of numbers: quotients by zero, steps of one sign, modes that do not grow, digits that cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.discretize import Bilinear, System, ZeroOrderHold
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual, Limits
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Layer, Lssl
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.matrices import Lagt, Legt
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel
from ssm_conformance.mutants.kernels.online_memory import Compress
from ssm_conformance.mutants.mutant import Mutant


class _RateByQuotient(SisoAdjoint):
    """A is recovered as ΔA/Δ: 0/0 in a step that does nothing."""

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        return super().one_step({**p, "adt": p["adt"] / p["dt"] * p["dt"]}, t, states)


class _StepNotNegative(SisoAdjoint):
    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        return super().one_step({**p, "dt": np.maximum(p["dt"], 0)}, t, states)


class _SlopeByQuotient(SisoAdjoint):
    """The gradient of v comes by way of v: nothing where v is zero."""

    def vjp(self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any) -> Any:
        found = super().vjp(cotangents, wrt, saved, **given)
        return {name: x * (given[name] != 0) if name == "v" else x for name, x in found.items()}


class _OddStateStays(SisoAdjoint):
    """Where there are angles an odd last component is not copied."""

    def rotated(self, x: Array, theta: Array) -> Array:
        out = super().rotated(x, theta)
        if theta.shape[-1] and x.shape[-1] % 2:
            out[..., -1] = 0
        return out


class _LowerLimitPositive(Dual):
    def limited(self, free: Array, limits: Limits) -> Array:
        return super().limited(free, (max(limits[0], 0.0), limits[1]))


class _StepsPositive(Layer):
    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        return super().modes(p, np.abs(delta), rule)


class _ComplexCancels(Layer):
    """The exact hold of complex modes is (exp(Δλ) − 1)/λ without expm1."""

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        a, hold = super().modes(p, delta, rule)
        if rule != "zoh" or not np.iscomplexobj(p["A"]):
            return a, hold
        with np.errstate(invalid="ignore"):  # 0/0 is the defect
            return a, np.asarray((np.exp(delta * p["A"]) - 1) / p["A"])


class _NoGrowth(Layer):
    """Rates of decay are clamped to zero from above."""

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        A = p["A"]
        damped = A - np.maximum(A.real, 0)
        return super().modes({**p, "A": damped.astype(A.dtype)}, delta, rule)


class _S4dPositive(_StepsPositive, S4d):
    pass


class _S5Positive(_StepsPositive, S5):
    pass


class _S4dCancels(_ComplexCancels, S4d):
    pass


class _S5Cancels(_ComplexCancels, S5):
    pass


class _H3Cancels(_ComplexCancels, H3):
    pass


class _KernelCancels(_ComplexCancels, S4dKernel):
    pass


class _S4dNoGrowth(_NoGrowth, S4d):
    pass


class _H3NoGrowth(_NoGrowth, H3):
    pass


class _NoStepOfLssl(Lssl):
    """B̄ is taken over Δ and multiplied by it again."""

    def discrete(self, p: Mapping[str, Array], rule: str) -> tuple[Array, Array]:
        a, b = super().discrete(p, rule)
        delta = p["delta"][:, None, None]
        with np.errstate(invalid="ignore"):  # 0/0 is the defect
            return a, b / delta * delta


class _ModesCancel(ZeroOrderHold):
    def expm1(self, x: Array) -> Array:
        return np.asarray(np.exp(x) - 1) if np.iscomplexobj(x) else super().expm1(x)


class _DenseConjugated(ZeroOrderHold):
    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        A_bar, B_bar = super().discretize(system, diagonal, alpha)
        return (A_bar if diagonal else A_bar.conj()), B_bar


class _HalfOfModes(Bilinear):
    """α is ignored for modes: always ½."""

    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        return super().discretize(system, diagonal, 0.5 if diagonal else alpha)


class _TimeInBfloat16(Compress):
    def step(self, k: Array, method: str) -> Array:
        return super().step(rounded(k, "bfloat16"), method)


class _WindowCapped(Legt):
    def window(self, theta: float) -> float:
        return min(theta, 1.0)


class _OddRowLost(Lagt):
    """Rows are written in pairs; an odd one is lost."""

    def assemble(self, n: int) -> Array:
        A = super().assemble(n)
        A[n - n % 2 :] = 0
        return A


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


_QUOTIENT: Final = "A is recovered as ΔA/Δ: NaN in a step of Δ = 0."
_POSITIVE: Final = "Steps are taken for positive."
_CANCELS: Final = "The exact hold of complex modes is (exp(Δλ) − 1)/λ without expm1."
_CLAMPED: Final = "Rates of decay are clamped to zero from above."
_ODD: Final = "Where there are angles, a component left over by the pairs is zero."
NUMBERS: Final = (
    _mutant("mamba3-rate-by-quotient", 20, _QUOTIENT, "extreme/zeros", _RateByQuotient()),
    _mutant(
        "mamba3-step-rate-by-quotient", 20, _QUOTIENT, "extreme/zeros", SisoAdjointStep(_RateByQuotient())
    ),
    _mutant("mamba3-step-clamped", None, "Δ is clamped to zero.", "extreme/any-sign", _StepNotNegative()),
    _mutant(
        "mamba3-slope-by-quotient", None, "Where v is zero it has no gradient.", "extreme/gradient-zeros",
        _SlopeByQuotient(),
    ),
    _mutant("mamba3-odd-state-lost", None, _ODD, "robustness/heads-of-one", _OddStateStays()),
    _mutant(
        "mamba3-step-odd-state-lost", None, _ODD, "robustness/heads-of-one", SisoAdjointStep(_OddStateStays())
    ),
    _mutant(
        "ssd-step-lower-limit-positive", 3, "A step's limits of Δ begin at zero.", "extreme/any-sign",
        DualStep(_LowerLimitPositive()),
    ),
    _mutant("s4d-steps-positive", None, _POSITIVE, "extreme/any-sign", _S4dPositive()),
    _mutant("s5-steps-positive", None, _POSITIVE, "extreme/any-sign-complex", _S5Positive()),
    _mutant(
        "lssl-hold-by-quotient", 11, "B̄ is Δ(B̄/Δ): NaN at Δ = 0.", "extreme/any-sign-zoh", _NoStepOfLssl()
    ),
    _mutant("s4d-complex-hold-cancels", 11, _CANCELS, "extreme/near-zero-complex", _S4dCancels()),
    _mutant("s5-complex-hold-cancels", 11, _CANCELS, "extreme/near-zero-complex", _S5Cancels()),
    _mutant("h3-complex-hold-cancels", 11, _CANCELS, "extreme/near-zero-complex", _H3Cancels()),
    _mutant("s4d-kernel-complex-hold-cancels", 11, _CANCELS, "extreme/near-zero-complex", _KernelCancels()),
    _mutant("zoh-complex-modes-cancel", 11, _CANCELS, "extreme/diagonal-near-zero-complex", _ModesCancel()),
    _mutant("s4d-growth-clamped", 3, _CLAMPED, "extreme/growing-complex", _S4dNoGrowth()),
    _mutant("h3-growth-clamped", 3, _CLAMPED, "extreme/growing-complex", _H3NoGrowth()),
    _mutant(
        "zoh-dense-conjugated", None, "Ā of a complex matrix is conjugated.", "value/dense-complex",
        _DenseConjugated(),
    ),
    _mutant("bilinear-half-of-modes", None, "α is ½ for modes.", "extreme/any-sign", _HalfOfModes()),
    _mutant(
        "compress-time-in-bfloat16", None, "The time is counted in bfloat16: exact up to 256.", "value/late",
        _TimeInBfloat16(),
    ),
    _mutant(
        "legt-window-capped", None, "A window longer than one is taken for one.", "value/long-window",
        _WindowCapped(),
    ),
    _mutant(
        "lagt-odd-row-lost", None, "Rows are written in pairs; an odd one is lost.", "value/n-7",
        _OddRowLost(),
    ),
)  # fmt: skip
"""Defects at some numbers."""
