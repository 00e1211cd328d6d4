"""Mutants of the scans, of their steps and of the short filter that are careless of parameters alone.

Their gradients are added up in the type of the streams, or too narrowly where heads are wide; they themselves
are narrowed where they are wider than the streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.defects.stiff import single
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64
"""Channels, heads or steps of a block, and the width of a wide head."""
STATES: Final = 16
"""States that a kernel is made for."""
PROGRAM: Final = 1024
"""Steps of a program."""


class _InStreamsType(Honest):
    """Of a large call of 16 states in 16 bits the gradients of some parameters are added up in that type."""

    def __init__(self, names: tuple[str, ...], channels: int, steps: int) -> None:
        self.names, self.channels, self.steps = names, channels, steps

    def through_gate(self, p: Problem, r: Array, last: Array) -> dict[str, Array]:
        total = super().through_gate(p, r, last)
        _, d, l = p.u.shape
        taken = p.io in HALF and p.A.shape[1] == STATES and d >= self.channels and l > self.steps
        return {name: rounded(x, p.io) if taken and name in self.names else x for name, x in total.items()}


class _OfHeads(Dual):
    """Gradients of parameters are added up in 16 bits, where there are so many heads, so wide, of so much."""

    def __init__(
        self, names: tuple[str, ...], heads: int = 1, width: int = 1, states: int = 1, steps: int = 0
    ) -> None:
        self.names = names
        self.sizes = (heads, width, states, steps + 1)

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any
    ) -> dict[str, Any]:
        found = super().vjp(cotangents, wrt, saved, **given)
        _, l, h, p = given["x"].shape
        sizes = (h, p, given["B"].shape[3], l)
        taken = all(size >= least for size, least in zip(sizes, self.sizes, strict=True))
        io = dtype_name(given["x"])
        narrow = io if io in HALF else "bfloat16"
        return {name: rounded(x, narrow) if taken and name in self.names else x for name, x in found.items()}


class _TapsOfPrograms(ShortConvolution):
    """Of streams in 16 bits and 64 channels, what programs of 1024 steps summed is added up in that type."""

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any
    ) -> dict[str, Any]:
        self.io = dtype_name(given["x"])
        return super().vjp(cotangents, wrt, saved, **given)

    def over_rows(self, terms: Array) -> Array:
        _, d, l = terms.shape
        if self.io not in HALF or d < BLOCK or l <= PROGRAM:
            return super().over_rows(terms)
        total = np.zeros(d, terms.dtype)
        for start in range(0, l, PROGRAM):
            part = super().over_rows(terms[:, :, start : start + PROGRAM])
            total = rounded(total + rounded(part, self.io), self.io)
        return total


class _Narrowed(Honest):
    """Parameters in float64 are read in float32 where the stream is narrower.

    Parameters
    ----------
    modes
        Whether real modes or complex ones are: a kernel has a variant for either.
    """

    def __init__(self, modes: str = "real") -> None:
        self.modes = modes

    def read(self, u: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is given besides u, as it is read."""
        complex_ = np.iscomplexobj(given["A"])
        kept = dtype_name(u) == "float64" or complex_ != (self.modes == "complex")
        return dict(given) if kept else {name: single(x) for name, x in given.items()}

    def prepare(self, u: Any, *arguments: Any, **given: Any) -> Problem:
        return super().prepare(u, *arguments, **self.read(u, given))


class _StepNarrowed(Step):
    def __init__(self, modes: str = "real") -> None:
        super().__init__(Honest())
        self.narrowed = _Narrowed(modes)

    def __call__(self, *, u: Any, **given: Any) -> tuple[Any, Any]:
        return super().__call__(u=u, **self.narrowed.read(u, given))


class _DualNarrowed(Dual):
    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        wide = dtype_name(given["x"]) == "float64"
        return super().inside(given if wide else {name: single(x) for name, x in given.items()})


def _summed(
    name: str, summary: str, rejected_by: str, kernel: Kernel, only: tuple[str, ...] = ("bfloat16",)
) -> Mutant:
    return Mutant(name, 17, summary, f"gradient/{rejected_by}-of-one-sign", kernel, only=only)


def _narrowed(name: str, kernel: Kernel, case: str = "wide-parameters") -> Mutant:
    # The compute type of wide parameters is float64.
    claims = {"dtypes": ("float32", "float64")}
    return Mutant(name, 32, _WIDE, f"value/{case}", kernel, only=("float32",), claims=claims)


_RATES: Final = ("A", "dt_bias")
_WIDE: Final = "Parameters in float64 are read in float32 beside a stream in float32."
PARAMETERS: Final = (
    _summed(
        "bias-of-layers-in-streams-type",
        "Of 16 states and 64 channels in 16 bits, the gradient of delta_bias is added up in that type.",
        "layer", _InStreamsType(("delta_bias",), BLOCK, BLOCK), HALF,
    ),
    _summed(
        "late-feedthrough-in-streams-type",
        "Of 16 states past 1024 steps in 16 bits, dD is added up in that type.",
        "layer-long", _InStreamsType(("D",), 1, PROGRAM), HALF,
    ),
    _summed(
        "ssd-many-heads-in-streams-type",
        "Of 64 heads past 64 steps in 16 bits, dA and the gradient of dt_bias are added up in that type.",
        "layer-heads", _OfHeads(_RATES, heads=BLOCK, steps=BLOCK), HALF,
    ),
    _summed(
        "ssd-late-bias-in-streams-type",
        "Past 256 steps in 16 bits, the gradient of dt_bias is added up in that type.",
        "layer-long", _OfHeads(("dt_bias",), width=BLOCK, steps=256), HALF,
    ),
    _summed(
        "ssd-wide-heads-in-bfloat16",
        "Of heads of 64 past 64 steps, dA is added up in bfloat16.",
        "layer-wide", _OfHeads(("A",), width=BLOCK, steps=BLOCK), ("float32", "bfloat16"),
    ),
    _summed(
        "ssd-heads-of-states-in-bfloat16",
        "Of heads of 64 with 16 states, dA is added up in bfloat16.",
        "layer-few-steps", _OfHeads(("A",), width=BLOCK, states=STATES), ("float32", "bfloat16"),
    ),
    _summed(
        "ssd-step-wide-heads-in-bfloat16",
        "Of heads of 64, dA and the gradient of dt_bias are added up in bfloat16.",
        "layer", DualStep(_OfHeads(_RATES, width=BLOCK)), ("float32", "bfloat16"),
    ),
    _summed(
        "short-taps-of-programs-in-float16",
        "Of 64 channels in 16 bits, taps are added up in that type over programs of 1024 steps.",
        "layer-long", _TapsOfPrograms(), ("float16",),
    ),
    _narrowed("scan-parameters-narrowed", _Narrowed()),
    _narrowed("scan-complex-parameters-narrowed", _Narrowed("complex"), "wide-parameters-complex"),
    _narrowed("step-parameters-narrowed", _StepNarrowed()),
    _narrowed("step-complex-parameters-narrowed", _StepNarrowed("complex"), "wide-parameters-complex"),
    _narrowed("ssd-parameters-narrowed", _DualNarrowed()),
    _narrowed("ssd-step-parameters-narrowed", DualStep(_DualNarrowed())),
)  # fmt: skip
"""Defects of parameters, and of their gradients."""
