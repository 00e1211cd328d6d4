"""Implementations without a defect, in many orders and formats: the suite must pass them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ssm_backends import Backend
from ssm_conformance.mutants.kernels.adjoint import Honest, Saving
from ssm_conformance.mutants.kernels.chunked import Chunked
from ssm_conformance.mutants.kernels.convolution import Convolution, Legs, Transformed
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.discretize import Bilinear, ZeroOrderHold
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual, DualForm
from ssm_conformance.mutants.kernels.formats import Flushed, Fused, Prescaled, SavedGate, Widened
from ssm_conformance.mutants.kernels.generating import GeneratingFunction
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Lssl
from ssm_conformance.mutants.kernels.mamba3 import Reduced
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.matrices import Fout, Lagt, Legt
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel, S4Kernel
from ssm_conformance.mutants.kernels.online_memory import Compress
from ssm_conformance.mutants.kernels.orders import Arriving, Balanced, KoggeStone, Reversed, Subtractive
from ssm_conformance.mutants.kernels.pytorch import ByHand, OnGpu, Registered, TorchScan, Whole
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel, Recurrence
from ssm_conformance.mutants.kernels.torch_layers import TorchH3, TorchLssl, TorchS5
from ssm_conformance.mutants.kernels.torch_modal import TorchS4d, TorchS4dKernel, TorchS4Kernel
from ssm_conformance.mutants.mutant import serving


@dataclass(frozen=True)
class Variant:
    """One honest implementation.

    Attributes
    ----------
    name, summary
        Of the implementation, and in one sentence what is its own.
    kernels
        One an operator.
    claims
        What they claim otherwise than they do by themselves.
    """

    name: str
    summary: str
    kernels: tuple[Kernel, ...]
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Every dtype that one of them claims."""
        return tuple(dict.fromkeys(dtype for kernel in self.kernels for dtype in kernel.claims["dtypes"]))

    def runs_here(self) -> bool:
        """Whether its library is there."""
        return all(kernel.runs_here() for kernel in self.kernels)

    def backend(self) -> Backend:
        """It as a backend like any other."""
        return serving(self.name, *self.kernels, **self.claims)


def _scan_and_step(name: str, summary: str, kernel: Honest, **claims: Any) -> Variant:
    return Variant(name, summary, (kernel, Step(kernel)), claims)


HONEST: Final[Mapping[str, Variant]] = {
    variant.name: variant
    for variant in (
        _scan_and_step("sequential", "One step after the other.", Honest()),
        Variant("kogge-stone", "Every span doubled at once.", (KoggeStone(),)),
        Variant("balanced-tree", "Up a balanced tree and down again.", (Balanced(),)),
        Variant(
            "chunked",
            "Chunks of 256 steps, each from zero, and what the state before them decays to.",
            (Chunked(),),
        ),
        _scan_and_step("reversed-sums", "Every sum from its last term to its first.", Reversed()),
        Variant(
            "atomics",
            "Gradients are summed in the order of arrival; no bits of them are claimed.",
            (Arriving(),),
            {"deterministic": {"forward": True, "backward": False}},
        ),
        Variant("saving", "The backward pass reads what the forward pass has loaded.", (Saving(),)),
        Variant("subtractive", "a h is recovered as h − b for the gradients.", (Subtractive(),)),
        Variant(
            "saved-gate",
            "The output before the gate is kept in the input's dtype, and declared so.",
            (SavedGate(),),
            {"arithmetic": {"saved_gate": "io"}},
        ),
        _scan_and_step("exp2", "exp(x) is exp2(x log₂ e).", Prescaled()),
        _scan_and_step("fused-multiply-add", "a h + b and v + D u are rounded once.", Fused()),
        _scan_and_step("flush-to-zero", "Subnormal numbers are zero.", Flushed()),
        _scan_and_step("float64-inside", "Everything between load and store is float64.", Widened()),
        Variant(
            "linear",
            "The time-invariant rooms, step by step and lag by lag.",
            (
                ZeroOrderHold(),
                Bilinear(),
                Recurrence(),
                ConvolutionKernel(),
                Convolution(),
                Legs(),
                ShortConvolution(),
                ShortConvolutionStep(),
            ),
        ),
        Variant(
            "layers",
            "S4 and S4D, LSSL, S5 and H3 from the time-invariant rooms, and HiPPO's matrices; forward alone.",
            (Compress(), S4dKernel(), S4Kernel(), S4d(), Lssl(), S5(), H3(), Legt(), Lagt(), Fout()),
        ),
        Variant(
            "generating-function",
            "S4's kernel by its generating function, declared.",
            (GeneratingFunction(),),
        ),
        Variant("ssd-steps", "SSD as a selective scan of h·p channels, and its step.", (Dual(), DualStep())),
        Variant("ssd-chunks", "SSD by products in chunks of 64, declared; forward alone.", (DualForm(),)),
        Variant("mamba3-steps", "Mamba-3 step by step, and its step.", (SisoAdjoint(), SisoAdjointStep())),
        Variant("mamba3-reduced", "The same with θ modulo 2π; forward alone.", (Reduced(),)),
        Variant("pytorch", "PyTorch's own operators, every span doubled at once.", (TorchScan(),)),
        Variant("pytorch-captured", "On a GPU, where a call may be captured in a graph.", (OnGpu(),)),
        Variant("pytorch-operator", "A part is an operator registered with PyTorch.", (Registered(),)),
        Variant("pytorch-by-hand", "A part is differentiated by hand, and can be again.", (ByHand(),)),
        Variant("pytorch-once", "One function to autograd, differentiable once, as it says.", (Whole(),)),
        Variant(
            "pytorch-layers",
            "S4 and S4D, LSSL, S5 and H3 in PyTorch, float64 inside, differentiated by autograd.",
            (TorchS4Kernel(), TorchS4dKernel(), TorchS4d(), TorchLssl(), TorchS5(), TorchH3()),
        ),
        Variant("transforms", "The long convolution by transforms, declared.", (Transformed(),)),
    )
}
"""Name → implementation."""
