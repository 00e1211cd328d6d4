"""LSSL: a full linear system for each channel, with several outputs side by side."""

from __future__ import annotations

from torch import Tensor

from ssm_torch.precision import not_cast_down
from ssm_torch.recurrence import ssm_recurrence
from ssm_torch.rules import discretize


@not_cast_down
def lssl(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    discretization: str = "bilinear",
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k for each channel (Gu et al. 2021, LSSL, section 3.1).

    Parameters
    ----------
    u : (b, d, l)
    delta : (d)
    A, B, C, D : (d, n, n), (d, n), (d, m, n), (d, m)
    initial_state : (b, d, n)
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".
    return_last_state
        Return (y, last_state).

    Returns
    -------
    y : (b, d, m, l), dtype of u
    last_state : (b, d, n); only with ``return_last_state``
    """
    A_bar, B_bar = discretize(A, B.unsqueeze(-1), delta, discretization)
    feedthrough = None if D is None else D.unsqueeze(-1)
    return ssm_recurrence(
        A_bar, B_bar, C, u.unsqueeze(2), feedthrough, initial_state, return_last_state=return_last_state
    )
