"""Honest selective scans in PyTorch: plain, differentiated by hand, with an operator; torch on use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

from ssm_backends import Arrays, TorchArrays
from ssm_conformance.mutants.kernels.kernel import WIDE, Kernel

if TYPE_CHECKING:
    from torch import Tensor


class TorchScan(Kernel):
    """The plain scan, every span of time doubled at once, differentiated by autograd."""

    op: ClassVar[str] = "selective_scan"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": WIDE,
        "gradients": "all",
        "features": ("compile", "autocast"),
    }

    def arrays(self) -> Arrays:
        """Tensors on the CPU."""
        return TorchArrays("cpu")

    def runs_here(self) -> bool:
        """Whether PyTorch is installed."""
        return find_spec("torch") is not None

    def modes(self, A: Tensor) -> Tensor:
        """A as it is used, (d, n)."""
        return A

    def step_size(self, x: Tensor, softplus: bool) -> Tensor:
        """Δ from delta + delta_bias, (b, d, l)."""
        import torch

        return torch.logaddexp(x, x.new_zeros(())) if softplus else x

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        """Σ_n C h, (b, d, l) from (b, n, l) and (b, d, n, l)."""
        return (C.unsqueeze(1) * h).sum(2)

    def states(self, decay: Tensor, drive: Tensor) -> Tensor:
        """h_t = a_t h_{t−1} + x_t, (b, d, n, l): an operation on every step at once is cheap to trace."""
        import torch
        from torch.nn.functional import pad

        a, h = pad(decay[..., 1:], (1, 0)), drive  # no state is before the first: there a times anything is 0
        for k in range(drive.shape[-1].bit_length()):
            before = (2**k, -(2**k))
            h = torch.addcmul(h, a, pad(h, before))
            a = a * pad(a, before)
        return h

    def __call__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Any:
        """The operator."""
        import torch

        x = delta if delta_bias is None else delta + delta_bias.unsqueeze(-1)
        step = self.step_size(x, delta_softplus).unsqueeze(2)
        h = self.states(torch.exp(step * self.modes(A).unsqueeze(-1)), step * u.unsqueeze(2) * B.unsqueeze(1))
        y = self.contract(C, h)
        if D is not None:
            y = y + D.unsqueeze(-1) * u
        if z is not None:
            y = y * (z * torch.exp(torch.nn.functional.logsigmoid(z)))
        if not return_last_state:
            return y
        return y, h[..., -1].clone() if h.shape[-1] else h.sum(-1)


class OnGpu(TorchScan):
    """Put to the suite where there is a GPU: its launches may be captured and replayed."""

    claims: ClassVar[Mapping[str, Any]] = {**TorchScan.claims, "features": ("cuda_graph",)}

    def arrays(self) -> Arrays:
        """Tensors on the GPU."""
        return TorchArrays("cuda")

    def runs_here(self) -> bool:
        """Whether PyTorch is installed, and sees a GPU."""
        if not super().runs_here():
            return False
        import torch

        return torch.cuda.is_available()


class ByHand(TorchScan):
    """Σ_n C h has a backward pass of its own, which can be differentiated again."""

    def slopes(self, g: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of C and h, from the cotangent (b, d, l) and what was saved."""
        return (g.unsqueeze(2) * h).sum(1), g.unsqueeze(2) * C.unsqueeze(1)

    def arrays(self) -> Arrays:
        """Tensors on the CPU; the function with both passes is made first."""
        import torch

        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, kernel: ByHand, C: Tensor, h: Tensor) -> Tensor:
                ctx.kernel = kernel  # an argument, for PyTorch 2.10 traces none from outside of the function
                ctx.save_for_backward(C, h)
                return TorchScan.contract(kernel, C, h)

            @staticmethod
            def backward(ctx: Any, *cotangents: Tensor) -> tuple[None, Tensor, Tensor]:
                return None, *ctx.kernel.slopes(*cotangents, *ctx.saved_tensors)

        self.product = Product.apply
        return super().arrays()

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        """By that function."""
        found: Tensor = self.product(self, C, h)  # type: ignore[no-untyped-call]  # PyTorch's
        return found


class Whole(TorchScan):
    """The scan is one function to autograd; its backward pass runs it again, and is no part of a graph."""

    claims: ClassVar[Mapping[str, Any]] = {**TorchScan.claims, "features": ("autocast",)}

    def backward(self, inputs: Mapping[str, Any], cotangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The gradients of the tensors among the inputs, in order."""
        import torch

        leaves = {name: x.detach().requires_grad_() for name, x in inputs.items() if torch.is_tensor(x)}
        with torch.enable_grad():
            outputs = TorchScan.__call__(self, **{**inputs, **leaves})
        return torch.autograd.grad(
            outputs if isinstance(outputs, tuple) else (outputs,),
            list(leaves.values()), cotangents, allow_unused=True, materialize_grads=True,
        )  # fmt: skip

    def guarded(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        """The backward pass as autograd is given it: it refuses to be differentiated."""
        from torch.autograd.function import once_differentiable

        return once_differentiable(backward)

    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        """The operator."""
        import torch

        given = signature(super().__call__).bind(*arguments, **inputs).arguments
        tensors = {name: x for name, x in given.items() if torch.is_tensor(x)}

        def saved(values: Sequence[Tensor]) -> dict[str, Any]:
            return {**given, **dict(zip(tensors, values, strict=True))}

        def back(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, ...]:
            return self.backward(saved(ctx.saved_tensors), cotangents)

        class Scan(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *values: Tensor) -> Any:
                ctx.save_for_backward(*values)
                return TorchScan.__call__(self, **saved(values))

            backward = staticmethod(self.guarded(back))

        return Scan.apply(*tensors.values())  # type: ignore[no-untyped-call]  # PyTorch's


class Registered(TorchScan):
    """Σ_n C h is an operator that PyTorch is told of: its fake kernel, and its gradient."""

    def fake(self, C: Tensor, h: Tensor) -> Tensor:
        """What the operator returns, without numbers."""
        return h.new_empty((h.shape[0], h.shape[1], h.shape[3]))

    def arrays(self) -> Arrays:
        """Tensors on the CPU; the operator is registered first."""
        found = super().arrays()
        self.product = _registered(type(self))
        return found

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        """By the operator."""
        found: Tensor = self.product(C, h)
        return found


@cache
def _registered(kernel: type[Registered]) -> Callable[[Tensor, Tensor], Tensor]:
    """The operator of one kind of kernel: a name can be registered once in a process."""
    import torch

    plain = kernel()

    def product(C: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return TorchScan.contract(plain, C, h).contiguous()

    def save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        C, h = ctx.saved_tensors
        return (g.unsqueeze(2) * h).sum(1), g.unsqueeze(2) * C.unsqueeze(1)

    product.__annotations__ = {"C": torch.Tensor, "h": torch.Tensor, "return": torch.Tensor}
    operator: Any = torch.library.custom_op(
        f"ssm_conformance::{kernel.__name__.strip('_').lower()}", product, mutates_args=()
    )
    operator.register_fake(plain.fake)
    operator.register_autograd(backward, setup_context=save)
    called: Callable[[Tensor, Tensor], Tensor] = operator
    return called
