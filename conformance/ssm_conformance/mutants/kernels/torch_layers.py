"""Honest LSSL, S5 and H3 in PyTorch, float64 inside, differentiated by autograd; torch on use."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from math import factorial, frexp
from typing import TYPE_CHECKING, Any, ClassVar

from ssm_backends import Arrays, TorchArrays
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel
from ssm_conformance.mutants.kernels.layers import ALPHA, EULER

if TYPE_CHECKING:
    from torch import Tensor


class TorchLayer(Kernel):
    """What the layers share: arrays into float64, a recurrence over the last axis, and back."""

    def arrays(self) -> Arrays:
        """Tensors on the CPU."""
        return TorchArrays("cpu")

    def runs_here(self) -> bool:
        """Whether PyTorch is installed."""
        return find_spec("torch") is not None

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors among the inputs, in float64 or complex128."""
        import torch

        return {
            name: x.to(torch.complex128 if x.is_complex() else torch.float64)
            for name, x in inputs.items()
            if torch.is_tensor(x)
        }

    def held(self, delta: Tensor) -> Tensor:
        """Δ as b̄ takes it."""
        return delta

    def modes(self, A: Tensor, delta: Tensor, rule: str) -> tuple[Tensor, Tensor]:
        """ā and b̄/B of each mode."""
        import torch

        step = self.held(delta)
        if rule == "zoh":
            return torch.exp(delta * A), step * _phi(step * A)
        alpha = ALPHA[rule]
        return (1 + (1 - alpha) * delta * A) / (1 - alpha * delta * A), step / (1 - alpha * step * A)

    def returned(self, y: Tensor, last: Tensor, like: Tensor, wanted: bool) -> Any:
        """The output in the input's dtype, and the state in the compute type if it is wanted."""
        import torch

        single = like.dtype != torch.float64
        narrow = torch.complex64 if last.is_complex() else torch.float32
        y = y.to(like.dtype)
        return (y, last.to(narrow) if single else last) if wanted else y


class TorchLssl(TorchLayer):
    """A full system for each channel, its m outputs side by side."""

    op: ClassVar[str] = "lssl"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES[1:],
        "gradients": "all",
        "features": ("mixed_dtypes", "initial_state", "zoh", *EULER),
    }

    def discrete(self, p: Mapping[str, Tensor], rule: str) -> tuple[Tensor, Tensor]:
        """Ā (d, n, n) and B̄ (d, n)."""
        import torch

        delta, n = p["delta"][:, None, None], p["A"].shape[-1]
        step, B = self.held(delta), p["B"][..., None]
        if rule == "zoh":
            top = torch.cat([delta * p["A"], step * B], -1)
            found = self.exponential(torch.cat([top, torch.zeros_like(top[:, :1])], -2))
            return found[:, :n, :n], found[:, :n, n]
        alpha = ALPHA[rule]
        eye = torch.eye(n, dtype=torch.float64, device=delta.device)
        A_bar = torch.linalg.solve(eye - alpha * delta * p["A"], eye + (1 - alpha) * delta * p["A"])
        return A_bar, torch.linalg.solve(eye - alpha * step * p["A"], step * B)[..., 0]

    def exponential(self, X: Tensor) -> Tensor:
        """exp(X) of (d, k, k): a series and squarings, which autograd goes back through."""
        import torch

        _, halvings = frexp(float(X.detach().abs().sum(-2).amax()) if X.numel() else 0.0)
        small = X / 2 ** max(halvings, 0)
        term = total = torch.eye(X.shape[-1], dtype=X.dtype, device=X.device).expand_as(X)
        for k in range(1, 20):
            term = term @ small / k
            total = total + term
        for _ in range(halvings):
            total = total @ total
        return total

    def taken(self, A_bar: Tensor, t: int) -> Tensor:
        """Ā as step t takes it, (d, n, n)."""
        return A_bar

    def __call__(
        self,
        *,
        u: Tensor,
        discretization: str = "bilinear",
        return_last_state: bool = False,
        **inputs: Tensor,
    ) -> Any:
        """The operator."""
        import torch

        p = self.inside({"u": u, **inputs})
        A_bar, B_bar = self.discrete(p, discretization)
        h = p["initial_state"] if "initial_state" in p else B_bar.new_zeros(len(u), *B_bar.shape)
        outputs = []
        for t in range(u.shape[-1]):
            h = torch.einsum("dij,bdj->bdi", self.taken(A_bar, t), h) + B_bar * p["u"][..., t, None]
            outputs.append(torch.einsum("dmn,bdn->bdm", p["C"], h))
        y = torch.stack(outputs, -1) if outputs else h.new_zeros(*h.shape[:2], p["C"].shape[1], 0)
        if "D" in p:
            y = y + p["D"][..., None] * p["u"][:, :, None]
        return self.returned(y, h, u, return_last_state)


