"""Mutants of what lies between the passes, and of tensors that note a conjugate or a sign as a bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ssm_backends import Arrays
from ssm_conformance.mutants.kernels.adjoint import Saving
from ssm_conformance.mutants.kernels.pytorch import ByHand, TorchScan
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.torch_modal import TorchS4d
from ssm_conformance.mutants.mutant import Mutant

if TYPE_CHECKING:
    from torch import Tensor


class _KeptInOnePlace(Saving):
    """What the forward pass saves lies where the next one saves it."""

    kept: Problem | None = None

    def forward(self, **inputs: Any) -> tuple[Any, Problem]:
        found, self.kept = super().forward(**inputs)
        return found, self.kept

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: Problem | None, **inputs: Any
    ) -> dict[str, Any]:
        return super().vjp(cotangents, wrt, None if saved is None else self.kept, **inputs)


class _ByAttributes(ByHand):
    """The function with both passes keeps tensors as attributes, of which autograd counts no write."""

    def place(self, h: Tensor) -> Tensor:
        """Where the states lie until the backward pass."""
        return h

    def arrays(self) -> Arrays:
        import torch

        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, kernel: _ByAttributes, C: Tensor, h: Tensor) -> Tensor:
                ctx.kernel, ctx.C, ctx.h = kernel, C, kernel.place(h)
                return TorchScan.contract(kernel, C, h)

            @staticmethod
            def backward(ctx: Any, *cotangents: Tensor) -> tuple[None, Tensor, Tensor]:
                return None, *ctx.kernel.slopes(*cotangents, ctx.C, ctx.h)

        found = super().arrays()
        self.product = Product.apply
        return found


class _WorkspaceByShape(_ByAttributes):
    """States lie in a workspace that calls of one shape share."""

    def __init__(self) -> None:
        self.spaces: dict[tuple[int, ...], Tensor] = {}

    def place(self, h: Tensor) -> Tensor:
        return self.spaces.setdefault(tuple(h.shape), h.detach().clone()).copy_(h.detach())


class _SignBitIgnored(TorchScan):
    """u is read as it lies in memory, whatever PyTorch notes about its sign."""

    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        u = inputs["u"]
        return super().__call__(*arguments, **inputs | {"u": -u if u.is_neg() else u})


class _ConjugateBitIgnored(TorchS4d):
    """C is read as it lies in memory, whatever PyTorch notes about its conjugate."""

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        C = inputs["C"]
        return super().inside({**inputs, "C": C.conj() if C.is_conj() else C})


def _mutant(name: str, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, None, summary, rejected_by, kernel, only=("float32",))


PASSES: Final = (
    _mutant(
        "kept-in-one-place", "What a call saves for its backward pass the next call writes over.",
        "gradient/overlapping-typical", _KeptInOnePlace(),
    ),
    _mutant(
        "workspace-by-shape", "Calls of one shape share the workspace that their backward passes read.",
        "gradient/overlapping-typical", _WorkspaceByShape(),
    ),
    _mutant(
        "saved-without-autograd",
        "What is saved is an attribute: autograd does not see that it is written between the passes.",
        "gradient/written-between-typical", _ByAttributes(),
    ),
    _mutant(
        "sign-bit-ignored", "A tensor that is noted as negated is read as it lies in memory.",
        "robustness/lazily-typical", _SignBitIgnored(),
    ),
    _mutant(
        "s4d-conjugate-bit-ignored", "A tensor that is noted as conjugated is read as it lies in memory.",
        "robustness/lazily-complex", _ConjugateBitIgnored(),
    ),
)  # fmt: skip
"""Defects that two calls, or a write between two passes, show."""
