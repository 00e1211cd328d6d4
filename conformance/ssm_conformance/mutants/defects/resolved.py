"""Mutants of what a block adds to a long sum: less of it than a large call's bounds can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ssm_conformance.mutants.kernels.systems import ConvolutionKernel
from ssm_conformance.mutants.kernels.torch_layers import TorchS5
from ssm_conformance.mutants.mutant import Mutant

if TYPE_CHECKING:
    from torch import Tensor

SEGMENT: Final = 1024
BLOCK: Final = 64


class _FirstPartConstant(TorchS5):
    """Backwards in segments of 1024 steps, A and Δ are constants in the part that is left in front."""

    def __call__(self, *, u: Tensor, return_last_state: bool = False, **inputs: Any) -> Any:
        import torch

        part = u.shape[-1] % SEGMENT
        if part in (0, u.shape[-1]):
            return super().__call__(u=u, return_last_state=return_last_state, **inputs)
        constant = inputs | {name: inputs[name].detach() for name in ("A", "delta")}
        early, state = super().__call__(u=u[..., :part], return_last_state=True, **constant)
        late, last = super().__call__(
            u=u[..., part:], return_last_state=True, **inputs | {"initial_state": state}
        )
        y = torch.cat([early, late], -1)
        return (y, last) if return_last_state else y


class _InputsOfOneBlock(ConvolutionKernel):
    """The gradient of Ā sums over the first 64 inputs."""

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **inputs: Any
    ) -> dict[str, Any]:
        found: dict[str, Any] = super().vjp(cotangents, wrt, saved, **inputs)
        if "A_bar" in wrt and inputs["B_bar"].shape[-1] > BLOCK:
            first = {**inputs, "B_bar": inputs["B_bar"][..., :BLOCK]}
            r = {"K": cotangents["K"][..., :BLOCK, :]}
            found["A_bar"] = super().vjp(r, ("A_bar",), saved, **first)["A_bar"]
        return found


def _mutant(name: str, failure: int, summary: str, case: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, case, kernel, only=("float32",))


RESOLVED: Final = (
    _mutant(
        "s5-first-part-of-slopes-lost", 17,
        "Before segments of 1024 steps, a part of one adds nothing to the gradients of A and Δ.",
        "gradient/steps-1030-of-one-sign", _FirstPartConstant(),
    ),
    _mutant(
        "kernel-slope-of-64-inputs", 17, "The gradient of Ā sums over 64 inputs.",
        "gradient/inputs-67-of-one-sign", _InputsOfOneBlock(),
    ),
)  # fmt: skip
"""Defects of a part of a sum."""
