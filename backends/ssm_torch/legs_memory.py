"""HiPPO-LegS as a memory: a signal compressed online into Legendre coefficients of its whole past."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from ssm_torch.functions import compute_dtype
from ssm_torch.hippo import hippo_legs
from ssm_torch.opaque import empty, is_opaque, opaque
from ssm_torch.precision import not_cast_down
from ssm_torch.rules import discretize

STEPS: Final = 64
"""Steps whose matrices are made at once."""


@not_cast_down
def hippo_legs_compress(f: Tensor, n: int, *, method: str = "exact", prefixes: bool = False) -> Tensor:
    """c' = (A c + B f)/t: c₁ = f₁ e₀, c_k = Ā_k c_{k−1} + B̄_k f_k (Gu et al. 2020, HiPPO, theorem 2).

    In the time log t the system is h' = A h + B f. The matrices of the steps do not depend on the signal;
    they are made in float64.

    Parameters
    ----------
    f : (*s, l)
    n
        Number of coefficients.
    method
        "exact": each sample is held over (k − 1, k], the zero-order hold over log(k/(k − 1)).
        "bilinear": Tustin's rule in 1/(k − 1).
    prefixes
        Return the coefficients after each sample.

    Returns
    -------
    c : (*s, n), or (*s, n, l) with ``prefixes``; dtype of f
    """
    x = f.to(compute_dtype(f))
    length = f.shape[-1]
    if length == 0:  # made of f, whose gradient is then zeros
        nothing = (
            x.unsqueeze(-2).expand(*f.shape[:-1], n, 0) if prefixes else torch.nn.functional.pad(x, (0, n))
        )
        return nothing.to(f.dtype)
    run = _traced if is_opaque() else _coefficients
    return run(x, n, method, prefixes).to(f.dtype)


def _coefficients(x: Tensor, n: int, method: str, prefixes: bool) -> Tensor:
    c = torch.nn.functional.pad(x[..., :1], (0, n - 1))
    found = [c]
    for steps in _blocks(x.shape[-1]):
        matrices = _matrices(n, steps, method, x)
        for sample, A, B in zip(x[..., steps.start - 1 :].unbind(-1), *matrices, strict=False):
            c = (A @ c.unsqueeze(-1)).squeeze(-1) + B * sample.unsqueeze(-1)
            if prefixes:
                found.append(c)
    return torch.stack(found, dim=-1) if prefixes else c


def _adjoint(g: Tensor, c: Tensor, x: Tensor, n: int, method: str, prefixes: bool) -> list[Tensor]:
    """The gradient of x: λ_{k−1} = g_{k−1} + Ā_kᵀ λ_k, and x_k gets B̄_kᵀ λ_k."""
    given = list(g.unbind(-1)) if prefixes else [torch.zeros_like(g)] * (x.shape[-1] - 1) + [g]
    adjoint, found = given[-1], []
    for steps in reversed(_blocks(x.shape[-1])):
        for k, A, B in reversed(list(zip(steps, *_matrices(n, steps, method, x), strict=True))):
            found.append(adjoint @ B)
            adjoint = given[k - 2] + (A.mT @ adjoint.unsqueeze(-1)).squeeze(-1)
    return [torch.stack([adjoint[..., 0], *reversed(found)], dim=-1)]


def _blocks(length: int) -> list[range]:
    """The steps k = 2, …, l, so many at once."""
    return [range(k, min(k + STEPS, length + 1)) for k in range(2, length + 1, STEPS)]


def _matrices(n: int, steps: range, method: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Ā_k (k, n, n) and B̄_k (k, n) of some steps k ≥ 2, in the type of `like`."""
    A, B = hippo_legs(n, device=str(like.device))
    inverse = 1 / (torch.arange(steps.start, steps.stop, dtype=torch.float64, device=like.device) - 1)
    exact = method == "exact"
    step = torch.log1p(inverse) if exact else inverse
    A_bar, B_bar = discretize(A, B, step, "zoh" if exact else "bilinear")
    return A_bar.to(like.dtype), B_bar[..., 0].to(like.dtype)


_traced = opaque(
    "hippo_legs_compress",
    _coefficients,
    _adjoint,
    fake=lambda x, n, method, prefixes: x.new_empty((*x.shape[:-1], n, *(x.shape[-1:] if prefixes else ()))),
    fake_backward=lambda g, c, x, n, method, prefixes: [empty(x)],
    read=(0,),
)
