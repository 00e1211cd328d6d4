"""Mutants of the linear recurrence and of its kernel."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel, Recurrence
from ssm_conformance.mutants.mutant import Mutant


class _OutputLags(Recurrence):
    def output(self, p: Mapping[str, Array], k: int, before: Array, h: Array, gamma: int) -> Array:
        return super().output(p, k, before, before, gamma)


class _Transposed(Recurrence):
    def decay(self, A_bar: Array, columns: Array, diagonal: bool) -> Array:
        return super().decay(A_bar if diagonal else A_bar.swapaxes(-1, -2), columns, diagonal)


class _InitialIgnored(Recurrence):
    def begin(self, p: Mapping[str, Array]) -> Array:
        return np.zeros_like(super().begin(p))


class _FeedthroughOfFirstInput(Recurrence):
    def output(self, p: Mapping[str, Array], k: int, before: Array, h: Array, gamma: int) -> Array:
        if "D" not in p:
            return super().output(p, k, before, h, gamma)
        first = np.zeros_like(p["D"])
        first[..., 0] = p["D"][..., 0]
        return super().output({**p, "D": first}, k, before, h, gamma)


class _OneModeOfThePair(Recurrence):
    def real_part(self, y: Array, gamma: int) -> Array:
        return y.real if gamma == 2 else y


class _StateInBfloat16(Recurrence):
    def advance(self, p: Mapping[str, Array], k: int, h: Array, diagonal: bool) -> Array:
        return rounded(super().advance(p, k, h, diagonal), "bfloat16")


class _ReadsNextInput(Recurrence):
    def input_at(self, p: Mapping[str, Array], k: int) -> Array:
        return super().input_at(p, min(k + 1, p["u"].shape[-1] - 1))


class _LastStateTooEarly(Recurrence):
    def run(self, p: Mapping[str, Array], diagonal: bool) -> tuple[Array, list[Array]]:
        y, kept = super().run(p, diagonal)
        return y, kept[:-1] if len(kept) > 1 else kept


class _OneStepFails(Recurrence):
    def run(self, p: Mapping[str, Array], diagonal: bool) -> tuple[Array, list[Array]]:
        if p["u"].shape[-1] == 1:
            raise IndexError("index 1 is out of bounds for axis 2 with size 1")
        return super().run(p, diagonal)


class _LastStateDropped(Recurrence):
    def cotangent(self, cotangents: Mapping[str, Any], name: str, like: Array, compute: str) -> Array:
        return super().cotangent({} if name == "last_state" else cotangents, name, like, compute)


class _StateNotConjugated(Recurrence):
    def slope_output(self, gamma: int, r: Array, h: Array) -> Array:
        return super().slope_output(gamma, r, h.conj())


class _ReadsStateAfter(Recurrence):
    def before(self, kept: list[Array], k: int) -> Array:
        return kept[k + 1]


class _RowsRace(Recurrence):
    def over_batch(self, terms: Array) -> Array:
        return super().over_batch(terms[-1:])


class _OrderVaries(Recurrence):
    def __init__(self) -> None:
        self.directions = cycle((1, -1))
        self.direction = 1

    def begin(self, p: Mapping[str, Array]) -> Array:
        self.direction = next(self.directions)
        return super().begin(p)

    def times(self, matrix: Array, columns: Array) -> Array:
        products = matrix[..., :, :, None] * columns[..., None, :, :]
        return np.asarray(np.ascontiguousarray(products[..., :: self.direction, :]).sum(-2))


class _InitialUnclaimed(Recurrence):
    def loaded(self, compute: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        return super().loaded(compute, {k: x for k, x in inputs.items() if k != "initial_state"})


class _LagMissing(ConvolutionKernel):
    def powers(self, A_bar: Array, B_bar: Array, length: int, diagonal: bool) -> list[Array]:
        return super().powers(A_bar, B_bar, length + 1, diagonal)[1:]


class _OutputConjugated(ConvolutionKernel):
    def widened(self, inputs: Mapping[str, Any], diagonal: bool) -> tuple[Array, Array, Array]:
        A, B, C = super().widened(inputs, diagonal)
        return A, B, C.conj()


class _KernelOfOneMode(ConvolutionKernel):
    def real_part(self, y: Array, gamma: int) -> Array:
        return y.real if gamma == 2 else y


class _PowersByLogarithm(ConvolutionKernel):
    def powers(self, A_bar: Array, B_bar: Array, length: int, diagonal: bool) -> list[Array]:
        if not diagonal:
            return super().powers(A_bar, B_bar, length, diagonal)
        return [np.exp(j * np.log(A_bar))[..., None] * B_bar for j in range(length)]


class _PowersInTf32(ConvolutionKernel):
    def times(self, matrix: Array, columns: Array) -> Array:
        return super().times(rounded(matrix, "tf32"), rounded(columns, "tf32"))


class _LagsWrap(ConvolutionKernel):
    def powers(self, A_bar: Array, B_bar: Array, length: int, diagonal: bool) -> list[Array]:
        found = super().powers(A_bar, B_bar, length, diagonal)
        return [found[j % 16] for j in range(length)]


class _SlopeOfFirstLag(ConvolutionKernel):
    def kept_slope(self, step: Array, j: int) -> Array:
        return step if j == 1 else np.zeros_like(step)


def _recurrence(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Recurrence, **more: Any
) -> Mutant:
    return Mutant(f"recurrence-{name}", failure, summary, rejected_by, kernel, **more)


def _kernel(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: ConvolutionKernel
) -> Mutant:
    return Mutant(f"kernel-{name}", failure, summary, rejected_by, kernel)


SYSTEMS: Final = (
    _recurrence(
        "output-lags",
        None,
        "y_k reads the state before u_k: SciPy's convention.",
        "value/siso",
        _OutputLags(),
    ),
    _recurrence("transposed", None, "Ā is applied from the right.", "value/siso", _Transposed()),
    _recurrence("initial-ignored", 25, "The initial state is ignored.", "value/initial", _InitialIgnored()),
    _recurrence(
        "feedthrough-of-first-input",
        None,
        "D reads the first of several inputs.",
        "value/mimo",
        _FeedthroughOfFirstInput(),
    ),
    _recurrence(
        "one-mode-of-the-pair",
        None,
        "The factor 2 of complex modes is missing.",
        "value/diagonal-complex",
        _OneModeOfThePair(),
    ),
    _recurrence("state-in-bfloat16", 22, "The state is kept in bfloat16.", "value/siso", _StateInBfloat16()),
    _recurrence("reads-next-input", 4, "u_{k+1} is read at k.", "property/causality-mimo", _ReadsNextInput()),
    _recurrence(
        "last-state-too-early",
        26,
        "The state before the last is returned.",
        "value/siso",
        _LastStateTooEarly(),
    ),
    _recurrence("one-step-fails", 23, "A length of one raises.", "robustness/single", _OneStepFails()),
    _recurrence(
        "last-state-dropped",
        19,
        "The cotangent of the last state is dropped.",
        "gradient/siso",
        _LastStateDropped(),
    ),
    _recurrence(
        "state-not-conjugated",
        18,
        "The gradient of C has the state, not its conjugate.",
        "gradient/diagonal-complex",
        _StateNotConjugated(),
    ),
    _recurrence(
        "reads-state-after",
        17,
        "The gradient of Ā reads h_k, not h_{k−1}.",
        "gradient/siso",
        _ReadsStateAfter(),
    ),
    _recurrence(
        "rows-race",
        16,
        "Rows overwrite each other's gradients: the last one stays.",
        "gradient/siso",
        _RowsRace(),
    ),
    _recurrence(
        "order-varies",
        30,
        "Sums are claimed deterministic; their order differs from call to call.",
        "determinism/forward-mimo",
        _OrderVaries(),
        only=("float64", "float32"),
    ),
    _recurrence(
        "unclaimed-ignored",
        36,
        "initial_state is taken, is not claimed, and is ignored.",
        "error/unclaimed-initial_state",
        _InitialUnclaimed(),
        only=("float32",),
        claims={"features": ("dense", "diagonal", "complex")},
    ),
    _kernel("lag-missing", None, "K begins with C Ā B̄.", "value/siso", _LagMissing()),
    _kernel("output-conjugated", None, "K has C̄.", "value/diagonal-complex", _OutputConjugated()),
    _kernel(
        "one-mode-of-the-pair",
        None,
        "The factor 2 of complex modes is missing.",
        "value/diagonal-complex",
        _KernelOfOneMode(),
    ),
    _kernel(
        "powers-by-logarithm",
        20,
        "āʲ is exp(j log ā): NaN for ā < 0.",
        "value/diagonal",
        _PowersByLogarithm(),
    ),
    _kernel("powers-in-tf32", 6, "Products are in tf32.", "value/siso", _PowersInTf32()),
    _kernel("lags-wrap", None, "Lags are counted modulo a block of 16.", "value/siso", _LagsWrap()),
    _kernel(
        "slope-of-first-lag",
        17,
        "The gradient of Ā has the first lag alone.",
        "gradient/siso",
        _SlopeOfFirstLag(),
    ),
)
"""Defects of the time-invariant system."""
