"""Mutants of the long convolution and of the HiPPO-LegS matrices."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.convolution import Convolution, Legs, Transformed
from ssm_conformance.mutants.mutant import Mutant


class _WrapsAround(Transformed):
    def length(self, l: int, k: int) -> int:
        return max(l, 1)


class _TailKept(Convolution):
    def convolve(self, u: Array, K: Array) -> Array:
        longer = np.concatenate([u, np.zeros_like(u[..., :1])], axis=-1)
        return super().convolve(longer, K)[..., 1:]


class _KernelFlipped(Convolution):
    def convolve(self, u: Array, K: Array) -> Array:
        return super().convolve(u, K[:, ::-1])


class _OneBlockOfLags(Convolution):
    def lags(self, l: int, k: int) -> range:
        return range(min(l, k, 32))


class _FirstKernelForAll(Convolution):
    def convolve(self, u: Array, K: Array) -> Array:
        return super().convolve(u, np.broadcast_to(K[:1], K.shape))


class _AccumulatesInBfloat16(Convolution):
    def convolve(self, u: Array, K: Array) -> Array:
        y, l = np.zeros_like(u), u.shape[-1]
        for j in self.lags(l, K.shape[-1]):
            y[..., j:] = rounded(y[..., j:] + K[:, j, None] * u[..., : l - j], "bfloat16")
        return y


class _RowsRace(Convolution):
    def over_rows(self, terms: Array) -> Array:
        return super().over_rows(terms[-1:])


class _SlopeWraps(Transformed):
    def correlate(self, r: Array, u: Array, lags: int) -> Array:
        found = super().correlate(r, u, lags)
        l = u.shape[-1]
        found[:, l : 2 * l] = found[:, : max(lags - l, 0)][:, :l]
        return found


class _InputInBfloat16(Transformed):
    def convolve(self, u: Array, K: Array) -> Array:
        return super().convolve(rounded(u, "bfloat16"), K)


class _NoBatchFails(Convolution):
    def convolve(self, u: Array, K: Array) -> Array:
        return super().convolve(u.reshape(-1, u.size // max(u.shape[0], 1) // u.shape[-1], u.shape[-1]), K)


class _SignFlipped(Legs):
    def assemble(self, below: Array, diagonal: Array) -> Array:
        return -super().assemble(below, diagonal) + 0.0


class _DiagonalOfSkew(Legs):
    def diagonal(self, n: int) -> Array:
        return super().diagonal(n) - 0.5


class _Transposed(Legs):
    def assemble(self, below: Array, diagonal: Array) -> Array:
        return super().assemble(below, diagonal).T


class _ProductsInBfloat16(Legs):
    def below(self, odd: Array) -> Array:
        return np.sqrt(rounded(np.outer(odd, odd), "bfloat16"))


def _convolution(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Convolution, **more: Any
) -> Mutant:
    return Mutant(f"convolution-{name}", failure, summary, rejected_by, kernel, **more)


def _legs(name: str, summary: str, rejected_by: str, kernel: Legs) -> Mutant:
    return Mutant(f"legs-{name}", None, summary, rejected_by, kernel)


CONVOLUTION: Final = (
    _convolution(
        "wraps-around",
        4,
        "The transform has length l: the end of the input reaches the beginning.",
        "property/causality-typical",
        _WrapsAround(),
    ),
    _convolution("tail-kept", 4, "Of l + 1 outputs the last l are kept.", "value/typical", _TailKept()),
    _convolution(
        "kernel-flipped", None, "The kernel is read backwards.", "value/short-kernel", _KernelFlipped()
    ),
    _convolution("one-block-of-lags", None, "Lags beyond 32 are lost.", "value/typical", _OneBlockOfLags()),
    _convolution(
        "first-kernel-for-all",
        None,
        "Every channel reads the first kernel.",
        "value/typical",
        _FirstKernelForAll(),
    ),
    _convolution(
        "accumulates-in-bfloat16",
        12,
        "The sum over lags is kept in bfloat16.",
        "value/typical",
        _AccumulatesInBfloat16(),
    ),
    _convolution(
        "rows-race", 16, "Rows overwrite each other's gradient of K.", "gradient/typical", _RowsRace()
    ),
    _convolution(
        "slope-wraps",
        None,
        "The gradient of lags beyond l is that of the lags before.",
        "gradient/long-kernel",
        _SlopeWraps(),
    ),
    _convolution(
        "transform-undeclared",
        36,
        "By transforms, undeclared: later inputs move earlier outputs.",
        "property/causality-typical",
        Transformed(),
        claims={"arithmetic": {}},
        only=("float64", "float32"),
    ),
    _convolution(
        "input-in-bfloat16",
        12,
        "The input of the transform is rounded to bfloat16.",
        "value/typical",
        _InputInBfloat16(),
        only=("float64", "float32", "float16"),
    ),
    _convolution("no-batch-fails", 23, "A batch of zero raises.", "robustness/no-batch", _NoBatchFails()),
    _legs("sign-flipped", "A has the sign of the other convention.", "value/n-5", _SignFlipped()),
    _legs(
        "diagonal-of-skew", "The diagonal is that of the normal part, n + ½.", "value/n-5", _DiagonalOfSkew()
    ),
    _legs("transposed", "A is transposed.", "value/n-5", _Transposed()),
    _legs(
        "products-in-bfloat16", "(2n+1)(2k+1) is rounded to bfloat16.", "value/n-64", _ProductsInBfloat16()
    ),
)
"""Defects of the convolution and of the matrices."""
