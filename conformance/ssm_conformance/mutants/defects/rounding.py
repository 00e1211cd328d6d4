"""Mutants whose arithmetic is worse than it is declared: formats, functions, overflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, Bfloat16, rounded
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.mutant import Mutant


class SoftplusNaive(Honest):
    """Also a defect of the step."""

    def softplus(self, x: Array) -> Array:
        """log(exp(x) + 1), as written."""
        return np.asarray(np.log(np.exp(x) + 1))


class _SoftplusCut(Honest):
    def softplus(self, x: Array) -> Array:
        return np.where(x > 20, x, super().softplus(x))


class _SigmoidOverflows(Honest):
    def sigmoid(self, x: Array) -> Array:
        return np.asarray(np.exp(x) / (1 + np.exp(x)))


class _HoldCancels(Honest):
    def expm1(self, x: Array) -> Array:
        return np.exp(x) - 1


class _StateInBfloat16(Honest):
    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        decayed, after = super().advance(p, t, h)
        return decayed, rounded(after, "bfloat16")


class _ModesInBfloat16(Honest):
    def matrix(self, A: Array) -> Array:
        return rounded(A, "bfloat16")


class _StepInBfloat16(Honest):
    def step_size(self, x: Array, softplus: bool) -> Array:
        return rounded(super().step_size(x, softplus), "bfloat16")


class _StateInFloat16(Honest):
    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        decayed, after = super().advance(p, t, h)
        return decayed, rounded(after, "float16")


class _ExponentialInFloat16(Honest):
    def exp(self, x: Array) -> Array:
        return rounded(super().exp(x), "float16")


class _GateInBfloat16(Honest):
    def gate(self, p: Problem, v: Array) -> Array:
        return v if p.z is None else v * rounded(p.z * self.sigmoid(p.z), "bfloat16")


class _FeedthroughInBfloat16(Honest):
    def feed(self, p: Problem, v: Array) -> Array:
        return v if p.D is None else v + rounded(p.D, "bfloat16")[:, None] * p.u


class _SoftplusByRamp(Honest):
    def softplus(self, x: Array) -> Array:
        return np.where(x < -20, 0, super().softplus(x))


class _SoftplusSubtracts(Honest):
    def softplus(self, x: Array) -> Array:
        return x + np.log1p(np.exp(-x))


class _OutputInBfloat16(Honest):
    def step_size(self, x: Array, softplus: bool) -> Array:
        return rounded(super().step_size(x, softplus), "bfloat16")

    def contract(self, C: Array, h: Array) -> Array:
        total = np.zeros(np.broadcast_shapes(C.shape, h.shape)[:-1], h.real.dtype)
        for term in np.moveaxis(rounded((C * h).real, "bfloat16"), -1, 0):
            total = rounded(total + term, "bfloat16")
        return total


class _OutputTruncated(Honest):
    def store(self, x: Array, dtype: str) -> Any:
        if dtype != "bfloat16":
            return super().store(x, dtype)
        return Bfloat16((x.real.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))


class _ProductsInTf32(Honest):
    def contract(self, C: Array, h: Array) -> Array:
        return super().contract(rounded(C, "tf32"), rounded(h, "tf32"))


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


ROUNDING: Final = (
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
        _SoftplusCut(),
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
        "state-in-bfloat16",
        22,
        "The state is kept in bfloat16 from step to step.",
        "value/typical",
        _StateInBfloat16(),
    ),
    Mutant(
        "modes-in-bfloat16",
        21,
        "A is rounded to bfloat16.",
        "extreme/decay-strong-and-weak",
        _ModesInBfloat16(),
    ),
    Mutant(
        "step-in-bfloat16", 12, "Δ is rounded to bfloat16 after softplus.", "value/typical", _StepInBfloat16()
    ),
    Mutant(
        "state-in-float16",
        22,
        "The state is kept in float16 from step to step.",
        "value/typical",
        _StateInFloat16(),
    ),
    Mutant(
        "exponential-in-float16", 12, "exp(ΔA) is taken in float16.", "value/typical", _ExponentialInFloat16()
    ),
    Mutant("gate-in-bfloat16", 12, "silu(z) is rounded to bfloat16.", "value/gate-only", _GateInBfloat16()),
    Mutant(
        "feedthrough-in-bfloat16",
        12,
        "D is rounded to bfloat16.",
        "value/feedthrough-only",
        _FeedthroughInBfloat16(),
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
        "output-in-bfloat16",
        12,
        "For 16-bit inputs softplus and the sum over states are done in the input's dtype.",
        "value/typical",
        _OutputInBfloat16(),
        only=("bfloat16",),
    ),
    Mutant(
        "output-truncated",
        None,
        "bfloat16 results are truncated, not rounded to nearest.",
        "value/typical",
        _OutputTruncated(),
        only=("bfloat16",),
    ),
    Mutant(
        "products-in-tf32",
        6,
        "The products of C and h are taken in tf32.",
        "value/typical",
        _ProductsInTf32(),
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
"""Wrong arithmetic."""
