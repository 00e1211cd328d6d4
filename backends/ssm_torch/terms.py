"""One step of the selective scan as a recurrence h = a h⁻ + x, differentiable by autograd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_torch.functions import compute_dtype, held_step, silu, softplus, widen


@dataclass(frozen=True)
class Terms:
    """The scan as a recurrence h_t = a_t h_{t−1} + x_t, in the compute type, time first.

    Attributes
    ----------
    a, x : (l, b, d, n)
        exp(Δ_t A) and b̄_t u_t.
    C : (l or 1, b or 1, g, 1, n)
    u, z : (l, b, d)
    D : (d)
    """

    a: Tensor
    x: Tensor
    C: Tensor
    u: Tensor
    D: Tensor | None
    z: Tensor | None

    def output(self, h: Tensor) -> Tensor:
        """y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t), (l, b, d); γ = 2 for complex A."""
        products = (_in_groups(h, self.C) * self.C).sum(-1).flatten(2, 3)
        y: Tensor = 2 * products.real if self.a.is_complex() else products
        if self.D is not None:
            y = y + self.D * self.u
        return y if self.z is None else y * silu(self.z)


def selective_terms(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    b_discretization: str,
    skipped: Tensor | None = None,
) -> Terms:
    """Discretise: a_t = exp(Δ_t A), x_t = Δ_t B_t u_t, or expm1(Δ_t A)/A B_t u_t ("zoh").

    Where ``skipped``, (b), says so, Δ is 0 whatever bias and softplus make of it.
    """
    compute = compute_dtype(u, A)
    step = _time_first(delta, compute)
    if delta_bias is not None:
        step = step + delta_bias
    step = (softplus(step) if delta_softplus else step).unsqueeze(-1)
    if skipped is not None:
        step = step.masked_fill(skipped[:, None, None], 0)
    x = _time_first(u, compute)
    hold = held_step(step, A) if b_discretization == "zoh" else step
    matrix = _grouped(B, compute)
    drive = _in_groups(hold * x.unsqueeze(-1), matrix) * matrix
    return Terms(
        a=torch.exp(step * A),
        x=drive.flatten(2, 3).to(A.dtype),
        C=_grouped(C, compute),
        u=x,
        D=D,
        z=None if z is None else _time_first(z, compute),
    )


def _time_first(x: Tensor, compute: torch.dtype) -> Tensor:
    """(b, d, l) as (l, b, d)."""
    return widen(x, compute).permute(2, 0, 1).contiguous()


def _grouped(matrix: Tensor, compute: torch.dtype) -> Tensor:
    """B or C as (l or 1, b or 1, g, 1, n); channel i reads group i // (d/g)."""
    matrix = widen(matrix, compute)
    if matrix.ndim == 2:
        return matrix[None, None, :, None]
    if matrix.ndim == 3:
        return matrix.permute(2, 0, 1)[:, :, None, None]
    return matrix.permute(3, 0, 1, 2).unsqueeze(3)


def _in_groups(x: Tensor, matrix: Tensor) -> Tensor:
    """(l, b, d, k) as (l, b, g, d/g, k), to meet B or C as :func:`_grouped` gives it."""
    l, b, d, k = x.shape
    g = matrix.shape[2]
    return x.reshape(l, b, g, d // max(g, 1), k)
