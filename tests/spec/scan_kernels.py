"""Selective scans that others might write, in torch: honest ones in several orders, and wrong ones.

Arrays have time first: u (l, b, d), states (l, b, d, n). Gradients come from autograd, but
for the adjoints that are written out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Unary = Callable[[Tensor], Tensor]


def sequential(
    s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor, exp: Unary = torch.exp
) -> Tensor:
    a = exp(s[..., None] * A) * keep
    states = []
    for t in range(len(drive)):
        h = a[t] * h + drive[t]
        states.append(h)
    return torch.stack(states)


def fused_multiply_add(s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    a = torch.exp(s[..., None] * A) * keep
    states = []
    for t in range(len(drive)):
        h = (a[t].double() * h.double() + drive[t].double()).float()
        states.append(h)
    return torch.stack(states)


def exp2_prescaled(s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    return sequential(s, A, keep, drive, h, lambda p: torch.exp2(p * 1.4426950408889634))


def exp_off_by_2_5_ulp(s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    return sequential(s, A, keep, drive, h, lambda p: torch.exp(p) * (1 + 5 * 2.0**-24))


def kogge_stone(s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    a = torch.exp(s[..., None] * A) * keep
    x = torch.cat([drive[:1] + a[:1] * h, drive[1:]])
    k = 1
    while k < len(x):
        x = torch.cat([x[:k], x[k:] + a[k:] * x[:-k]])
        a = torch.cat([a[:k], a[k:] * a[:-k]])
        k *= 2
    return x


def right_fold(s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    """Each state on its own, from the newest element to the oldest: l tree nodes share a right end."""
    a = torch.exp(s[..., None] * A) * keep
    x = torch.cat([drive[:1] + a[:1] * h, drive[1:]])
    states = []
    for t in range(len(x)):
        product, state = a[t], x[t]
        for r in reversed(range(t)):
            product, state = product * a[r], state + product * x[r]
        states.append(state)
    return torch.stack(states)


def chunked(q: int) -> Scan:
    def scan(s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor) -> Tensor:
        states = []
        for t in range(0, len(drive), q):
            now, here = slice(t, t + q), drive[t : t + q]
            total = s[now].cumsum(0)
            segment = (keep[now] == 0).cumsum(0)[..., 0, 0]  # which sequence, counted from the chunk's start
            same = (segment[:, None] == segment[None]) & (
                torch.arange(len(here))[:, None] >= torch.arange(len(here))
            )[..., None]
            same = same[..., None]
            apart = torch.where(same, total[:, None] - total[None], 0.0)
            weights = torch.exp(apart[..., None] * A) * same[..., None]
            inherited = torch.exp(total[..., None] * A) * (segment == 0)[..., None, None] * h
            x = (weights * here[None]).sum(1) + inherited
            states.append(x)
            h = x[-1]
        return torch.cat(states)

    return scan


class _Recomputing(torch.autograd.Function):
    """The adjoint written out: λ_t = c_t + conj(a_{t+1})λ_{t+1}, dp = λ conj(h − b̄u)."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, keep: Tensor, drive: Tensor, h: Tensor, slip: str) -> Tensor:
        a = torch.exp(p) * keep
        states = []
        for t in range(len(drive)):
            h = a[t] * h + drive[t]
            states.append(h)
        x = torch.stack(states)
        ctx.save_for_backward(a, drive, x)
        ctx.slip = slip
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        a, drive, x = ctx.saved_tensors
        (c,) = grads
        adjoint = torch.empty_like(c)
        carried = torch.zeros_like(c[0])
        for t in reversed(range(len(c))):
            adjoint[t] = c[t] + carried
            carried = (a[t] if ctx.slip == "no conjugate" else a[t].conj()) * adjoint[t]
        return adjoint * (x - drive).conj(), None, adjoint, carried, None


