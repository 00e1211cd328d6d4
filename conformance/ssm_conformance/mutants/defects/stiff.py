"""Mutants of the linear layers where modes are gone at once, ā is below zero, or numbers are zero or wide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ssm_backends.dtypes import dtype_name
from ssm_conformance.mutants.defects.layer_gradients import on_the_way_back
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Layer, Lssl
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel
from ssm_conformance.mutants.kernels.systems import Recurrence
from ssm_conformance.mutants.kernels.torch_layers import TorchH3, TorchLayer, TorchLssl, TorchS5
from ssm_conformance.mutants.kernels.torch_modal import TorchS4d, TorchS4Kernel
from ssm_conformance.mutants.mutant import Mutant

if TYPE_CHECKING:
    from torch import Tensor


class _InRatios(Recurrence):
    """Within four steps h_t is P_t times the sum of b̄ u / P_s, P the products of ā since they began."""

    def run(self, p: Mapping[str, Array], diagonal: bool) -> tuple[Array, list[Array]]:
        y, kept = super().run(p, diagonal)
        product = p["A_bar"] ** 4
        return np.where((product == 0).any(-1)[..., None, None], np.nan, y).astype(y.dtype), kept


class _LayerInRatios(Layer):
    def recurrence(self) -> Recurrence:
        return _InRatios()


class _S4dInRatios(_LayerInRatios, S4d):
    pass


class _S5InRatios(_LayerInRatios, S5):
    pass


class _DecaysPositive(Layer):
    """By the bilinear rule a real ā below zero is taken for zero."""

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        a, hold = super().modes(p, delta, rule)
        clamped = rule == "bilinear" and not np.iscomplexobj(a)
        return (np.maximum(a, 0) if clamped else a), hold


class _S4dPositive(_DecaysPositive, S4d):
    pass


class _S5Positive(_DecaysPositive, S5):
    pass


class _H3Positive(_DecaysPositive, H3):
    pass


class _S4dKernelPositive(_DecaysPositive, S4dKernel):
    pass


class _SlopesByLogarithm(TorchLayer):
    """What goes into the state goes in by its logarithm: its gradient is NaN where it is zero."""

    entering: tuple[str, ...] = ("B",)

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        return p | {name: self.by_logarithm(p[name]) for name in self.entering}

    def by_logarithm(self, x: Tensor) -> Tensor:
        """The same numbers."""
        return on_the_way_back(x, lambda g: g.masked_fill(x == 0, float("nan")))


class _S4dByLogarithm(_SlopesByLogarithm, TorchS4d):
    pass


class _S5ByLogarithm(_SlopesByLogarithm, TorchS5):
    pass


class _LsslByLogarithm(_SlopesByLogarithm, TorchLssl):
    pass


class _KeysByLogarithm(_SlopesByLogarithm, TorchH3):
    entering = ("k", "v")


class _S4ByLogarithm(_SlopesByLogarithm, TorchS4Kernel):
    entering = ("B", "C")


class _Narrowed(Layer):
    """Parameters in float64 are read in float32 where the stream is narrower."""

    streamed = "u"

    def __call__(self, **given: Any) -> Any:
        wide = dtype_name(given[self.streamed]) == "float64"
        read = given if wide else {name: single(x) for name, x in given.items()}
        return super().__call__(**read)  # type: ignore[safe-super]  # of the layer beside it


def single(x: Any) -> Any:
    """Numbers of float64 rounded to those of float32; anything else as it is."""
    narrow = {"float64": "float32", "complex128": "complex64"}.get(str(getattr(x, "dtype", "")))
    return x if narrow is None else x.astype(narrow).astype(x.dtype)


class _S4dNarrowed(_Narrowed, S4d):
    pass


class _S5Narrowed(_Narrowed, S5):
    pass


class _LsslNarrowed(_Narrowed, Lssl):
    pass


class _H3Narrowed(_Narrowed, H3):
    streamed = "q"


class _RecurrenceNarrowed(Recurrence):
    def __call__(self, *, diagonal: bool = False, return_last_state: bool = False, **inputs: Any) -> Any:
        wide = dtype_name(inputs["u"]) == "float64"
        read = inputs if wide else {name: single(x) for name, x in inputs.items()}
        return super().__call__(diagonal=diagonal, return_last_state=return_last_state, **read)


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    # The compute type of wide parameters is float64.
    claims = {"dtypes": ("float32", "float64")} if "wide" in rejected_by else {}
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",), claims=claims)


_RATIOS: Final = "Four steps at once, by quotients of products of ā: NaN where one is zero."
_POSITIVE: Final = "By the bilinear rule, a decay below zero is taken for zero."
_LOGARITHM: Final = "By way of a logarithm: a gradient is NaN where the number is zero."
_WIDE: Final = "Parameters in float64 are read in float32 beside a stream in float32."
STIFF: Final = (
    _mutant("s4d-in-ratios", 20, _RATIOS, "extreme/strong-decay", _S4dInRatios()),
    _mutant("s5-in-ratios", 20, _RATIOS, "extreme/strong-decay-complex", _S5InRatios()),
    _mutant("s4d-decays-positive", None, _POSITIVE, "extreme/below-zero", _S4dPositive()),
    _mutant("s5-decays-positive", None, _POSITIVE, "extreme/below-zero", _S5Positive()),
    _mutant("h3-decays-positive", None, _POSITIVE, "extreme/below-zero", _H3Positive()),
    _mutant("s4d-kernel-decays-positive", None, _POSITIVE, "extreme/below-zero", _S4dKernelPositive()),
    _mutant("s4d-slope-by-logarithm", 13, _LOGARITHM, "extreme/gradient-zeros", _S4dByLogarithm()),
    _mutant("s5-slope-by-logarithm", 13, _LOGARITHM, "extreme/gradient-zeros", _S5ByLogarithm()),
    _mutant("lssl-slope-by-logarithm", 13, _LOGARITHM, "extreme/gradient-zeros", _LsslByLogarithm()),
    _mutant("h3-slope-by-logarithm", 13, _LOGARITHM, "extreme/gradient-zeros", _KeysByLogarithm()),
    _mutant("s4-slope-by-logarithm", 13, _LOGARITHM, "extreme/gradient-zeros", _S4ByLogarithm()),
    _mutant("s4d-parameters-narrowed", 32, _WIDE, "value/wide-parameters", _S4dNarrowed()),
    _mutant("s5-parameters-narrowed", 32, _WIDE, "value/wide-parameters", _S5Narrowed()),
    _mutant("lssl-parameters-narrowed", 32, _WIDE, "value/wide-parameters", _LsslNarrowed()),
    _mutant("h3-parameters-narrowed", 32, _WIDE, "value/wide-parameters", _H3Narrowed()),
    _mutant("recurrence-parameters-narrowed", 32, _WIDE, "value/wide-parameters", _RecurrenceNarrowed()),
)  # fmt: skip
"""Defects at some numbers, and in some types."""
