"""The causal convolution of every channel with its own kernel, lag by lag."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_numpy.functions import quiet

Array = NDArray[Any]


@quiet
def causal_convolution(u: Array, K: Array) -> Array:
    """y_t = Σ_j K_j u_{t−j} (Gu, Goel & Ré 2021, S4, equation 4).

    Parameters
    ----------
    u : (b, d, l)
    K : (d, k), k below or above l

    Returns
    -------
    y : (b, d, l), dtype of u
    """
    l = u.shape[2]
    compute = np.result_type(u.dtype, np.float32)
    x, kernel = u.astype(compute), K.astype(compute)
    y = np.zeros_like(x)
    for j in range(min(l, K.shape[1])):
        y[..., j:] += kernel[:, j, None] * x[..., : l - j]
    return y.astype(u.dtype, copy=False)
