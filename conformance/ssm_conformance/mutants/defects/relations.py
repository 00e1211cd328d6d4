"""Mutants that two calls give away: padding, batches, sums of inputs, packing, processes, dtypes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.mutant import Mutant


class _PaddingLeaks(Honest):
    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        p.u[p.u == 0] = 0.01  # the bias of a convolution before the scan, which no mask has taken away
        return p


class _BatchOfOne(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        return self.gate(p, v) if len(v) == 1 else super().finish(p, v)


class _InputClamped(Honest):
    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        np.clip(p.u, -3, 3, out=p.u)
        return p


class _ConstantPathLags(Honest):
    def scan(self, p: Problem) -> tuple[Array, Array]:
        v, last = super().scan(p)
        if p.u.shape[2] > 1 and np.all(p.s == p.s[:, :, :1]):
            v[:, :, 1:] = v[:, :, :-1].copy()
        return v, last


class _OrderOfTheProcess(Honest):
    def __init__(self) -> None:
        self.chance = np.random.default_rng()  # as a tuner's timings are: other ones in every process
        self.orders: dict[int, Array] = {}

    def shuffled(self, terms: Array, axis: int) -> Array:
        size = terms.shape[axis]
        order = self.orders.setdefault(size, self.chance.permutation(size))
        return np.ascontiguousarray(np.take(terms, order, axis))

    def contract(self, C: Array, h: Array) -> Array:
        return np.asarray(np.moveaxis(self.shuffled((C * h).real, -1), -1, 0).sum(0))

    def add(self, terms: Array, axes: tuple[int, ...]) -> Array:
        return super().add(self.shuffled(terms, axes[-1]), axes)


class _MixedFails(Honest):
    def prepare(self, u: Any, delta: Any, *args: Any, **inputs: Any) -> Problem:
        if u.dtype != delta.dtype:
            raise TypeError(f"both operands must be of one type; got {u.dtype} and {delta.dtype}")
        return super().prepare(u, delta, *args, **inputs)


class _MixedNarrowed(Honest):
    def prepare(self, u: Any, delta: Any, *args: Any, **inputs: Any) -> Problem:
        if u.dtype != delta.dtype:
            delta = rounded(delta, str(u.dtype))
        return super().prepare(u, delta, *args, **inputs)


RELATIONS: Final = (
    Mutant(
        "padding-leaks",
        28,
        "Where u is zero, a bias goes into the state.",
        "property/padding-typical",
        _PaddingLeaks(),
    ),
    Mutant(
        "batch-of-one",
        28,
        "A batch of one takes another path, which has no D.",
        "property/batch-alone-typical",
        _BatchOfOne(),
    ),
    Mutant("input-clamped", None, "u is clamped to ±3.", "property/linear-typical", _InputClamped()),
    Mutant(
        "constant-path-lags",
        9,
        "Where Δ is constant in time another path is taken, whose output lags by one.",
        "property/invariant-plain",
        _ConstantPathLags(),
    ),
    Mutant(
        "order-of-the-process",
        30,
        "Sums are claimed deterministic; their order is chosen anew in every process.",
        "determinism/processes-typical",
        _OrderOfTheProcess(),
        only=("float32",),
        isolated=True,
    ),
    Mutant(
        "mixed-fails",
        32,
        "u and delta of two dtypes raise.",
        "value/mixed-delta",
        _MixedFails(),
        only=("bfloat16", "float16"),
    ),
    Mutant(
        "mixed-narrowed",
        32,
        "Where delta is wider than u it is rounded to u's dtype.",
        "value/mixed-delta",
        _MixedNarrowed(),
        only=("bfloat16", "float16"),
    ),
)
"""Broken relations."""
