"""Mutants whose equation is wrong: groups, states, time, output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.mutant import Mutant


class GroupsByRepeat(Honest):
    """Also a defect of the step."""

    def groups(self, d: int, g: int) -> Array:
        """Channel i reads group i mod g."""
        return np.arange(d) % g


class GroupsByMatrix(Honest):
    """Also a defect of the step."""

    def expand(self, matrix: Array, d: int) -> Array:
        """By a matrix of zeros and ones."""
        one_hot = self.groups(d, matrix.shape[1])[:, None] == np.arange(matrix.shape[1])
        return np.asarray(np.einsum("dg,bgn->bdn", one_hot.astype(matrix.dtype), matrix))


class _OneBlockOfStates(Honest):
    def contract(self, C: Array, h: Array) -> Array:
        return super().contract(C[..., :32], h[..., :32])


class _TailKept(Honest):
    def scan(self, p: Problem) -> tuple[Array, Array]:
        v, last = super().scan(p)
        return np.concatenate([v[:, :, 1:], v[:, :, :1]], axis=2), last


class _OneStepLate(Honest):
    def scan(self, p: Problem) -> tuple[Array, Array]:
        v, last = super().scan(p)
        return np.concatenate([np.zeros_like(v[:, :, :1]), v[:, :, :-1]], axis=2), last


class _NothingWritten(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        return np.zeros_like(v)


class _FeedthroughAfterGate(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        return self.feed(p, self.gate(p, v))


class _GateIsSigmoid(Honest):
    def gate(self, p: Problem, v: Array) -> Array:
        return v if p.z is None else v * self.sigmoid(p.z)


class _OtherRule(Honest):
    def hold(self, p: Problem, t: int) -> Array:
        return super().hold(replace(p, zoh=not p.zoh), t)


class _OneModeOfThePair(Honest):
    def output(self, p: Problem, t: int, h: Array) -> Array:
        return self.contract(self.output_matrix(p, t), h)


class _PairByImaginaryPart(Honest):
    def output(self, p: Problem, t: int, h: Array) -> Array:
        return self.contract(np.where(p.A.imag != 0, 2, 1) * self.output_matrix(p, t), h).astype(p.compute)


class _BiasAfterSoftplus(Honest):
    def prepare(self, *args: Any, delta_bias: Any = None, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        if delta_bias is None:
            return p
        return replace(p, s=p.s + self.load(delta_bias, p.compute)[:, None])


STRUCTURE: Final = (
    Mutant(
        "groups-by-repeat",
        1,
        "Groups of B and C are expanded by repetition: channel i reads group i mod g.",
        "value/groups",
        GroupsByRepeat(),
    ),
    Mutant(
        "groups-by-matrix",
        None,
        "Groups are expanded by a product with a matrix of zeros and ones: 0 · NaN reaches every channel.",
        "extreme/confinement-groups",
        GroupsByMatrix(),
    ),
    Mutant(
        "one-block-of-states",
        None,
        "The loop over blocks of 32 states is missing: the output reads the first block.",
        "value/wide-state",
        _OneBlockOfStates(),
    ),
    Mutant(
        "tail-kept",
        4,
        "Of one step too many the last l are kept: y at t is that of t + 1.",
        "property/causality-plain",
        _TailKept(),
    ),
    Mutant("one-step-late", None, "The output lags the input by one step.", "value/typical", _OneStepLate()),
    Mutant("nothing-written", 8, "The output is all zeros.", "value/typical", _NothingWritten()),
    Mutant(
        "feedthrough-after-gate",
        None,
        "D u is added after the gate.",
        "value/typical",
        _FeedthroughAfterGate(),
    ),
    Mutant("gate-is-sigmoid", None, "The gate is σ(z), not z σ(z).", "value/gate-only", _GateIsSigmoid()),
    Mutant("other-rule", 9, "B is discretised by the other rule.", "value/zoh", _OtherRule()),
    Mutant(
        "one-mode-of-the-pair",
        None,
        "For complex A the factor 2 is missing.",
        "value/complex",
        _OneModeOfThePair(),
    ),
    Mutant(
        "pair-by-imaginary-part",
        None,
        "The factor 2 is missing for modes whose imaginary part is zero.",
        "value/complex",
        _PairByImaginaryPart(),
    ),
    Mutant(
        "bias-after-softplus",
        None,
        "delta_bias is added after softplus.",
        "value/typical",
        _BiasAfterSoftplus(),
    ),
)
"""Wrong equations."""
