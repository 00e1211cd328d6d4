"""Sums of products over modes and over channels: batched matrix products on a GPU, which read states once.

A process may let products of float32 matrices round to TF32 or bfloat16; there, and on a CPU,
it is a product and a sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.blockwise import sizes


def over_modes(x: Tensor, matrix: Tensor, room: Tensor, *, out: Tensor) -> None:
    """Re Σ_n M_t x_t.

    Parameters
    ----------
    x : (t, b, g, n, p)
    matrix : (t, b, g, n, 1), or (g, n, p) if constant
    room
        Like x; it is used up.
    out : (t, b, g, 1, p) real
    """
    if matrix.ndim == 3 or not _by_product(x):
        torch.sum(real(torch.mul(x, matrix, out=room)), 3, keepdim=True, out=out)
    elif x.is_complex():
        out.copy_(torch.matmul(matrix.mT, x).real)
    else:
        torch.bmm(matrix.mT.flatten(0, 2), x.flatten(0, 2), out=out.flatten(0, 2))


def over_channels(x: Tensor, stream: Tensor, room: Tensor, *, out: Tensor) -> None:
    """Σ_p x_t s_t.

    Parameters
    ----------
    x : (t, b, g, n, p)
    stream : (t, b, g, 1, p) real
    room
        Like x; it is used up.
    out : (t, b, g, n)
    """
    if _by_product(x):
        columns = stream.mT.flatten(0, 2).to(x.dtype)
        torch.bmm(x.flatten(0, 2), columns, out=out.flatten(0, 2).unsqueeze(-1))
    else:
        torch.sum(torch.mul(x, stream, out=room), -1, out=out)


def real(x: Tensor) -> Tensor:
    """The real part, as a view."""
    return x.real if x.is_complex() else x


def _by_product(x: Tensor) -> bool:
    if x.device.type not in sizes.WIDE_DEVICES:
        return False
    return x.dtype in (torch.float64, torch.complex128) or _float32_is_kept()


def _float32_is_kept() -> bool:
    """Whether this process takes products of float32 matrices in float32."""
    matmul = torch.backends.cuda.matmul
    said = getattr(matmul, "fp32_precision", None)  # since PyTorch 2.9
    return not matmul.allow_tf32 if said is None else said in ("none", "ieee")
