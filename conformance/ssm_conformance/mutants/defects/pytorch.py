"""Mutants in PyTorch whose plain calls are right: compiled, captured, cast down, differentiated twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from ssm_backends import Arrays, TorchArrays
from ssm_conformance.mutants.kernels.pytorch import Registered, TorchScan
from ssm_conformance.mutants.mutant import Mutant

if TYPE_CHECKING:
    from torch import Tensor


class _BranchesOnNumbers(TorchScan):
    def step_size(self, x: Tensor, softplus: bool) -> Tensor:
        if softplus and x.numel() and float(x.detach().max()) > 1e4:
            return x
        return super().step_size(x, softplus)


class _FakeTransposed(Registered):
    def fake(self, C: Tensor, h: Tensor) -> Tensor:
        return super().fake(C, h).mT


class _CastDown(TorchScan):
    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        import torch

        found: Tensor = torch.einsum("bnl,bdnl->bdl", C, h).to(h.dtype)
        return found


class _SlopesAreConstants(TorchScan):
    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        import torch

        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, C: Tensor, h: Tensor) -> Tensor:
                ctx.factors = C.detach(), h.detach()
                return TorchScan.contract(self, C, h)

            @staticmethod
            def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, Tensor]:
                (g,), (C, h) = cotangents, ctx.factors
                return (g.unsqueeze(2) * h).sum(1), g.unsqueeze(2) * C.unsqueeze(1)

        found: Tensor = Product.apply(C, h)  # type: ignore[no-untyped-call]  # PyTorch's
        return found


class _SavedIsUsedUp(TorchScan):
    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        import torch

        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, C: Tensor, h: Tensor) -> Tensor:
                ctx.factors = C.detach(), h.detach().clone()
                return TorchScan.contract(self, C, h)

            @staticmethod
            def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, Tensor]:
                (g,), (C, h) = cotangents, ctx.factors
                return h.mul_(g.unsqueeze(2)).sum(1), g.unsqueeze(2) * C.unsqueeze(1)

        found: Tensor = Product.apply(C, h)  # type: ignore[no-untyped-call]  # PyTorch's
        return found


class _KeepsModes(TorchScan):
    """A copy of A is kept while A is not written to, as PyTorch counts it: a replay reads the copy.

    A is kept too, so that its address is never another's: without a graph every call is right.
    """

    claims: ClassVar = {**TorchScan.claims, "features": ("cuda_graph",)}

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def arrays(self) -> Arrays:
        return TorchArrays("cuda")

    def runs_here(self) -> bool:
        if not super().runs_here():
            return False
        import torch

        return torch.cuda.is_available()

    def modes(self, A: Tensor) -> Tensor:
        return self.kept.setdefault((A.data_ptr(), A._version), (A, A.detach().clone()))[1]


def _mutant(name: str, summary: str, rejected_by: str, kernel: TorchScan, **more: Any) -> Mutant:
    return Mutant(name, None, summary, rejected_by, kernel, **{"only": ("float32",)} | more)


PYTORCH: Final = (
    _mutant(
        "branches-on-numbers",
        "A branch reads a number on the host, behind a claim of `compile`.",
        "property/compiled-typical",
        _BranchesOnNumbers(),
    ),
    _mutant(
        "fake-kernel-transposed",
        "The fake kernel of a registered operator returns (b, l, d) for (b, d, l).",
        "property/compiled-typical",
        _FakeTransposed(),
    ),
    _mutant(
        "cast-down",
        "Under autocast Σ C h is a product of bfloat16 matrices.",
        "property/autocast-typical",
        _CastDown(),
    ),
    _mutant(
        "slopes-are-constants",
        "The gradient of a gradient takes what was saved for constants, silently.",
        "gradient/second-typical",
        _SlopesAreConstants(),
    ),
    _mutant(
        "saved-is-used-up",
        "The backward pass writes over what was saved: a second one gives something else.",
        "gradient/again-typical",
        _SavedIsUsedUp(),
    ),
    _mutant(
        "modes-kept-by-address",
        "A copy of A is kept by its address: a captured call replays with the first one.",
        "property/captured-typical",
        _KeepsModes(),
        claims={"gradients": ()},
    ),
)
"""Defects under PyTorch's transformations."""
