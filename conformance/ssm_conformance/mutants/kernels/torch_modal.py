"""Honest S4D and the kernels of S4D and S4 in PyTorch, float64 inside, by autograd; torch on use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ssm_conformance.mutants.kernels.kernel import DTYPES
from ssm_conformance.mutants.kernels.layers import EULER
from ssm_conformance.mutants.kernels.torch_layers import TorchLayer

if TYPE_CHECKING:
    from torch import Tensor


class TorchS4d(TorchLayer):
    """One diagonal system for each channel, step by step."""

    op: ClassVar[str] = "s4d"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES[1:],
        "gradients": "all",
        "features": ("complex", "mixed_dtypes", "initial_state", "bilinear", *EULER),
    }

    def __call__(
        self, *, u: Tensor, discretization: str = "zoh", return_last_state: bool = False, **inputs: Tensor
    ) -> Any:
        """The operator."""
        import torch

        p = self.inside({"u": u, **inputs})
        a, hold = self.modes(p["A"], p["delta"][:, None], discretization)
        B_bar = hold * p["B"]
        h = p["initial_state"] if "initial_state" in p else B_bar.new_zeros(len(u), *B_bar.shape)
        outputs = []
        for t in range(u.shape[-1]):
            h = a * h + B_bar * p["u"][..., t, None]
            y = (p["C"] * h).sum(-1)
            outputs.append(2 * y.real if y.is_complex() else y)
        y = torch.stack(outputs, -1) if outputs else torch.zeros_like(p["u"])
        if "D" in p:
            y = y + p["D"][:, None] * p["u"]
        return self.returned(y, h, u, return_last_state)


class TorchS4dKernel(TorchLayer):
    """K_j = γ Re Σ_n C_n b̄_n ā_nʲ, lag by lag."""

    op: ClassVar[str] = "s4d_kernel"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": ("float32",),
        "gradients": "all",
        "features": ("complex", "mixed_dtypes", "bilinear", *EULER),
    }

    def __call__(self, *, length: int, discretization: str = "zoh", **inputs: Tensor) -> Any:
        """The operator."""
        import torch

        p = self.inside(inputs)
        a, hold = self.modes(p["A"], p["delta"][:, None], discretization)
        power, lags = hold * p["B"] * p["C"], []
        for _ in range(length):
            lags.append(power.sum(-1))
            power = a * power
        K = torch.stack(lags, -1) if lags else power[:, :0]
        return (2 * K.real if K.is_complex() else K).float()


class TorchS4Kernel(TorchLayer):
    """K_j = C Āʲ B̄, A = diag(Λ) − P Q*, from the full matrix, lag by lag."""

    op: ClassVar[str] = "s4_kernel"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": ("float32",),
        "gradients": "all",
        "features": ("complex", "mixed_dtypes"),
    }

    def mirrored(self, x: Tensor) -> Tensor:
        """Both halves of a paired array."""
        import torch

        return torch.cat([x, x.conj()], dim=-1)

    def low_rank(self, P: Tensor, Q: Tensor) -> Tensor:
        """P Q*, (d, n, n)."""
        return P[..., None] * Q.conj()[:, None]

    def __call__(self, *, length: int, paired: bool = False, **inputs: Tensor) -> Any:
        """The operator."""
        import torch

        p = self.inside(inputs)
        delta = p.pop("delta")[:, None, None]
        p = {name: x.to(torch.complex128) for name, x in p.items()}
        p = {name: self.mirrored(x) for name, x in p.items()} if paired else p
        half = delta / 2 * (torch.diag_embed(p["Lambda"]) - self.low_rank(p["P"], p["Q"]))
        eye = torch.eye(half.shape[-1], dtype=half.dtype, device=half.device)
        A_bar = torch.linalg.solve(eye - half, eye + half)
        power = torch.linalg.solve(eye - half, delta * p["B"][..., None])[..., 0]
        lags = []
        for _ in range(length):
            lags.append((p["C"] * power).sum(-1))
            power = torch.einsum("dij,dj->di", A_bar, power)
        K = torch.stack(lags, -1) if lags else power[:, :0]
        return K.real.float() if paired else K.to(torch.complex64)
