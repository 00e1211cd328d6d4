"""Mutants of 16-bit streams: wider ones beside them are narrowed; float16 saturates, or is flushed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.kernels.systems import Recurrence
from ssm_conformance.mutants.mutant import Mutant

_SMALLEST_NORMAL: Final = 2.0**-14
"""Of float16."""


def _beside(given: Mapping[str, Any], first: str, *wider: str) -> dict[str, Any]:
    """The arguments, those that are wider than the first one rounded to its dtype."""
    dtype = dtype_name(given[first])
    narrow = {name: rounded(given[name], dtype) for name in wider if name in given}
    return {**given, **narrow} if dtype in HALF else dict(given)


def _alone(given: Mapping[str, Any], first: str, *wider: str) -> dict[str, Any]:
    """The arguments, one that alone is wider than the first one rounded to its dtype."""
    found = [name for name in wider if name in given and dtype_name(given[name]) not in HALF]
    return _beside(given, first, *found) if len(found) == 1 else dict(given)


class _FilterAloneNarrowed(ShortConvolution):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_alone(given, "x", "weight", "bias"))


class _KeyAloneNarrowed(H3):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_alone(given, "q", "k", "v"))


class _DualAloneNarrowed(Dual):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_alone(given, "x", "dt", "B", "C", "z"))


class _SisoAloneNarrowed(SisoAdjoint):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_alone(given, "v", "q", "k", "adt", "dt", "trap", "angles", "z"))


class _FilterNarrowed(ShortConvolution):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_beside(given, "x", "weight", "bias"))


class _KernelNarrowed(Convolution):
    def __call__(self, *, u: Any, K: Any) -> Any:
        return super().__call__(**_beside({"u": u, "K": K}, "u", "K"))


class _KeysNarrowed(H3):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_beside(given, "q", "k", "v"))


class _DualNarrowed(Dual):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_beside(given, "x", "dt", "B", "C", "z"))


class _SisoNarrowed(SisoAdjoint):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_beside(given, "v", "q", "k", "adt", "dt", "trap", "angles", "z"))


class _Saturates(Kernel):
    def store(self, x: Array, dtype: str) -> Any:
        return super().store(np.clip(x.real, -65504, 65504) if dtype == "float16" else x, dtype)


class _FlushesResults(Kernel):
    def store(self, x: Array, dtype: str) -> Any:
        found = super().store(x, dtype)
        return _flushed(found) if dtype == "float16" else found


class _FlushesInputs(Kernel):
    def load(self, x: Any, compute: str) -> Array:
        found = super().load(x, compute)
        return _flushed(found) if dtype_name(x) == "float16" else found


def _flushed(x: Array) -> Array:
    return np.where(np.abs(x) < _SMALLEST_NORMAL, np.zeros_like(x), x)


class _InputGradientInParts(Honest):
    """What reaches u through D and through the state is rounded to its dtype, each, then their sum."""

    def through_gate(self, p: Problem, r: Array, last: Array) -> dict[str, Array]:
        total = super().through_gate(p, r, last)
        if p.D is not None and p.io in HALF:
            through_D = p.D[:, None] * self.gate(p, r)
            total["u"] = rounded(total["u"] - through_D, p.io) + rounded(through_D, p.io)
        return total


class _LineGradientInParts(ShortConvolution):
    """What reaches x through y and through the last state is rounded to its dtype, each, then their sum."""

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any
    ) -> dict[str, Any]:
        whole = super().vjp
        found = whole(cotangents, wrt, saved, **given)
        if "x" in wrt:
            parts = [whole({name: r}, ("x",), saved, **given)["x"] for name, r in cotangents.items()]
            total = sum(self.load(part, "float32") for part in parts)
            found["x"] = self.store(np.asarray(total), dtype_name(given["x"]))
        return found


_BASES: Final[dict[str, type[Kernel]]] = {
    "": Honest,
    "conv1d-": ShortConvolution,
    "ssd-": Dual,
    "mamba3-": SisoAdjoint,
    "recurrence-": Recurrence,
    "convolution-": Convolution,
}
_STEPS: Final[dict[str, Any]] = {
    "": Step, "conv1d-": ShortConvolutionStep, "ssd-": DualStep, "mamba3-": SisoAdjointStep,
}  # fmt: skip
_KINDS: Final[tuple[tuple[str, type[Kernel], str, str], ...]] = (
    (
        "saturates", _Saturates, "Results beyond float16 are its largest number, not infinite.",
        "extreme/beyond-float16",
    ),
    (
        "results-flushed", _FlushesResults, "Results that are subnormal in float16 are zero.",
        "extreme/subnormal-float16",
    ),
    (
        "inputs-flushed", _FlushesInputs, "Inputs that are subnormal in float16 are read as zero.",
        "extreme/subnormal-float16",
    ),
)  # fmt: skip


def _of_float16() -> tuple[Mutant, ...]:
    """Each kind of each operator."""
    found = []
    for base, kernel in _BASES.items():
        for kind, mixin, summary, case in _KINDS:
            wrong = type(kernel.__name__, (mixin, kernel), {})()
            found.append(Mutant(f"{base}float16-{kind}", None, summary, case, wrong, only=("float16",)))
            if base in _STEPS:
                name = f"{base}step-float16-{kind}"
                found.append(Mutant(name, None, summary, case, _STEPS[base](wrong), only=("float16",)))
    return tuple(found)


def _narrowed(name: str, summary: str, kernel: Kernel, alone: str = "") -> Mutant:
    case = "-".join(filter(None, ("mixed", alone)))
    return Mutant(name, 32, summary, f"value/{case}", kernel, only=HALF)


_FILTER: Final = "Where the filter or its bias is wider than x, it is rounded to x's dtype."
_ALONE: Final = "What alone is in float32 is read in the 16 bits of what stands beside it."
_STREAM: Final = "Where a stream is wider than {0} it is rounded to {0}'s dtype."
HALVES: Final = (
    *_of_float16(),
    _narrowed("conv1d-filter-narrowed", _FILTER, _FilterNarrowed()),
    _narrowed("conv1d-step-filter-narrowed", _FILTER, ShortConvolutionStep(_FilterNarrowed())),
    _narrowed(
        "convolution-kernel-narrowed", "Where K is wider than u it is rounded to u's dtype.",
        _KernelNarrowed(),
    ),
    _narrowed("ssd-narrowed", _STREAM.format("x"), _DualNarrowed()),
    _narrowed("ssd-step-narrowed", _STREAM.format("x"), DualStep(_DualNarrowed())),
    _narrowed("mamba3-narrowed", _STREAM.format("v"), _SisoNarrowed()),
    _narrowed("mamba3-step-narrowed", _STREAM.format("v"), SisoAdjointStep(_SisoNarrowed())),
    _narrowed(
        "h3-keys-narrowed", "Where k or v is wider than q it is rounded to q's dtype.", _KeysNarrowed()
    ),
    _narrowed("conv1d-filter-alone-narrowed", _ALONE, _FilterAloneNarrowed(), "weight"),
    _narrowed(
        "conv1d-step-filter-alone-narrowed", _ALONE, ShortConvolutionStep(_FilterAloneNarrowed()), "weight"
    ),
    _narrowed("ssd-step-stream-alone-narrowed", _ALONE, DualStep(_DualAloneNarrowed()), "B"),
    _narrowed("mamba3-stream-alone-narrowed", _ALONE, _SisoAloneNarrowed(), "k"),
    _narrowed("mamba3-step-stream-alone-narrowed", _ALONE, SisoAdjointStep(_SisoAloneNarrowed()), "dt"),
    _narrowed("h3-key-alone-narrowed", _ALONE, _KeyAloneNarrowed(), "k"),
    Mutant(
        "input-gradient-in-parts", 12,
        "Parts of the gradient of u, through D and through the state, are rounded before they are added.",
        "gradient/typical", _InputGradientInParts(), only=HALF,
    ),
    Mutant(
        "conv1d-input-gradient-in-parts", 12,
        "Parts of the gradient of x, through y and the last state, are rounded before they are added.",
        "gradient/typical", _LineGradientInParts(), only=HALF,
    ),
)  # fmt: skip
"""Defects of streams in 16 bits."""
