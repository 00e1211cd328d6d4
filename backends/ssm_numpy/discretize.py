"""From a continuous system to a discrete one: the zero-order hold and the generalised bilinear rule."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_backends import ArgumentError
from ssm_numpy.functions import held_step, quiet

Array = NDArray[Any]


@quiet
def discretize_zoh(A: Array, B: Array, delta: Array, *, diagonal: bool = False) -> tuple[Array, Array]:
    """Ā = exp(ΔA), B̄ = ∫₀^Δ exp(sA) ds B: the top of exp([[ΔA, ΔB], [0, 0]]) (Van Loan 1978).

    Parameters
    ----------
    A : (*s, n, n), or (*s, n) if diagonal
    B : (*s, n, m)
    delta : (*s) real
    diagonal
        Whether A holds modes: Ā = exp(Δλ), B̄ = expm1(Δλ)/λ B.

    Returns
    -------
    A_bar, B_bar : with the broadcast dimensions *s, complex if A is
    """
    A, B, delta = _broadcast(A, B, delta, diagonal)
    if diagonal:
        step = delta[..., None]
        return np.exp(step * A), held_step(step, A)[..., None] * B
    from scipy.linalg import expm

    n, m = B.shape[-2:]
    if delta.size == 0:
        return A, B
    block = np.zeros((*delta.shape, n + m, n + m), dtype=A.dtype)
    block[..., :n, :n] = delta[..., None, None] * A
    block[..., :n, n:] = delta[..., None, None] * B
    exponential = expm(block)
    return exponential[..., :n, :n].copy(), exponential[..., :n, n:].copy()


@quiet
def discretize_bilinear(
    A: Array, B: Array, delta: Array, alpha: float = 0.5, *, diagonal: bool = False
) -> tuple[Array, Array]:
    """Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB.

    Gu, Goel & Ré 2021, S4, equation 3, where α = ½.

    Parameters
    ----------
    A : (*s, n, n), or (*s, n) if diagonal
    B : (*s, n, m)
    delta : (*s) real
    alpha
        0 for forward Euler, ½ for the bilinear rule, 1 for backward Euler.
    diagonal
        Whether A holds modes.

    Returns
    -------
    A_bar, B_bar : with the broadcast dimensions *s, complex if A is

    Raises
    ------
    ArgumentError
        If I − αΔA is singular; it names `delta`.
    """
    A, B, delta = _broadcast(A, B, delta, diagonal)
    if diagonal:
        step = delta[..., None] * A
        divisor = 1 - alpha * step
        if np.any(divisor == 0):
            raise _singular(alpha)
        return (1 + (1 - alpha) * step) / divisor, delta[..., None, None] * B / divisor[..., None]
    step = delta[..., None, None] * A
    n = A.shape[-1]
    one = np.eye(n, dtype=A.dtype)
    right = np.concatenate([one + (1 - alpha) * step, delta[..., None, None] * B], axis=-1)
    try:
        solution = np.linalg.solve(one - alpha * step, right)
    except np.linalg.LinAlgError as error:
        raise _singular(alpha) from error
    return solution[..., :n].copy(), solution[..., n:].copy()


def _broadcast(A: Array, B: Array, delta: Array, diagonal: bool) -> tuple[Array, Array, Array]:
    """The three with all of *s, and B as complex as A."""
    own = 1 if diagonal else 2
    s = np.broadcast_shapes(A.shape[:-own], B.shape[:-2], delta.shape)
    return (
        np.broadcast_to(A, s + A.shape[-own:]),
        np.broadcast_to(B.astype(A.dtype), s + B.shape[-2:]),
        np.broadcast_to(delta, s),
    )


def _singular(alpha: float) -> ArgumentError:
    return ArgumentError(f"`delta` must leave I − αΔA invertible; it is singular with α = {alpha}")
