"""SSD as others might write it, in float32 torch: recurrent, chunked by matrix products, and wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Result = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Kernel:
    """`chunk` 0 is the recurrent form; `operands` is what matrix products round to; `slip` a mistake."""

    chunk: int = 0
    operands: torch.dtype | None = None
    slip: str = ""


class _MatMul(torch.autograd.Function):
    """a @ b with both operands rounded, forward and backward, accumulated in float32."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
        a, b = a.to(dtype).to(a.dtype), b.to(dtype).to(b.dtype)
        ctx.save_for_backward(a, b)
        ctx.dtype = dtype
        return a @ b

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        a, b = ctx.saved_tensors
        g = grads[0].to(ctx.dtype).to(a.dtype)
        return g @ b.mT, a.mT @ g, None


class NarrowProducts(TorchFunctionMode):
    """Within it every product of matrices rounds its operands to bfloat16."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.matmul, Tensor.matmul, Tensor.__matmul__):
            return _matmul(args[0], args[1], torch.bfloat16)
        return function(*args, **(kwargs or {}))


def in_bfloat16(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    """The inputs, those of these names rounded to bfloat16."""
    return {
        name: torch.tensor(x).bfloat16().float().numpy() if name in names else x for name, x in inputs.items()
    }


def execute(kernel: Kernel, inputs: dict[str, Any], cotangents: dict[str, Any]) -> Result:
    """y, the final states, and under each input's name its gradient."""
    leaves = {
        name: torch.tensor(value, requires_grad=True)
        for name, value in inputs.items()
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    }
    y, final = _forward(kernel, {**inputs, **leaves})
    given = [torch.tensor(cotangents[name]) for name in ("y", "final_states")]
    found = torch.autograd.grad([y, final], list(leaves.values()), given, allow_unused=True)
    out = {"out:y": y.detach().numpy(), "out:final_states": final.detach().numpy()}
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        out[name] = (torch.zeros_like(leaf) if gradient is None else gradient).numpy()
    return out


def _forward(kernel: Kernel, v: dict[str, Any]) -> tuple[Tensor, Tensor]:
    x = v["x"]
    b, l, h, p = x.shape
    g, n = v["B"].shape[2:]
    dt = v["dt"] + v["dt_bias"] if "dt_bias" in v else v["dt"]
    dt = torch.nn.functional.softplus(dt) if v["dt_softplus"] else dt
    low, high = v["dt_limit"]
    dt = dt if kernel.slip == "limits missing" else dt.clamp(low, high)
    if kernel.slip == "groups repeated out of order":
        B, C = (v[name].repeat(1, 1, h // g, 1) for name in ("B", "C"))
    else:
        B, C = (v[name].repeat_interleave(h // g, dim=2) for name in ("B", "C"))
    fresh = torch.zeros(b, l, dtype=torch.bool)
    if "seq_idx" in v and kernel.slip != "resets ignored":
        fresh[:, 1:] = torch.tensor(v["seq_idx"][:, 1:] != v["seq_idx"][:, :-1])
    S = v.get("initial_states", torch.zeros(b, h, p, n))
    S = torch.zeros_like(S) if kernel.slip == "initial states dropped" else S
    form = _recurrent if kernel.chunk == 0 else _chunked
    y, S = form(kernel, x, dt, v["A"], B, C, fresh, S)
    if "D" in v and kernel.slip != "D missing":
        y = y + (v["D"] if v["D"].dim() == 2 else v["D"][:, None]) * x
    return (y * torch.nn.functional.silu(v["z"]) if "z" in v else y), S


def _recurrent(
    kernel: Kernel, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, fresh: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    a = torch.exp(dt * A)
    y = []
    for t in range(x.shape[1]):
        S = torch.where(fresh[:, t, None, None, None], 0.0, S)
        S = a[:, t, :, None, None] * S + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        y.append((S @ C[:, t, :, :, None])[..., 0])
    return torch.stack(y, 1), S


def _chunked(
    kernel: Kernel, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, fresh: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    def product(a: Tensor, b: Tensor) -> Tensor:
        return a @ b if kernel.operands is None else _matmul(a, b, kernel.operands)

    x, B, C = (M.transpose(1, 2) for M in (x, B, C))  # (b, h, l, ·)
    step, rate = dt.transpose(1, 2), (dt * A).transpose(1, 2)
    y = []
    for start in range(0, x.shape[2], kernel.chunk):
        now = slice(start, start + kernel.chunk)
        total = rate[..., now].cumsum(-1)
        q = total.shape[-1]
        number = fresh[:, now].cumsum(-1)[:, None]
        seen = torch.ones(q, q, dtype=torch.bool).tril() & (number[..., None] == number[..., None, :])
        apart = torch.where(seen, total[..., None] - total[..., None, :], 0.0)
        L = torch.exp(apart) * seen
        inherits = number == 0
        scores = product(C[:, :, now], B[:, :, now].mT) * L * step[:, :, None, now]
        out = product(scores, x[:, :, now])
        if not (kernel.slip == "chunks not joined" and start > 0):
            from_before = product(C[:, :, now], S.mT)
            out = out + torch.where(inherits, torch.exp(total), 0.0)[..., None] * from_before
        y.append(out)
        to_end = L[:, :, -1] * step[..., now]
        new = product(x[:, :, now].mT, to_end[..., None] * B[:, :, now])
        kept = torch.where(inherits[..., -1], torch.exp(total[..., -1]), 0.0)
        S = kept[..., None, None] * S + new
    return torch.cat(y, 2).transpose(1, 2), S


def _matmul(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    result: Tensor = _MatMul.apply(a, b, dtype)
    return result
