"""Mutants of layers whose rows are whole chunks, of states that lie in two chunks, and of axes of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Lssl
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel, S4Kernel
from ssm_conformance.mutants.kernels.online_memory import Compress
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel, Recurrence
from ssm_conformance.mutants.mutant import Mutant

CHUNK: Final = 64
Given = Mapping[str, Any]
Taken = Callable[[Given], bool]


class _LastLost(Kernel):
    """In some calls the last element of the last axis is not written."""

    def __init__(self, taken: Taken) -> None:
        self.taken = taken

    def __call__(self, **given: Any) -> Any:
        found = super().__call__(**given)  # type: ignore[safe-super]  # of the kernel beside it
        if not self.taken(given):
            return found
        first, *rest = found if isinstance(found, tuple) else (found,)
        first = np.array(first)
        first[..., -1:] = 0
        return (first, *rest) if rest else first


class _S4d(_LastLost, S4d):
    pass


class _S5(_LastLost, S5):
    pass


class _H3(_LastLost, H3):
    pass


class _Lssl(_LastLost, Lssl):
    pass


class _S4dKernel(_LastLost, S4dKernel):
    pass


class _S4Kernel(_LastLost, S4Kernel):
    pass


class _Recurrence(_LastLost, Recurrence):
    pass


class _ConvolutionKernel(_LastLost, ConvolutionKernel):
    pass


class _Convolution(_LastLost, Convolution):
    pass


class _ShortConvolution(_LastLost, ShortConvolution):
    pass


class _CoefficientsOf(Compress):
    """In some calls the coefficients are not written."""

    def __init__(self, taken: Taken) -> None:
        self.taken = taken

    def __call__(self, **given: Any) -> Any:
        found = super().__call__(**given)
        return np.zeros_like(found) if self.taken(given) else found


class _StateOfLastChunk(ShortConvolution):
    """The last state is read from the last chunk of 128: what lies in the one before is zero."""

    def last_state(self, line: Array, l: int, seen: Array) -> Array:
        state = np.array(super().last_state(line, l, seen))
        there = l % (2 * CHUNK)
        if l > there > 0:
            state[..., : max(state.shape[-1] - there, 0)] = 0
        return state


class _OneStateBegins(Honest):
    """A state of one number is squeezed away with its initial value."""

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        return np.zeros_like(h) if p.A.shape[1] == 1 else h


class _ResetsOfLongRows(ShortConvolution):
    """Rows of fewer steps than the filter has taps see no reset."""

    def seen(self, seq_idx: Array | None, b: int, l: int, w: int) -> Array:
        return super().seen(None if l < w else seq_idx, b, l, w)


class _ChannelsLeak(ShortConvolution):
    """A channel adds zero times the sum of all: a NaN reaches every channel."""

    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        p = super().before_activation(line, weight, bias, seen)
        return np.asarray(p + 0 * p.sum(1, keepdims=True))


class _FiltersByMatrix(ShortConvolution):
    """The filters are put to their channels by a product with zeros and ones: 0 · NaN reaches each."""

    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        own = np.eye(len(weight), dtype=weight.dtype)
        return super().before_activation(line, np.einsum("de,ej->dj", own, weight), bias, seen)


class _Step(_LastLost, Step):
    def __init__(self, taken: Taken) -> None:
        _LastLost.__init__(self, taken)
        Step.__init__(self, Honest())


def _whole(name: str) -> Taken:
    return lambda given: given[name].shape[-1] > 0 and given[name].shape[-1] % CHUNK == 0


def _lags(given: Given) -> bool:
    return bool(given["length"] > 0 and given["length"] % CHUNK == 0)


def _one(name: str, axis: int) -> Taken:
    return lambda given: bool(given[name].shape[axis] == 1)


def _whole_rows(name: str, kernel: Kernel, rejected_by: str = "robustness/length-64") -> Mutant:
    summary = "Where l is whole chunks of 64, no edge is masked and the last element is not written."
    return Mutant(f"{name}-of-whole-chunks", 7, summary, rejected_by, kernel, only=("float32",))


def _single(name: str, what: str, kernel: Kernel, rejected_by: str = "robustness/one-of-each") -> Mutant:
    summary = f"{what} is squeezed away, and with it the last output."
    return Mutant(name, None, summary, rejected_by, kernel, only=("float32",))


WHOLES: Final = (
    _whole_rows("s4d", _S4d(_whole("u"))),
    _whole_rows("s5", _S5(_whole("u"))),
    _whole_rows("h3", _H3(_whole("q"))),
    _whole_rows("lssl", _Lssl(_whole("u"))),
    _whole_rows("s4d-kernel", _S4dKernel(_lags)),
    _whole_rows("s4-kernel", _S4Kernel(_lags)),
    _whole_rows("compress", _CoefficientsOf(_whole("f"))),
    _whole_rows("conv1d", _ShortConvolution(_whole("x"))),
    _whole_rows("recurrence", _Recurrence(lambda g: not g.get("diagonal") and _whole("u")(g)),
                "robustness/dense-64"),
    _whole_rows("kernel", _ConvolutionKernel(lambda g: not g.get("diagonal") and _lags(g)),
                "robustness/dense-64"),
    Mutant(
        "conv1d-state-of-last-chunk", 26, "The last state is read from the last chunk of 128 alone.",
        "robustness/length-129", _StateOfLastChunk(), only=("float32",),
    ),
    Mutant(
        "one-state-begins", None, "Where n = 1 the initial state is squeezed away.", "robustness/one-of-each",
        _OneStateBegins(), only=("float32",),
    ),
    Mutant(
        "conv1d-resets-of-long-rows", 27, "Rows shorter than the filter see no reset.",
        "robustness/packed-shorter-than-the-filter", _ResetsOfLongRows(), only=("float32",),
    ),
    Mutant(
        "conv1d-channels-leak", None, "Zero times the sum of all channels is added: a NaN reaches each.",
        "extreme/confinement-typical", _ChannelsLeak(), only=("float32",),
    ),
    Mutant(
        "conv1d-filters-by-matrix", None,
        "Filters are put to their channels by a product with zeros and ones: 0 · NaN reaches every channel.",
        "extreme/confinement-typical", _FiltersByMatrix(), only=("float32",),
    ),
    Mutant(
        "conv1d-step-channels-leak", None, "Zero times the sum of all channels is added: a NaN reaches each.",
        "extreme/confinement-typical", ShortConvolutionStep(_ChannelsLeak()), only=("float32",),
    ),
    _single(
        "step-of-one-group", "A single group",
        _Step(lambda g: g["B"].ndim == 3 and g["B"].shape[1] == 1), "robustness/one-group",
    ),
    _single("step-of-one-state", "A single state", _Step(_one("A", 1)), "robustness/one-state"),
    _single("convolution-of-one-channel", "A single channel", _Convolution(_one("u", 1))),
    _single("recurrence-of-one-state", "A single state", _Recurrence(_one("B_bar", -2))),
    _single("s4d-of-one-mode", "A single mode", _S4d(_one("A", 1))),
    _single("s5-of-one-mode", "A single mode", _S5(_one("A", 0))),
    _single("h3-of-one-tap", "A single tap", _H3(_one("shift", 1))),
    _single("lssl-of-one-state", "A single state", _Lssl(_one("A", 1))),
    _single(
        "compress-one-signal-prefixes", "The axis of a single signal",
        _CoefficientsOf(lambda g: bool(g.get("prefixes") and g["f"].ndim == 1)), "value/one-signal-prefixes",
    ),
    _single(
        "recurrence-modes-of-one-input", "The axis of inputs of modes",
        _Recurrence(lambda g: bool(g.get("diagonal") and g["B_bar"].shape[-1] > 1)),
        "robustness/modes-of-two",
    ),
)  # fmt: skip
"""Defects of whole chunks and of single elements."""
