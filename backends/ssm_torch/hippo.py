"""HiPPO: systems whose state holds the coefficients of the past in a basis."""

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
        Number of states, at least 1.
    dtype
        Of the result: "float64", "float32", "float16" or "bfloat16".
    device
        Where it is made.

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
    return _both(A, B, dtype, device)


def hippo_legt(
    n: int, *, theta: float = 1.0, dtype: str = "float64", device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """A_ik = −√((2i+1)(2k+1))/θ · {1 for k ≤ i; (−1)^(i−k) for k > i}; B_i = √(2i+1)/θ.

    Gu et al. 2020, HiPPO, theorem 1, normalised.

    Parameters
    ----------
    n
        Number of states, at least 1.
    theta
        θ > 0, the length of the window.
    dtype, device
        Of the result, as :func:`hippo_legs` takes them.

    Returns
    -------
    A : (n, n)
    B : (n, 1)
    """
    order = np.arange(n)
    odd = 2.0 * order + 1
    ahead = order[None, :] - order[:, None]
    sign = np.where((ahead > 0) & (ahead % 2 == 1), 1.0, -1.0)
    return _both(sign * np.sqrt(np.outer(odd, odd)) / theta, np.sqrt(odd[:, None]) / theta, dtype, device)


def hippo_lagt(n: int, *, dtype: str = "float64", device: str = "cpu") -> tuple[Tensor, Tensor]:
    """A_ik = −1 for i ≥ k, 0 for i < k; B_i = 1 (Gu et al. 2020, HiPPO, theorem 1).

    Parameters
    ----------
    n
        Number of states, at least 1.
    dtype, device
        Of the result, as :func:`hippo_legs` takes them.

    Returns
    -------
    A : (n, n)
    B : (n, 1)
    """
    return _both(0.0 - np.tril(np.ones((n, n))), np.ones((n, 1)), dtype, device)


def hippo_fout(n: int, *, dtype: str = "float64", device: str = "cpu") -> tuple[Tensor, Tensor]:
    """β = (1, 0, √2, 0, …): A = R − 2ββᵀ, B = 2β, R_{2k,2k+1} = −2πk = −R_{2k+1,2k} (Gu et al. 2022, (10)).

    Parameters
    ----------
    n
        Number of states, even.
    dtype, device
        Of the result, as :func:`hippo_legs` takes them.

    Returns
    -------
    A : (n, n)
    B : (n, 1)
    """
    A = np.zeros((n, n))
    even = np.arange(0, n, 2)
    A[np.ix_(even, even)] = -4.0  # −2 √2 √2, exactly
    A[0, even] = A[even, 0] = -2 * math.sqrt(2)
    A[0, 0] = -2.0
    A[even, even + 1] = -math.pi * even
    A[even + 1, even] = math.pi * even
    B = np.zeros((n, 1))
    B[even] = 2 * math.sqrt(2)
    B[0] = 2.0
    return _both(A + 0.0, B, dtype, device)


def _both(A: NDArray[np.float64], B: NDArray[np.float64], dtype: str, device: str) -> tuple[Tensor, Tensor]:
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
