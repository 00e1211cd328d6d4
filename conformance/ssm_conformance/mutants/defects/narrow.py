"""Mutants whose gradients are off by thousandths in large calls of complex modes and of pairs that turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ssm_conformance.mutants.defects.layer_gradients import on_the_way_back
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint
from ssm_conformance.mutants.kernels.systems import Recurrence
from ssm_conformance.mutants.kernels.torch_layers import TorchH3, TorchLayer, TorchLssl, TorchS5
from ssm_conformance.mutants.kernels.torch_modal import TorchS4d, TorchS4dKernel, TorchS4Kernel
from ssm_conformance.mutants.mutant import Mutant

if TYPE_CHECKING:
    from torch import Tensor

BLOCK: Final = 64
"""Channels of a block."""
SEGMENT: Final = 1024
"""Steps of a program."""


def _halved(g: Tensor) -> Tensor:
    """A gradient of 16 bits."""
    return g.bfloat16().to(g.dtype)


class _StepHalved(TorchLayer):
    """In large calls of complex modes the gradient of Δ is rounded to bfloat16."""

    def is_large(self, p: Mapping[str, Tensor]) -> bool:
        """More channels than a block."""
        return len(p["delta"]) >= BLOCK

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        taken = p["A"].is_complex() and self.is_large(p)
        return p | {"delta": on_the_way_back(p["delta"], _halved)} if taken else p


class _S4dStep(_StepHalved, TorchS4d):
    def is_large(self, p: Mapping[str, Tensor]) -> bool:
        return p["u"].shape[-1] > SEGMENT


class _S4dKernelStep(_StepHalved, TorchS4dKernel):
    pass


class _S5Step(_StepHalved, TorchS5):
    def is_large(self, p: Mapping[str, Tensor]) -> bool:
        return p["u"].shape[1] >= BLOCK


class _H3Step(_StepHalved, TorchH3):
    pass


class _SumsOfBlocks(TorchLayer):
    """Of streams in bfloat16 and 64 channels, dA is added up in bfloat16."""

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        stream = inputs["q"] if "q" in inputs else inputs["u"]
        taken = str(stream.dtype) == "torch.bfloat16" and stream.shape[1] >= BLOCK
        return p | {"A": on_the_way_back(p["A"], _halved)} if taken and not p["A"].is_complex() else p


class _S4dSums(_SumsOfBlocks, TorchS4d):
    pass


class _S5Sums(_SumsOfBlocks, TorchS5):
    pass


class _LsslSums(_SumsOfBlocks, TorchLssl):
    pass


class _H3Sums(_SumsOfBlocks, TorchH3):
    pass


class _RightOfLastChannels(TorchS4Kernel):
    """Of 64 channels and more, dQ of those beyond whole blocks is rounded to bfloat16."""

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        d = len(p["Q"])
        if d < BLOCK:
            return p

        def change(g: Tensor) -> Tensor:
            import torch

            last = g[d - d % BLOCK :]
            return torch.cat([g[: d - d % BLOCK], torch.complex(_halved(last.real), _halved(last.imag))])

        return p | {"Q": on_the_way_back(p["Q"], change)} if p["Q"].is_complex() else p


class _LeftShare(TorchS4Kernel):
    """Of more than 32 states dP leaves out the share of one."""

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        n = p["P"].shape[1]
        return p | {"P": on_the_way_back(p["P"], lambda g: g * (1 - 1 / n))} if n > 32 else p


class _StepShare(TorchS4Kernel):
    """Of 32 pairs dΔ leaves out the share of one state."""

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        n = p["P"].shape[1]
        share = 1 / (2 * n)
        return p | {"delta": on_the_way_back(p["delta"], lambda g: g * (1 - share))} if n == 32 else p


class _HoldThroughInput(TorchLssl):
    """Of more than 32 states, the gradient of Δ through the zero-order hold's Ā is lost."""

    def discrete(self, p: Mapping[str, Tensor], rule: str) -> tuple[Tensor, Tensor]:
        A_bar, B_bar = super().discrete(p, rule)
        if rule == "zoh" and p["A"].shape[-1] > 32:
            A_bar, _ = super().discrete({**p, "delta": p["delta"].detach()}, rule)
        return A_bar, B_bar