def subtractive(s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    states: Tensor = _apply(_Recomputing, s[..., None] * A, keep, drive, h, "")
    return states


def no_conjugate(s: Tensor, A: Tensor, keep: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    states: Tensor = _apply(_Recomputing, s[..., None] * A, keep, drive, h, "no conjugate")
    return states


class _Held(torch.autograd.Function):
    """expm1(ΔA)/A with ∂/∂A = Δ²ψ(ΔA), ψ by its series below ½."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, A: Tensor) -> Tensor:
        ctx.save_for_backward(s, A)
        zero = A == 0
        return torch.where(zero, s, torch.expm1(s * A) / torch.where(zero, 1.0, A))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        s, A = ctx.saved_tensors
        (g,) = grads
        p = s * A
        near = torch.where(p.abs() < 0.5, p, 0)
        series = torch.zeros_like(p)
        for j in reversed(range(10)):
            series = series * near + (j + 1) / float(np.prod(np.arange(1.0, j + 3)))
        far = torch.where(p.abs() < 0.5, 1.0, p)
        closed = (far * torch.exp(far) - torch.expm1(far)) / (far * far)
        slope = s * s * torch.where(p.abs() < 0.5, series, closed)
        ds = g * torch.exp(p).conj()
        dA = (g * slope.conj()).sum((0, 1))
        return (ds.real if ds.is_complex() else ds).sum(-1, keepdim=True), dA


@dataclass(frozen=True)
class Kernel:
    """One implementation: its order of evaluation, and what else it does in its own way."""

    scan: Scan = sequential
    softplus: Unary = field(default=torch.nn.functional.softplus)
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda inputs: inputs
    read: Unary = lambda h: h


Result = dict[str, np.ndarray[Any, Any]]


def execute(kernel: Kernel, inputs: dict[str, Any], cotangents: dict[str, Any]) -> Result:
    """y, the last state, and under each input's name its gradient."""
    leaves = {
        name: torch.tensor(value, requires_grad=True)
        for name, value in inputs.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc"
    }
    with kernel.around():
        y, last = _forward(kernel, kernel.change({**inputs, **leaves}))
        given = [torch.tensor(cotangents[name]) for name in ("y", "last_state")]
        gradients = torch.autograd.grad([y, last], list(leaves.values()), given, allow_unused=True)
    out = {"out:y": y.detach().numpy(), "out:last_state": last.detach().resolve_conj().numpy()}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        found = torch.zeros_like(leaf) if gradient is None else gradient
        out[name] = found.resolve_conj().numpy()
    return out


def _forward(kernel: Kernel, x: dict[str, Any]) -> tuple[Tensor, Tensor]:
    u, A = x["u"].permute(2, 0, 1), x["A"]
    l, b, d = u.shape
    s = x["delta"].permute(2, 0, 1)
    s = s + x["delta_bias"] if "delta_bias" in x else s
    s = kernel.softplus(s) if x["delta_softplus"] else s
    weight = _apply(_Held, s[..., None], A) if x["b_discretization"] == "zoh" else s[..., None]
    drive = (weight * u[..., None]) * _by_channel(x["B"], b, d, l)
    keep = torch.ones(l, b, 1, 1, dtype=u.dtype)
    if "seq_idx" in x:
        changed = torch.tensor(x["seq_idx"][:, 1:] != x["seq_idx"][:, :-1]).T
        keep[1:, :, 0, 0] = (~changed).to(u.dtype)
    h0 = x.get("initial_state", torch.zeros(b, d, A.shape[1], dtype=A.dtype))
    h = kernel.scan(s, A, keep, drive, h0)
    seen = (kernel.read(_by_channel(x["C"], b, d, l)) * kernel.read(h)).sum(-1)
    y = 2 * seen.real if A.is_complex() else seen
    y = y + x["D"] * u if "D" in x else y
    y = y.permute(1, 2, 0)
    return (y * torch.nn.functional.silu(x["z"]) if "z" in x else y), h[-1]


def _apply(function: Any, *arguments: Any) -> Tensor:
    result: Tensor = function.apply(*arguments)
    return result


def _by_channel(M: Tensor, b: int, d: int, l: int) -> Tensor:
    if M.dim() == 2:
        return M.expand(l, b, *M.shape)
    if M.dim() == 3:
        return M.permute(2, 0, 1)[:, :, None].expand(l, b, d, M.shape[1])
    return M.repeat_interleave(d // M.shape[1], dim=1).permute(3, 0, 1, 2)
