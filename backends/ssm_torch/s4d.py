"""S4D: one diagonal system for each channel, as a convolution; and its kernel."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from ssm_torch.convolution import causal_convolution
from ssm_torch.functions import compute_dtype, split, widen
from ssm_torch.powers import powers_of_modes, vandermonde
from ssm_torch.precision import not_cast_down
from ssm_torch.rules import discretize_modes

CHUNK: Final = 64
"""Steps by which the last state is advanced at once."""


@not_cast_down
def s4d_kernel(
    delta: Tensor, A: Tensor, B: Tensor, C: Tensor, length: int, *, discretization: str = "zoh"
) -> Tensor:
    """K_j = γ Re Σ_n C_n b̄_n ā_nʲ (Gu, Gupta, Goel & Ré 2022, S4D, equation 6).

    Parameters
    ----------
    delta : (d)
    A, B, C : (d, n)
    length
        l, the number of terms.
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".

    Returns
    -------
    K : (d, l), real
    """
    a, hold = discretize_modes(A, delta.unsqueeze(-1), discretization)
    return _real(vandermonde(C * (hold * B), a, length))


@not_cast_down
def s4d(
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
    """h_k = ā h_{k−1} + b̄ u_k, y_k = γ Re Σ_n C_n h_k + D u_k (S4D, equations 3 and 6).

    The output is the convolution with the kernel, by transforms; an initial state adds C āᵏ⁺¹ h₋₁.

    Parameters
    ----------
    u : (b, d, l)
    delta, D : (d)
    A, B, C : (d, n)
    initial_state : (b, d, n)
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".
    return_last_state
        Return (y, last_state).

    Returns
    -------
    y : (b, d, l), dtype of u
    last_state : (b, d, n); only with ``return_last_state``
    """
    a, hold = discretize_modes(A, delta.unsqueeze(-1), discretization)
    x, l = widen(u, compute_dtype(u, A)), u.shape[2]
    drive = hold * B
    y = causal_convolution(x, _real(vandermonde(C * drive, a, max(l, 1))))
    if D is not None:
        y = y + D.unsqueeze(-1) * x
    if initial_state is not None:
        y = y + _real(vandermonde(C * a * initial_state, a, l))
    y = y.to(u.dtype)
    return (y, _last_state(a, drive, x, initial_state)) if return_last_state else y


def _real(x: Tensor) -> Tensor:
    """γ Re x: a complex mode stands for a conjugate pair."""
    return 2 * x.real if x.is_complex() else x


def _last_state(a: Tensor, drive: Tensor, x: Tensor, initial: Tensor | None) -> Tensor:
    """ā^l h₋₁ + Σ_k ā^{l−1−k} b̄ u_k, (b, d, n): chunk by chunk, in each Σ_r ā^{q−1−r} u_r by one product."""
    b, _, l = x.shape
    state = a.new_zeros((b, *a.shape)) if initial is None else initial
    whole = l - l % CHUNK
    backwards = powers_of_modes(a, min(CHUNK, l)).flip(-1).mT  # (d, q, n)
    inputs = x.to(a.dtype).movedim(0, 1)  # (d, b, l)
    sums = split(inputs[..., :whole], -1, (-1, CHUNK)) @ backwards.unsqueeze(1) if whole else None
    for k in range(whole // CHUNK):
        assert sums is not None
        state = backwards[:, 0] * a * state + drive * sums[:, :, k].movedim(0, 1)
    if l > whole:
        some = backwards[:, backwards.shape[1] - (l - whole) :]
        last = (inputs[..., whole:] @ some).movedim(0, 1)
        state = some[:, 0] * a * state + drive * last
    return state if initial is None or l else state.clone()
