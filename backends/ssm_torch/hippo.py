"""The HiPPO-LegS system, which compresses the whole past into Legendre coefficients."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def hippo_legs(n: int, *, dtype: str = "float64", device: str = "cpu") -> tuple[Tensor, Tensor]:
    """A_ik = −√((2i+1)(2k+1)) for i > k, −(i+1) for i = k, 0 above; B_i = √(2i+1) (Gu et al. 2020, Thm. 2).

    Parameters
    ----------
    n
        Number of states.
    dtype, device
        Of the result.

    Returns
    -------
    A : (n, n)
    B : (n, 1)
        Correctly rounded: the products are integers, and a root rounded to float64 rounds
        to half as many digits as if it had been exact.
    """
    odd = 2.0 * np.arange(n) + 1
    # NumPy's root is correctly rounded; PyTorch's may be a unit off on a CPU, as for √19.
    A = -np.tril(np.sqrt(np.outer(odd, odd)), -1) - np.diag((odd + 1) / 2) + 0.0
    B = np.sqrt(odd[:, None])
    kind: torch.dtype = getattr(torch, dtype)
    return _round_once(A, kind).to(device), _round_once(B, kind).to(device)


def _round_once(values: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
    """Round float64 to nearest. PyTorch goes to 16 bits by way of float32, so that step rounds to odd."""
    x = torch.from_numpy(values)
    if dtype.itemsize > 2:
        return x.to(dtype)
    near = x.float()
    other = torch.nextafter(near, torch.where(x > near, math.inf, -math.inf).float())
    inexact_even = (near.double() != x) & (near.view(torch.int32) % 2 == 0)
    return torch.where(inexact_even, other, near).to(dtype)
