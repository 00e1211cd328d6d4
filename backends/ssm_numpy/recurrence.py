"""A linear time-invariant system, stepped through time, and its convolution kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_numpy.functions import quiet

Array = NDArray[Any]


@quiet
def ssm_recurrence(
    A_bar: Array,
    B_bar: Array,
    C: Array,
    u: Array,
    D: Array | None = None,
    initial_state: Array | None = None,
    *,
    return_last_state: bool = False,
    diagonal: bool = False,
) -> Array | tuple[Array, Array]:
    """h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k; 2 Re(C h_k) for the modes of a complex diagonal Ā.

    Gu, Goel & Ré 2021, S4, equation 3.

    Parameters
    ----------
    A_bar : (*s, n, n), or (*s, n) if diagonal
    B_bar : (*s, n, m)
    C : (*s, p, n)
    u : (b, *s, m, l)
    D : (*s, p, m)
    initial_state : (b, *s, n)
    return_last_state
        Return (y, last_state).
    diagonal
        Whether A_bar holds modes.

    Returns
    -------
    y : (b, *s, p, l), dtype of u, complex if a dense A_bar is
    last_state : (b, *s, n); only with ``return_last_state``
    """
    halved = diagonal and np.iscomplexobj(A_bar)
    x = u.astype(A_bar.real.dtype)
    *batch, _, l = u.shape
    h = (
        np.zeros((*batch, A_bar.shape[-1]), dtype=A_bar.dtype)
        if initial_state is None
        else initial_state.copy()
    )
    v = np.empty((*batch, C.shape[-2], l), dtype=x.dtype if halved else A_bar.dtype)
    for k in range(l):
        h = _times(A_bar, h, diagonal) + _times(B_bar, x[..., k])
        y_k = _times(C, h)
        v[..., k] = 2 * y_k.real if halved else y_k
        if D is not None:
            v[..., k] += _times(D, x[..., k])
    y = v.astype(np.result_type(u.dtype, np.complex64) if np.iscomplexobj(v) else u.dtype, copy=False)
    return (y, h) if return_last_state else y


@quiet
def ssm_kernel(A_bar: Array, B_bar: Array, C: Array, length: int, *, diagonal: bool = False) -> Array:
    """K_j = C Āʲ B̄; 2 Re(C Āʲ B̄) for the modes of a complex diagonal Ā.

    Gu, Goel & Ré 2021, S4, equation 5.

    Parameters
    ----------
    A_bar : (*s, n, n), or (*s, n) if diagonal
    B_bar : (*s, n, m)
    C : (*s, p, n)
    length
        l, the number of terms.
    diagonal
        Whether A_bar holds modes.

    Returns
    -------
    K : (*s, p, m, l), complex if a dense A_bar is
    """
    halved = diagonal and np.iscomplexobj(A_bar)
    own = 1 if diagonal else 2
    s = np.broadcast_shapes(A_bar.shape[:-own], B_bar.shape[:-2], C.shape[:-2])
    K = np.empty(
        (*s, C.shape[-2], B_bar.shape[-1], length), dtype=A_bar.real.dtype if halved else A_bar.dtype
    )
    A = A_bar[..., None] if diagonal else A_bar
    powers = B_bar.astype(A_bar.dtype)
    for j in range(length):
        term = C @ powers
        K[..., j] = 2 * term.real if halved else term
        powers = A * powers if diagonal else A @ powers
    return K


def _times(matrix: Array, vector: Array, diagonal: bool = False) -> Array:
    """Matrix (*s, p, n) times vector (b, *s, n), or modes (*s, n) times it."""
    product: Array = matrix * vector if diagonal else (matrix @ vector[..., None])[..., 0]
    return product
