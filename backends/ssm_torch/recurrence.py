"""A linear time-invariant system, stepped through time, and its convolution kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.dense import dense_kernel, dense_recurrence
from ssm_torch.functions import compute_dtype, widen
from ssm_torch.powers import powers_of_modes, vandermonde
from ssm_torch.precision import not_cast_down
from ssm_torch.scan import linear_recurrence


@not_cast_down
def ssm_recurrence(
    A_bar: Tensor,
    B_bar: Tensor,
    C: Tensor,
    u: Tensor,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
    *,
    return_last_state: bool = False,
    diagonal: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
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
    x = widen(u, compute_dtype(u, A_bar))
    drive = _in_time(B_bar.to(A_bar.dtype) @ x.to(A_bar.dtype))
    initial = drive.new_zeros(drive.shape[1:]) if initial_state is None else initial_state
    if len(drive) == 0:
        # Empty, and yet made of Ā and the input, whose gradients are then zeros.
        h = A_bar * drive if diagonal else (A_bar @ drive.unsqueeze(-1)).squeeze(-1)
        last_state = torch.cat([initial.unsqueeze(0), h])[-1]
    elif diagonal:
        h = linear_recurrence(A_bar.expand_as(drive), drive, initial)
        last_state = h[-1].clone()
    else:
        h = dense_recurrence(A_bar, drive, initial)
        last_state = h[-1].clone()
    y = C.to(A_bar.dtype) @ h.movedim(0, -1)
    if diagonal and y.is_complex():
        y = 2 * y.real
    if D is not None:
        y = y + D @ x
    y = y if y.is_complex() else y.to(u.dtype)
    return (y, last_state) if return_last_state else y


def _in_time(x: Tensor) -> Tensor:
    """(…, l) as (l, …), in new memory: as one matrix, which PyTorch transposes in tiles."""
    return x.flatten(0, -2).T.contiguous().reshape(x.shape[-1], *x.shape[:-1])


@not_cast_down
def ssm_kernel(A_bar: Tensor, B_bar: Tensor, C: Tensor, length: int, *, diagonal: bool = False) -> Tensor:
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
    B_bar, C = B_bar.to(A_bar.dtype), C.to(A_bar.dtype)
    if diagonal:
        pairs = C.unsqueeze(-2) * B_bar.mT.unsqueeze(-3)  # (*s, p, m, n)
        p, m = pairs.shape[-3:-1]
        # Where there are few, each has its own part of √l powers; else all share a table of l.
        if (p * m) ** 2 <= length:
            given = pairs.shape[:-3], A_bar.shape[:-1]
            systems = torch.broadcast_shapes(*given)  # type: ignore[no-untyped-call]  # PyTorch's
            pairs = pairs.expand(*systems, *pairs.shape[-3:])
            K = vandermonde(pairs.movedim((-3, -2), (0, 1)), A_bar, length).movedim((0, 1), (-3, -2))
        else:
            K = pairs @ powers_of_modes(A_bar, length).unsqueeze(-3)
        return 2 * K.real if K.is_complex() else K
    if length == 0:
        return (C @ A_bar @ B_bar).unsqueeze(-1)[..., :0]
    return dense_kernel(A_bar, B_bar, C, length)
