"""Mutants of the zero-order hold and of the bilinear rule."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.discretize import Bilinear, System, ZeroOrderHold
from ssm_conformance.mutants.mutant import Mutant


class _HoldOfEuler(ZeroOrderHold):
    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        A_bar, _ = super().discretize(system, diagonal, alpha)
        return A_bar, system[2][..., None, None] * system[1]


class _HoldBySolving(ZeroOrderHold):
    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        A_bar, B_bar = super().discretize(system, diagonal, alpha)
        if diagonal:
            return A_bar, B_bar
        A, B, _ = system
        return A_bar, np.linalg.solve(A, (A_bar - np.eye(A.shape[-1], dtype=A.dtype)) @ B)


class _HoldCancels(ZeroOrderHold):
    def expm1(self, x: Array) -> Array:
        return np.exp(x) - 1


class _ExponentialOfEntries(ZeroOrderHold):
    def exponential(self, matrix: Array) -> Array:
        return np.exp(matrix)


class _ShortSeries(ZeroOrderHold):
    def exponential(self, matrix: Array) -> Array:
        total = term = np.broadcast_to(np.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
        for j in range(1, 7):
            term = term @ matrix / j
            total = total + term
        return total


class _SquaringMissing(ZeroOrderHold):
    def exponential(self, matrix: Array) -> Array:
        norm = np.abs(matrix).sum(-2).max(initial=0)
        squarings = max(0, int(np.ceil(np.log2(norm)))) if norm > 0 else 0
        found = super().exponential(matrix / 2**squarings)
        for _ in range(min(squarings, 1)):
            found = found @ found
        return found


class _ProductsInTf32(ZeroOrderHold):
    def exponential(self, matrix: Array) -> Array:
        half = rounded(super().exponential(matrix / 2), "tf32")
        return half @ half


class _FirstStepForAll(ZeroOrderHold):
    def system(self, A: Any, B: Any, delta: Any, diagonal: bool) -> System:
        matrix, inputs, step = super().system(A, B, delta, diagonal)
        return matrix, inputs, np.broadcast_to(step.reshape(-1)[:1], step.shape) if step.ndim == 1 else step


class _DerivativeCommutes(ZeroOrderHold):
    def derivative(self, M: Array, direction: Array) -> Array:
        return self.exponential(M) @ direction


class _HalvedForDirection(ZeroOrderHold):
    """The matrix is halved until the direction is small too, and loses as many bits."""

    def derivative(self, M: Array, direction: Array) -> Array:
        block = np.block([[M, direction], [np.zeros_like(M), M]])
        norm = np.abs(block).sum(-2).max(initial=0)
        halvings = max(0, int(np.ceil(np.log2(norm)))) if norm > 0 else 0
        found = self.exponential(block / 2**halvings)
        for _ in range(halvings):
            found = found @ found
        k = M.shape[-1]
        return np.asarray(found[..., :k, k:])


class _StepSeesStateOnly(ZeroOrderHold):
    def through_products(self, system: System, G_M: Array, G_N: Array, diagonal: bool) -> System:
        dA, dB, _ = super().through_products(system, G_M, G_N, diagonal)
        return dA, dB, super().through_products(system, G_M, np.zeros_like(G_N), diagonal)[2]


class _StepOfManySeesInputsOnly(ZeroOrderHold):
    """Of more than 32 states, the gradient of Δ through Ā is lost."""

    def through_products(self, system: System, G_M: Array, G_N: Array, diagonal: bool) -> System:
        dA, dB, slope = super().through_products(system, G_M, G_N, diagonal)
        if diagonal or system[0].shape[-1] <= 32:
            return dA, dB, slope
        return dA, dB, super().through_products(system, np.zeros_like(G_M), G_N, diagonal)[2]


class _ModesNotConjugated(ZeroOrderHold):
    def pull_back_modes(self, system: System, G: tuple[Array, Array]) -> System:
        A, B, delta = system
        return super().pull_back_modes((A.conj(), B.conj(), delta), G)


class _WritesModes(ZeroOrderHold):
    def load(self, x: Any, compute: str) -> Array:
        if x.ndim and x.flags.writeable:
            x *= 1 + 2 * np.finfo(x.dtype).eps
        return super().load(x, compute)


class _StridesAssumed(ZeroOrderHold):
    def load(self, x: Any, compute: str) -> Array:
        dense = np.empty(x.shape, x.dtype).strides
        return super().load(np.lib.stride_tricks.as_strided(x, x.shape, dense), compute)


class _AlwaysHalf(Bilinear):
    def implicit(self, alpha: float) -> float:
        return 0.5


class _SharesSwapped(Bilinear):
    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        return super().discretize(system, diagonal, 1 - alpha)


class _InputNotSolved(Bilinear):
    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        A_bar, _ = super().discretize(system, diagonal, alpha)
        return A_bar, system[2][..., None, None] * system[1]


class _InverseByNeumann(Bilinear):
    def solve(self, left: Array, right: Array, diagonal: bool) -> Array:
        if diagonal:
            return super().solve(left, right, diagonal)
        step = np.eye(left.shape[-1], dtype=left.dtype) - left
        term, total = right, right
        for _ in range(4):
            term = step @ term
            total = total + term
        return total


class _DivisorInTf32(Bilinear):
    def left(self, system: System, diagonal: bool, alpha: float) -> Array:
        return rounded(super().left(system, diagonal, alpha), "tf32")


class _StepOfManyInBfloat16(Bilinear):
    """Of more than 32 states, the gradient of Δ is rounded to bfloat16."""

    def through_products(self, system: System, G_M: Array, G_N: Array, diagonal: bool) -> System:
        dA, dB, slope = super().through_products(system, G_M, G_N, diagonal)
        many = not diagonal and system[0].shape[-1] > 32
        return dA, dB, rounded(slope, "bfloat16") if many else slope


class _ImplicitNotDifferentiated(Bilinear):
    def through_implicit(self, G_M: Array, W_A: Array) -> Array:
        return W_A / 2


def _zoh(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: ZeroOrderHold, **more: Any
) -> Mutant:
    return Mutant(f"zoh-{name}", failure, summary, rejected_by, kernel, **more)


def _bilinear(name: str, summary: str, rejected_by: str, kernel: Bilinear, **more: Any) -> Mutant:
    return Mutant(f"bilinear-{name}", None, summary, rejected_by, kernel, **more)


DISCRETISATION: Final = (
    _zoh("hold-of-euler", None, "B̄ is ΔB: the other rule.", "value/dense", _HoldOfEuler()),
    _zoh(
        "by-solving", 11, "B̄ is A⁻¹(Ā − I)B, which a singular A has not.", "value/singular", _HoldBySolving()
    ),
    _zoh(
        "modes-cancel",
        11,
        "The hold of a mode is (exp(Δλ) − 1)/λ without expm1.",
        "value/diagonal-near-zero",
        _HoldCancels(),
    ),
    _zoh("of-entries", None, "exp is taken of each entry.", "value/dense", _ExponentialOfEntries()),
    _zoh("short-series", None, "exp is its series to the sixth power.", "value/legs", _ShortSeries()),
    _zoh("squaring-missing", None, "Scaled by 2ᵏ, squared once.", "value/legs-32", _SquaringMissing()),
    _zoh("tf32", None, "The last squaring is in tf32.", "value/dense", _ProductsInTf32()),
    _zoh(
        "first-step-for-all",
        None,
        "One Δ is read for all channels.",
        "value/dense-per-channel",
        _FirstStepForAll(),
    ),
    _zoh(
        "derivative-commutes",
        17,
        "exp is differentiated as if A and its change commuted.",
        "gradient/dense",
        _DerivativeCommutes(),
    ),
    _zoh(
        "halved-for-cotangent",
        None,
        "Backwards the matrix is halved until a large cotangent is small too, and loses as many bits.",
        "gradient/scaled-dense",
        _HalvedForDirection(),
        only=("float32",),
    ),
    _zoh(
        "step-sees-state-only",
        17,
        "The gradient of Δ does not go through B̄.",
        "gradient/dense",
        _StepSeesStateOnly(),
    ),
    _zoh(
        "step-of-many-sees-inputs-only",
        17,
        "Of more than 32 states, the gradient of Δ does not go through Ā.",
        "gradient/layer-of-one-sign",
        _StepOfManySeesInputsOnly(),
        only=("float32",),
    ),
    _zoh(
        "not-conjugated",
        18,
        "Gradients of complex modes lack the conjugate.",
        "gradient/diagonal-complex",
        _ModesNotConjugated(),
    ),
    _zoh(
        "writes-input",
        None,
        "The matrices are scaled in place.",
        "robustness/inputs-unchanged-dense",
        _WritesModes(),
    ),
    _zoh(
        "strides-assumed",
        31,
        "Every matrix is read as if it were contiguous.",
        "robustness/transposed-dense",
        _StridesAssumed(),
    ),
    _bilinear("always-half", "α is ignored: always ½.", "value/backward-euler", _AlwaysHalf()),
    _bilinear("shares-swapped", "α and 1 − α are exchanged.", "value/third", _SharesSwapped()),
    _bilinear("input-not-solved", "B̄ is ΔB, without the inverse.", "value/dense", _InputNotSolved()),
    _bilinear(
        "neumann", "The inverse is a Neumann series of four terms.", "value/dense", _InverseByNeumann()
    ),
    _bilinear("divisor-in-tf32", "I − αΔA is rounded to tf32.", "value/dense", _DivisorInTf32()),
    _bilinear(
        "implicit-not-differentiated",
        "The gradient of A goes through I + (1 − α)ΔA alone.",
        "gradient/dense",
        _ImplicitNotDifferentiated(),
    ),
    _bilinear(
        "step-of-many-in-bfloat16",
        "Of more than 32 states, the gradient of Δ is rounded to bfloat16.",
        "gradient/layer-of-one-sign",
        _StepOfManyInBfloat16(),
        only=("float32",),
    ),
)
"""Defects of the discretisations."""
