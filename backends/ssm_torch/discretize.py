"""From a continuous system to a discrete one: the zero-order hold and the generalised bilinear rule."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_backends import ArgumentError
from ssm_backends.transforms import innermost, is_traced
from ssm_torch.exponential import exponential
from ssm_torch.functions import held_step
from ssm_torch.precision import not_cast_down


@not_cast_down
def discretize_zoh(A: Tensor, B: Tensor, delta: Tensor, *, diagonal: bool = False) -> tuple[Tensor, Tensor]:
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
        step = delta.unsqueeze(-1)
        return torch.exp(step * A), held_step(step, A).unsqueeze(-1) * B
    n, m = B.shape[-2:]
    top = delta[..., None, None] * torch.cat([A, B], dim=-1)
    found = exponential(torch.nn.functional.pad(top, (0, 0, 0, m)))
    return _apart(found[..., :n, :n], found[..., :n, n:])


@not_cast_down
def discretize_bilinear(
    A: Tensor, B: Tensor, delta: Tensor, alpha: float = 0.5, *, diagonal: bool = False
) -> tuple[Tensor, Tensor]:
    """Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB.

    Gu, Goel & Ré 2021, S4, equation 3, where α = ½. A GPU is waited for.

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
        step = delta.unsqueeze(-1) * A
        divisor = 1 - alpha * step
        divisor = _checked(divisor, divisor == 0, alpha)
        return (1 + (1 - alpha) * step) / divisor, delta[..., None, None] * B / divisor.unsqueeze(-1)
    step = delta[..., None, None] * A
    n = A.shape[-1]
    one = torch.eye(n, dtype=A.dtype, device=A.device)
    right = torch.cat([one + (1 - alpha) * step, delta[..., None, None] * B], dim=-1)
    solution, info = torch.linalg.solve_ex(one - alpha * step, right)
    solution = _checked(solution, info, alpha)
    return _apart(solution[..., :n], solution[..., n:])


def _broadcast(A: Tensor, B: Tensor, delta: Tensor, diagonal: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The three with all of *s, and B as complex as A."""
    own = 1 if diagonal else 2
    s = torch.broadcast_shapes(A.shape[:-own], B.shape[:-2], delta.shape)  # type: ignore[no-untyped-call]  # PyTorch's
    return (
        A.expand(*s, *A.shape[-own:]),
        B.to(A.dtype).expand(*s, *B.shape[-2:]),
        delta.expand(s),
    )


def _apart(A_bar: Tensor, B_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Both in memory of their own: a slice of one number is contiguous where it lies."""
    A_bar, B_bar = (x.clone(memory_format=torch.contiguous_format) for x in (A_bar, B_bar))
    return A_bar, B_bar


def _checked(x: Tensor, singular: Tensor, alpha: float) -> Tensor:
    """x itself; ArgumentError if a number of `singular` is not zero."""
    if is_traced(singular):
        zero: Tensor = _traced_check(singular, alpha)
        return x - zero  # −0 − 0 is −0, and any derivative is that of x
    _check(singular, alpha)
    return x


def _check(singular: Tensor, alpha: float) -> None:
    if bool(innermost(singular).any()):  # of a batch that is mapped too
        raise ArgumentError(f"`delta` must leave I − αΔA invertible; it is singular with α = {alpha}")


@torch.library.custom_op("ssm_torch::check_invertible", mutates_args=())
def _traced_check(singular: Tensor, alpha: float) -> Tensor:
    """Zero; the host looks at numbers here. As an operator of PyTorch a compiler takes it as it is."""
    _check(singular, alpha)
    return torch.zeros((), device=singular.device)


@_traced_check.register_fake
def _(singular: Tensor, alpha: float) -> Tensor:
    return torch.zeros((), device=singular.device)
