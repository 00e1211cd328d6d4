"""Mutants whose functions are wrong: exponential, softplus, sigmoid, the exact hold; and what overflows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.functions import Functions
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.mutant import Mutant


class SoftplusNaive(Honest):
    """Also a defect of the step."""

    def softplus(self, x: Array) -> Array:
        """log(exp(x) + 1), as written."""
        return np.asarray(np.log(np.exp(x) + 1))


class SoftplusCut(Functions):
    """softplus(x) is x above a threshold; mixed into implementations."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def softplus(self, x: Array) -> Array:
        """log(1 + exp(x)) below it."""
        return np.where(x > self.threshold, x, super().softplus(x))


class CutScan(SoftplusCut, Honest):
    """Of a scan, and of its step."""


class _SigmoidOverflows(Honest):
    def sigmoid(self, x: Array) -> Array:
        return np.asarray(np.exp(x) / (1 + np.exp(x)))


class _HoldCancels(Honest):
    def expm1(self, x: Array) -> Array:
        return np.exp(x) - 1


class _ExponentialInFloat16(Honest):
    def exp(self, x: Array) -> Array:
        return rounded(super().exp(x), "float16")


class _SoftplusByRamp(Honest):
    def softplus(self, x: Array) -> Array:
        return np.where(x < -20, 0, super().softplus(x))


class _SoftplusSubtracts(Honest):
    def softplus(self, x: Array) -> Array:
        return x + np.log1p(np.exp(-x))


class _NaNHidden(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        return np.nan_to_num(super().finish(p, v), posinf=np.inf, neginf=-np.inf)


class _SoftplusTailByExp(Honest):
    def softplus(self, x: Array) -> Array:
        return np.where(x < -15, np.exp(x), super().softplus(x))


class _ExponentialOffAtRandom(Honest):
    def exp(self, x: Array) -> Array:
        noise = np.sin(1e4 * x.real.astype(np.float64))  # a fixed function of x, as a table's error is
        return np.asarray(super().exp(x) * (1 + 2e-6 * noise), x.dtype)


class _SigmoidByTanh(Honest):
    def sigmoid(self, x: Array) -> Array:
        return np.asarray((1 + rounded(np.tanh(x / 2), "float16")) / 2)


class _CubicExponential(Honest):
    def exp(self, x: Array) -> Array:
        power = np.maximum(x.real, -1e4) / np.log(2)
        whole = np.floor(power)
        f = power - whole
        value = np.exp2(whole) * (1 + f * (0.6951 + f * (0.2276 + f * 0.0773)))
        if not np.iscomplexobj(x):
            return np.asarray(value, x.dtype)
        return np.asarray(value * (np.cos(x.imag) + 1j * np.sin(x.imag)), x.dtype)


class _ShortLog2E(Honest):
    def exp(self, x: Array) -> Array:
        modulus = np.exp2(x.real * x.real.dtype.type(1.4427))
        if not np.iscomplexobj(x):
            return np.asarray(modulus)
        return np.asarray(modulus * (np.cos(x.imag) + 1j * np.sin(x.imag)))


class _DifferencesOverflow(Honest):
    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        total, exponent = h, np.zeros_like(h)
        for t in times:
            reset = p.reset[:, t]
            total, exponent = self.forget(total, reset), self.forget(exponent, reset)
            decayed = self.forget(self.decay(p, t) * h, reset)
            exponent = exponent + p.step_at(t) * p.A
            pushed = self.hold(p, t) * p.u[:, :, t, None] * self.input_matrix(p, t)
            total = total + pushed * self.exp(-exponent)
            h = self.exp(exponent) * total
            yield t, decayed, h


FUNCTIONS: Final = (
    Mutant(
        "softplus-naive",
        10,
        "softplus is log(exp(x) + 1): all of it is lost for small exp(x), and it overflows for large x.",
        "extreme/softplus-small",
        SoftplusNaive(),
    ),
    Mutant(
        "softplus-cut",
        None,
        "softplus(x) is x above 20: wrong by 2e-9, which only float64 can see.",
        "extreme/softplus-large",
        CutScan(20),
    ),
    Mutant(
        "softplus-cut-at-10",
        None,
        "softplus(x) is x above 10: wrong by 5e-5.",
        "extreme/gradient-softplus-far",
        CutScan(10),
    ),
    Mutant(
        "softplus-cut-at-2",
        None,
        "softplus(x) is x above 2: wrong by an eighth, of steps that no layer begins with.",
        "extreme/softplus-near",
        CutScan(2),
        only=("bfloat16",),
    ),
    Mutant(
        "nan-hidden",
        None,
        "A NaN of the output is a zero.",
        "extreme/confinement-typical",
        _NaNHidden(),
    ),
    Mutant(
        "softplus-tail-by-exp",
        None,
        "softplus(x) is exp(x) below −15: wrong by 2e-7 of itself.",
        "extreme/softplus-small",
        _SoftplusTailByExp(),
    ),
    Mutant(
        "exponential-off-at-random",
        6,
        "exp is wrong by up to 2e-6 of itself, in no one direction.",
        "extreme/decay-strong-and-weak",
        _ExponentialOffAtRandom(),
    ),
    Mutant(
        "sigmoid-by-tanh",
        None,
        "σ is by a tanh that has eleven bits.",
        "value/gate-only",
        _SigmoidByTanh(),
    ),
    Mutant(
        "short-log2e-undeclared",
        None,
        "exp(x) is exp2(1.4427 x), in an order that is not declared.",
        "extreme/decay-of-a-state",
        _ShortLog2E(),
    ),
    Mutant(
        "sigmoid-overflows",
        20,
        "The gradient of softplus is exp(x)/(1 + exp(x)): NaN where exp(x) overflows.",
        "extreme/gradient-softplus-large",
        _SigmoidOverflows(),
    ),
    Mutant(
        "hold-cancels",
        11,
        "The exact hold is (exp(ΔA) − 1)/A without expm1.",
        "value/zoh-near-zero",
        _HoldCancels(),
    ),
    Mutant(
        "exponential-in-float16", 12, "exp(ΔA) is taken in float16.", "value/typical", _ExponentialInFloat16()
    ),
    Mutant(
        "softplus-by-ramp", 10, "softplus(x) is zero below −20.", "extreme/softplus-small", _SoftplusByRamp()
    ),
    Mutant(
        "softplus-subtracts",
        20,
        "softplus is x + log1p(exp(−x)): NaN at −∞, infinite below −88.",
        "extreme/softplus-far",
        _SoftplusSubtracts(),
    ),
    Mutant(
        "cubic-exponential",
        6,
        "exp is a cubic between powers of two, wrong by 1e-4 of itself.",
        "value/typical",
        _CubicExponential(),
    ),
    Mutant(
        "short-log2e",
        None,
        "exp(x) is exp2(1.4427 x): the constant lacks digits.",
        "extreme/softplus-large",
        _ShortLog2E(),
        # 57 u of the exponent: hidden in what an undeclared order of evaluation may do.
        claims={"arithmetic": {"evaluation": "scan"}},
    ),
    Mutant(
        "differences-overflow",
        20,
        "h is exp(S_t) Σ_j exp(−S_j) b_j u_j, S the sum of ΔA: exp(−S_j) overflows.",
        "extreme/forget-and-recover",
        _DifferencesOverflow(),
    ),
)
"""Wrong functions."""
