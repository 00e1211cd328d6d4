"""The HiPPO-LegS system, which compresses the whole past into Legendre coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def hippo_legs(n: int, *, dtype: str = "float64") -> tuple[Array, Array]:
    """A_ik = −√((2i+1)(2k+1)) for i > k, −(i+1) for i = k, 0 above; B_i = √(2i+1) (Gu et al. 2020, Thm. 2).

    Parameters
    ----------
    n
        Number of states, at least 1.
    dtype
        Of the result: "float64", "float32" or "float16".

    Returns
    -------
    A : (n, n)
    B : (n, 1)
        Both in the given dtype, correctly rounded: the products are integers, and a root
        rounded to float64 rounds to a half as many digits as if it had been exact.
    """
    odd = 2.0 * np.arange(n) + 1
    A = -np.tril(np.sqrt(np.outer(odd, odd)), -1) - np.diag(np.arange(1.0, n + 1))
    return A.astype(dtype) + 0.0, np.sqrt(odd[:, None]).astype(dtype)
