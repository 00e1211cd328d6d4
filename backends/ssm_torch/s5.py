"""S5: one diagonal system with as many inputs and outputs as there are channels."""

from __future__ import annotations

from torch import Tensor

from ssm_torch.functions import compute_dtype, widen
from ssm_torch.precision import not_cast_down
from ssm_torch.recurrence import ssm_recurrence
from ssm_torch.rules import discretize_modes


@not_cast_down
def s5(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    discretization: str = "zoh",
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """h_k = ā h_{k−1} + b̄ u_k, y_k = γ Re(C h_k) + D u_k (Smith, Warrington and Linderman 2023, S5).

    Parameters
    ----------
    u : (b, h, l)
    delta, A : (p)
    B, C : (p, h), (h, p)
    D : (h)
    initial_state : (b, p)
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".
    return_last_state
        Return (y, last_state).

    Returns
    -------
    y : (b, h, l), dtype of u
    last_state : (b, p); only with ``return_last_state``
    """
    a, hold = discretize_modes(A, delta, discretization)
    x = widen(u, compute_dtype(u, A))
    y, last_state = ssm_recurrence(
        a, hold.unsqueeze(-1) * B, C, x, initial_state=initial_state, return_last_state=True, diagonal=True
    )
    if D is not None:
        y = y + D.unsqueeze(-1) * x
    y = y.to(u.dtype)
    return (y, last_state) if return_last_state else y
