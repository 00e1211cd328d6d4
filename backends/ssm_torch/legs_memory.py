"""HiPPO-LegS as a memory: a signal compressed online into Legendre coefficients of its whole past."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from ssm_torch.functions import compute_dtype
from ssm_torch.hippo import hippo_legs
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
    zero = x.new_zeros((*f.shape[:-1], n))
    if length == 0:
        return zero.unsqueeze(-1)[..., :0].to(f.dtype) if prefixes else zero.to(f.dtype)
    c = torch.nn.functional.pad(x[..., :1], (0, n - 1))
    found = [c]
    for first in range(2, length + 1, STEPS):
        matrices = _matrices(n, range(first, min(first + STEPS, length + 1)), method, x)
        for sample, A, B in zip(x[..., first - 1 :].unbind(-1), *matrices, strict=False):
            c = (A @ c.unsqueeze(-1)).squeeze(-1) + B * sample.unsqueeze(-1)
            if prefixes:
                found.append(c)
    return (torch.stack(found, dim=-1) if prefixes else c).to(f.dtype)


def _matrices(n: int, steps: range, method: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Ā_k (k, n, n) and B̄_k (k, n) of some steps k ≥ 2, in the type of `like`."""
    A, B = hippo_legs(n, device=str(like.device))
    inverse = 1 / (torch.arange(steps.start, steps.stop, dtype=torch.float64, device=like.device) - 1)
    exact = method == "exact"
    step = torch.log1p(inverse) if exact else inverse
    A_bar, B_bar = discretize(A, B, step, "zoh" if exact else "bilinear")
    return A_bar.to(like.dtype), B_bar[..., 0].to(like.dtype)
