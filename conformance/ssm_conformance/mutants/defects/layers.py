"""Mutants of the linear layers and of HiPPO's matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Lssl
from ssm_conformance.mutants.kernels.matrices import Fout, Lagt, Legt
from ssm_conformance.mutants.mutant import Mutant


class _OneStepForAll(Lssl):
    def step(self, p: Mapping[str, Array]) -> Array:
        return np.full_like(p["delta"], p["delta"][0])


class _OtherRule(Lssl):
    def discrete(self, p: Mapping[str, Array], rule: str) -> tuple[Array, Array]:
        return super().discrete(p, "zoh" if rule == "bilinear" else rule)


class _OutputsOutOfOrder(Lssl):
    def outputs(self, y: Array) -> Array:
        return y[:, :, ::-1]


class _StepOfFirstMode(S5):
    def step(self, p: Mapping[str, Array]) -> Array:
        return np.full_like(p["delta"], p["delta"][0])


class _HoldWithoutExpm1(S5):
    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        a, hold = super().modes(p, delta, rule)
        return a, delta.astype(hold.dtype) if rule == "zoh" else hold


class _FeedthroughForgotten(S5):
    def feedthrough(self, p: Mapping[str, Array]) -> Array:
        return np.zeros_like(p["u"])


class _ShiftLags(H3):
    def keys(self, p: Mapping[str, Array]) -> Array:
        late = np.zeros_like(p["k"])
        late[..., 1:] = p["k"][..., :-1]
        shifted = super().keys({**p, "k": late, "shift_D": np.zeros_like(p["shift_D"])})
        return np.asarray(shifted + p["shift_D"][:, None] * p["k"])


class _HeadsInterleaved(H3):
    def in_heads(self, x: Array, heads: int) -> Array:
        b, d, l = x.shape
        return x.reshape(b, d // heads, heads, l).swapaxes(1, 2)


class _KeysInBfloat16(H3):
    def keys(self, p: Mapping[str, Array]) -> Array:
        return rounded(super().keys(p), "bfloat16")


class _FeedthroughOfValues(H3):
    def passed(self, p: Mapping[str, Array], products: Array) -> Array:
        return super().passed(p, np.broadcast_to(products[:, :, :1], products.shape))


class _SignsOfLegs(Legt):
    def signs(self, n: int) -> Array:
        return np.ones((n, n))


class _WindowIgnored(Legt):
    def window(self, theta: float) -> float:
        return 1.0


class _DiagonalHalved(Lagt):
    def assemble(self, n: int) -> Array:
        return super().assemble(n) + 0.5 * np.eye(n)


class _TurnsBackwards(Fout):
    def turns(self, n: int) -> Array:
        return super().turns(n).T


def _mutant(name: str, summary: str, rejected_by: str, kernel: Kernel, **more: Any) -> Mutant:
    return Mutant(name, None, summary, rejected_by, kernel, **more)


_ABOVE_BFLOAT16: Final = ("float64", "float32")

LAYERS: Final = (
    _mutant("lssl-one-step", "Every channel takes the first one's Δ.", "value/typical", _OneStepForAll()),
    _mutant("lssl-other-rule", "Zero-order hold where bilinear is meant.", "value/typical", _OtherRule()),
    _mutant(
        "lssl-outputs-reversed", "The m outputs come in reverse order.", "value/typical", _OutputsOutOfOrder()
    ),
    _mutant("s5-one-step", "Every mode takes the first one's Δ.", "value/typical", _StepOfFirstMode()),
    _mutant("s5-euler-hold", "b̄ is ΔB where it is expm1(Δλ)/λ B.", "value/complex", _HoldWithoutExpm1()),
    _mutant("s5-no-feedthrough", "D u is forgotten.", "value/typical", _FeedthroughForgotten()),
    _mutant("h3-shift-lags", "The shift system's kernel begins a step late.", "value/typical", _ShiftLags()),
    _mutant("h3-heads-mixed", "Channel i belongs to head i mod h.", "value/typical", _HeadsInterleaved()),
    _mutant(
        "h3-keys-in-bfloat16", "The keys are rounded to bfloat16 between the systems.", "value/typical",
        _KeysInBfloat16(), only=_ABOVE_BFLOAT16,
    ),
    _mutant(
        "h3-feedthrough-of-first-key", "D passes the first key's product for every key.", "value/typical",
        _FeedthroughOfValues(),
    ),
    _mutant("legt-signs-of-legs", "No sign alternates above the diagonal.", "value/n-6", _SignsOfLegs()),
    _mutant("legt-window-ignored", "θ is taken for 1.", "value/window", _WindowIgnored()),
    _mutant("lagt-diagonal-halved", "The diagonal is −½.", "value/n-6", _DiagonalHalved()),
    _mutant("fout-turns-backwards", "R is transposed.", "value/n-6", _TurnsBackwards()),
)  # fmt: skip
"""Defects of the layers and of the matrices."""