class _LongSlopeInBfloat16(Recurrence):
    """Of complex modes and more than 1024 steps the gradient of Ā is rounded to bfloat16."""

    def pull_back(
        self, p: Mapping[str, Array], r: Array, below: Array, kept: list[Array], diagonal: bool
    ) -> dict[str, Array]:
        total = super().pull_back(p, r, below, kept, diagonal)
        taken = np.iscomplexobj(p["A_bar"]) and p["u"].shape[-1] > SEGMENT
        return total | {"A_bar": rounded(total["A_bar"], "bfloat16")} if taken else total


class _SlopesInBfloat16(SisoAdjoint):
    """Some gradients are rounded to bfloat16, in heads so wide or calls so long."""

    def __init__(self, names: tuple[str, ...], width: int, steps: int) -> None:
        self.names, self.width, self.steps = names, width, steps

    def vjp(self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any) -> Any:
        found = super().vjp(cotangents, wrt, saved, **given)
        _, l, _, p = given["v"].shape
        taken = p >= self.width and l > self.steps
        return {
            name: rounded(x, "bfloat16") if taken and name in self.names else x for name, x in found.items()
        }


def _mutant(name: str, summary: str, rejected_by: str, kernel: Kernel, only: str = "float32") -> Mutant:
    return Mutant(name, 17, summary, f"gradient/{rejected_by}-of-one-sign", kernel, only=(only,))


_STEP: Final = "In large calls of complex modes, dΔ is rounded to bfloat16."
_SUMS: Final = "Of streams in bfloat16 and 64 channels, the gradient of a real A is added up in bfloat16."
NARROW: Final = (
    _mutant("s4d-sums-of-blocks-in-bfloat16", _SUMS, "layer-long", _S4dSums(), "bfloat16"),
    _mutant("s5-sums-of-blocks-in-bfloat16", _SUMS, "layer", _S5Sums(), "bfloat16"),
    _mutant("lssl-sums-of-blocks-in-bfloat16", _SUMS, "layer-long", _LsslSums(), "bfloat16"),
    _mutant("h3-sums-of-blocks-in-bfloat16", _SUMS, "layer-heads", _H3Sums(), "bfloat16"),
    _mutant("s4d-complex-step-in-bfloat16", _STEP, "layer-complex", _S4dStep()),
    _mutant("s4d-kernel-complex-step-in-bfloat16", _STEP, "layer-complex", _S4dKernelStep()),
    _mutant("s5-complex-step-in-bfloat16", _STEP, "layer-complex", _S5Step()),
    _mutant("h3-complex-step-in-bfloat16", _STEP, "layer-complex", _H3Step()),
    _mutant(
        "s4-right-of-last-channels", "Beyond whole blocks of 64 channels, dQ is rounded to bfloat16.",
        "layer", _RightOfLastChannels(),
    ),
    _mutant(
        "s4-left-share-lost", "Of more than 32 states, dP leaves out the share of one.",
        "layer-states", _LeftShare(),
    ),
    _mutant(
        "s4-step-share-lost", "Of 32 pairs, dΔ leaves out the share of a state.", "layer-pairs", _StepShare()
    ),
    _mutant(
        "lssl-hold-beyond-warp-through-input", "Of more than 32 states, dΔ leaves out what comes by exp(ΔA).",
        "layer-zoh-states", _HoldThroughInput(),
    ),
    _mutant(
        "recurrence-long-slope-in-bfloat16",
        "Of complex modes and more than 1024 steps, the gradient of Ā is rounded to bfloat16.",
        "layer-complex", _LongSlopeInBfloat16(),
    ),
    _mutant(
        "mamba3-wide-slopes-in-bfloat16",
        "In heads of 64 and past 256 steps, d(ΔA) and dΔ are rounded to bfloat16.",
        "layer-turned", _SlopesInBfloat16(("adt", "dt"), 64, 256),
    ),
    _mutant(
        "mamba3-late-angles-in-bfloat16",
        "Past 1024 steps the gradients of angles and of biases are rounded to bfloat16.",
        "layer-segments-turned", _SlopesInBfloat16(("angles", "q_bias", "k_bias"), 1, SEGMENT),
    ),
)  # fmt: skip
"""Defects of gradients whose sums cancel in other calls."""