class TorchS5(TorchLayer):
    """One diagonal system for all channels, a step for each mode."""

    op: ClassVar[str] = "s5"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES[1:],
        "gradients": "all",
        "features": ("complex", "mixed_dtypes", "initial_state", "bilinear", *EULER),
    }

    def mixed(self, C: Tensor, h: Tensor) -> Tensor:
        """γ Re(C h), (b, h)."""
        y = h @ C.to(h.dtype).mT
        return 2 * y.real if y.is_complex() else y

    def __call__(
        self, *, u: Tensor, discretization: str = "zoh", return_last_state: bool = False, **inputs: Tensor
    ) -> Any:
        """The operator."""
        import torch

        p = self.inside({"u": u, **inputs})
        a, hold = self.modes(p["A"], p["delta"], discretization)
        B_bar = hold[:, None] * p["B"]
        h = p["initial_state"] if "initial_state" in p else B_bar.new_zeros(len(u), len(B_bar))
        outputs = []
        for t in range(u.shape[-1]):
            h = a * h + p["u"][..., t].to(B_bar.dtype) @ B_bar.mT
            outputs.append(self.mixed(p["C"], h))
        y = torch.stack(outputs, -1) if outputs else torch.zeros_like(p["u"])
        if "D" in p:
            y = y + p["D"][:, None] * p["u"]
        return self.returned(y, h, u, return_last_state)


class TorchH3(TorchLayer):
    """A shift system on the keys, a diagonal system on keys times values, queries as the gate."""

    op: ClassVar[str] = "h3"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES[1:],
        "gradients": "all",
        "features": ("complex", "mixed_dtypes", "bilinear", *EULER),
    }

    def taps(self, shift: Tensor) -> Tensor:
        """The kernel of the shift system, (d, s)."""
        return shift

    def shifted(self, p: Mapping[str, Tensor]) -> Tensor:
        """k' = shift(k) + D_k k."""
        import torch

        k, taps = p["k"], self.taps(p["shift"])
        padded = torch.nn.functional.pad(k, (taps.shape[-1] - 1, 0))
        out = p["shift_D"][:, None] * k
        for j in range(taps.shape[-1]):
            begin = taps.shape[-1] - 1 - j
            out = out + taps[:, j, None] * padded[..., begin : begin + k.shape[-1]]
        return out

    def __call__(self, *, q: Tensor, discretization: str = "zoh", **inputs: Tensor) -> Tensor:
        """The operator."""
        import torch

        p = self.inside({"q": q, **inputs})
        heads, (b, d, l) = len(p["delta"]), q.shape
        queries, keys, values = (
            x.reshape(b, heads, d // heads, l) for x in (p["q"], self.shifted(p), p["v"])
        )
        products = keys[:, :, :, None] * values[:, :, None]
        a, hold = self.modes(p["A"], p["delta"][:, None], discretization)
        h = (hold * p["B"]).new_zeros(*products.shape[:-1], a.shape[-1])
        outputs = []
        for t in range(l):
            h = a[:, None, None] * h + (hold * p["B"])[:, None, None] * products[..., t, None]
            run = (p["C"][:, None, None] * h).sum(-1)
            run = 2 * run.real if run.is_complex() else run
            if "D" in p:
                run = run + p["D"][:, None, None] * products[..., t]
            outputs.append((queries[..., t, None] * run).sum(2))
        y = torch.stack(outputs, -1) if outputs else values
        y = y.reshape(b, d, l)
        if "out_proj" in p:
            y = torch.einsum("od,bdl->bol", p["out_proj"], y)
        return y.to(q.dtype)


def _phi(x: Tensor) -> Tensor:
    """expm1(x)/x, its limit 1 at x = 0: near it by the series Σ xᵏ/(k+1)!, whose rest is below 2⁻⁶⁰."""
    import torch

    near = x.abs() < 2**-7
    inside, outside = torch.where(near, x, 0), torch.where(near, 1, x)
    series = torch.zeros_like(x)
    for k in reversed(range(8)):
        series = series * inside + 1 / factorial(k + 1)
    return torch.where(near, series, torch.expm1(outside) / outside)
