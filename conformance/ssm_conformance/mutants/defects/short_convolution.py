"""Mutants of the short convolution and of its step."""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.mutant import Mutant


class _FilterFlipped(ShortConvolution):
    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        return super().before_activation(line, weight[:, ::-1], bias, seen)


class _LooksAhead(ShortConvolution):
    def read(self, line: Array, j: int, seen: Array) -> Array:
        ahead = np.concatenate([line[..., 1:], line[..., -1:]], axis=-1)
        return super().read(ahead, j, seen)


class _IgnoresResets(ShortConvolution):
    def begins(self, seq_idx: Array, t: int) -> Array:
        return np.zeros(len(seq_idx), dtype=bool)


class _StateUnmasked(ShortConvolution):
    def last_state(self, line: Array, l: int, seen: Array) -> Array:
        return np.array(line[..., l:])


class _SlopeWithoutItsSecondTerm(ShortConvolution):
    def slope(self, p: Array) -> Array:
        return self.sigmoid(p)


class _RowsRace(ShortConvolution):
    def over_rows(self, terms: Array) -> Array:
        return super().over_rows(terms[-1:])


def _whole(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: ShortConvolution
) -> Mutant:
    return Mutant(f"conv1d-{name}", failure, summary, rejected_by, kernel)


SHORT_CONVOLUTION: Final = (
    _whole("filter-flipped", None, "The filter is read backwards.", "value/typical", _FilterFlipped()),
    _whole(
        "looks-ahead", 4, "Every tap reads one step too late.", "property/causality-typical", _LooksAhead()
    ),
    _whole(
        "resets-ignored",
        27,
        "Inputs leak from one packed sequence into the next.",
        "property/packing-packed",
        _IgnoresResets(),
    ),
    _whole(
        "state-unmasked",
        26,
        "The state handed on holds inputs of an earlier sequence.",
        "value/packed",
        _StateUnmasked(),
    ),
    _whole(
        "slope-halved",
        17,
        "The slope of silu lacks its second term.",
        "gradient/typical",
        _SlopeWithoutItsSecondTerm(),
    ),
    _whole(
        "rows-race",
        16,
        "Rows overwrite each other's gradient of the filter.",
        "gradient/typical",
        _RowsRace(),
    ),
    Mutant(
        "conv1d-step-filter-flipped",
        None,
        "The step reads the filter backwards.",
        "property/chain-typical",
        ShortConvolutionStep(_FilterFlipped()),
    ),
)
