"""Mutants of S4D and of the kernels of S4D and S4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel, S4Kernel
from ssm_conformance.mutants.mutant import Mutant


class _OneOfEachPair(S4dKernel):
    def output(self, p: Mapping[str, Array]) -> Array:
        C = super().output(p)
        return C / 2 if np.iscomplexobj(p["A"]) else C


class _KernelConjugatesOutput(S4dKernel):
    def output(self, p: Mapping[str, Array]) -> Array:
        return super().output(p).conj()


class _KernelStepOfFirst(S4dKernel):
    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        return super().modes(p, np.full_like(delta, delta[0, 0]), rule)


class _InitialStateIgnored(S4d):
    def start(self, p: Mapping[str, Array]) -> dict[str, Any]:
        return {}


class _FeedthroughOfFirst(S4d):
    def feedthrough(self, p: Mapping[str, Array]) -> Array:
        return np.asarray(p["D"][0] * p["u"])


class _RightVectorsNotConjugated(S4Kernel):
    def low_rank(self, P: Array, Q: Array) -> Array:
        return super().low_rank(P, Q.conj())


class _LowRankAdded(S4Kernel):
    def low_rank(self, P: Array, Q: Array) -> Array:
        return -super().low_rank(P, Q)


class _HalfMirrored(S4Kernel):
    def mirrored(self, x: Array, name: str) -> Array:
        return np.concatenate([x, x if name == "C" else x.conj()], axis=-1)


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel)


MODAL: Final = (
    _mutant(
        "s4d-kernel-halved", None, "The other half of a pair is not counted.", "value/complex",
        _OneOfEachPair(),
    ),
    _mutant("s4d-kernel-conjugated", None, "C is conjugated.", "value/complex", _KernelConjugatesOutput()),
    _mutant(
        "s4d-kernel-one-step", None, "Every channel takes the first one's Δ.", "value/typical",
        _KernelStepOfFirst(),
    ),
    _mutant(
        "s4d-initial-ignored", None, "The initial state is ignored.", "value/initial", _InitialStateIgnored()
    ),
    _mutant(
        "s4d-feedthrough-of-first", None, "D of the first channel serves all.", "value/typical",
        _FeedthroughOfFirst(),
    ),
    _mutant("s4-not-conjugated", None, "Q is not conjugated.", "value/typical", _RightVectorsNotConjugated()),
    _mutant("s4-low-rank-added", None, "P Q* is added, not taken away.", "value/typical", _LowRankAdded()),
    _mutant(
        "s4-half-mirrored", None, "C of the other half is not conjugated.", "value/paired", _HalfMirrored()
    ),
)  # fmt: skip
"""Defects of S4D and of the kernels."""
