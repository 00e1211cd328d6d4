"""The scalar functions of the operators, right in value and in gradient wherever they are finite."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

_PSI_TERMS: Final = {torch.float32: 11, torch.float64: 20}
"""ψ(x) = Σ (j+1)/(j+2)! xʲ: for |x| ≤ 1 the next term is below 2⁻²⁸, or 2⁻⁶⁰."""


def compute_dtype(u: Tensor, A: Tensor | None = None) -> torch.dtype:
    """The type of everything between load and store: the wider of the inputs', at least float32."""
    wide = u.dtype if A is None else torch.promote_types(u.dtype, A.dtype)
    return torch.float64 if wide in (torch.float64, torch.complex128) else torch.float32


def widen(x: Tensor, compute: torch.dtype) -> Tensor:
    """The tensor in the compute type, real or complex as it is."""
    if x.is_complex():
        return x.to(torch.complex128 if compute == torch.float64 else torch.complex64)
    return x.to(compute)


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in another dtype, each number rounded once.

    PyTorch takes float64 to 16 bits by way of float32, which rounds twice. Of a float32 that is rounded to
    odd, the second rounding makes what one would have made (Boldo and Melquiond 2008).
    """
    if x.dtype != torch.float64 or dtype not in (torch.float16, torch.bfloat16):
        return x.to(dtype)
    exact = x.detach()
    near = exact.to(torch.float32)
    bits, wide = near.view(torch.int32), near.to(torch.float64)
    odd = torch.where(wide.abs() > exact.abs(), bits - 1, bits | 1).view(torch.float32)
    even = (wide != exact) & (bits & 1 == 0) & wide.isfinite()  # an infinity stays one
    return (x + torch.where(even, odd.to(torch.float64) - exact, -0.0)).to(dtype)  # −0 + 0 would be 0


def split(x: Tensor, dim: int, sizes: tuple[int, ...]) -> Tensor:
    """One dimension as several, a view; −1 stands for what is left."""
    parts: Tensor = x.unflatten(dim, sizes)  # type: ignore[no-untyped-call]  # PyTorch's
    return parts


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), which is x to the last digit of float64 above 40; 0 with slope 0 at −∞."""
    return torch.nn.functional.softplus(x, threshold=40)


def sigmoid(x: Tensor) -> Tensor:
    """σ(x) by way of its logarithm: 1/(1 + exp(−x)) overflows where x σ(x) is still a normal number."""
    return torch.exp(torch.nn.functional.logsigmoid(x))  # out of place: a policy of checkpoints may keep it


def silu(x: Tensor) -> Tensor:
    """x σ(x)."""
    return x * sigmoid(x)


def exponentiated(x: Tensor) -> Tensor:
    """exp(x), in place. For complex x = p + iq on a CPU: exp(p) (cos q + i sin q), by vectors of real parts.

    PyTorch takes complex ones there one after another, in seven times the time. It is asked for those that
    would not be finite: infinity times zero is no number.
    """
    if not x.is_complex() or x.is_cuda:
        return x.exp_()
    size = torch.exp(x.real)
    real, imag = torch.cos(x.imag).mul_(size), torch.sin(x.imag).mul_(size)
    if not (real.sum() + imag.sum()).isfinite():
        lost = ~(real.isfinite() & imag.isfinite())
        exact = torch.exp(x[lost])
        real[lost], imag[lost] = exact.real, exact.imag
    x.real, x.imag = real, imag
    return x


def expm1(x: Tensor) -> Tensor:
    """exp(x) − 1. For complex x = p + iq: expm1(p) cos q − 2 sin²(q/2) + i exp(p) sin q."""
    if not x.is_complex():
        return torch.expm1(x)
    p, q = x.real, x.imag
    return torch.complex(
        torch.expm1(p) * torch.cos(q) - 2 * torch.sin(q / 2).square(), torch.exp(p) * torch.sin(q)
    )


def psi(x: Tensor) -> Tensor:
    """ψ(x) = (x exp(x) − expm1(x))/x², ψ(0) = ½: the slope of expm1(x)/x, by its series where |x| < 1."""
    small = x.abs() < 1
    near = torch.where(small, x, 0)
    series = torch.zeros_like(x)
    # Not from a tuple of numbers: those PyTorch may take for open sizes in a graph.
    for j in reversed(range(_PSI_TERMS[compute_dtype(x)])):
        series = series * near + (j + 1) / math.factorial(j + 2)
    far = torch.where(small, 1, x)
    return torch.where(small, series, (torch.exp(far) - expm1(far) / far) / far)


def held_step(delta: Tensor, A: Tensor) -> Tensor:
    """∫₀^Δ exp(sA) ds = expm1(ΔA)/A, whose limit at A = 0 is Δ: the zero-order hold of one mode.

    Parameters
    ----------
    delta, A
        Broadcast against each other; delta is real.
    """
    function = _HeldStepInGraph if torch.compiler.is_compiling() else _HeldStep
    held: Tensor = function.apply(delta, A)  # type: ignore[no-untyped-call]  # PyTorch's
    return held


def held_values(delta: Tensor, A: Tensor) -> Tensor:
    """The values of :func:`held_step`, without a gradient."""
    p = delta * A
    # There the limit is right to a quarter of a rounding, while ΔA may have lost bits to underflow.
    small = p.abs() < torch.finfo(p.dtype).eps / 4
    return torch.where(small, delta.to(p.dtype), expm1(p) / torch.where(small, 1, A))


class _HeldStep(torch.autograd.Function):
    """With ∂/∂Δ = exp(ΔA) and ∂/∂A = Δ² ψ(ΔA), which autograd would take as 0/0 at A = 0.

    Δ² alone may overflow, and so may Δ times the cotangent, where Δ² ψ, about 1/A², does not.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(delta: Tensor, A: Tensor) -> Tensor:
        return held_values(delta, A)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, Tensor]:
        return _held_gradients(*ctx.saved_tensors, *cotangents)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        of_delta, of_A = _held_derivatives(*ctx.saved_tensors)
        parts = [by * t for by, t in zip((of_delta, of_A), tangents, strict=True) if t is not None]
        return sum(parts[1:], parts[0])


class _HeldStepInGraph(torch.autograd.Function):
    """The same for a graph, which takes no function that has a forward derivative too."""

    @staticmethod
    def forward(ctx: Any, delta: Tensor, A: Tensor) -> Tensor:
        ctx.save_for_backward(delta, A)
        return held_values(delta, A)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, Tensor]:
        return _held_gradients(*ctx.saved_tensors, *cotangents)


def _held_derivatives(delta: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """∂/∂Δ and ∂/∂A."""
    p = delta * A
    return torch.exp(p), delta * (delta * psi(p))


def _held_gradients(delta: Tensor, A: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    of_delta, of_A = _held_derivatives(delta, A)
    return _as_input(g * of_delta.conj(), delta), _as_input(g * of_A.conj(), A)


def _as_input(gradient: Tensor, x: Tensor) -> Tensor:
    """Summed over what was broadcast; a real input gets the real part."""
    return (gradient if x.is_complex() else gradient.real).sum_to_size(x.shape)
