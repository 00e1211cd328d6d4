"""The selective scan: everything but the recurrence for all times at once, so of size b·d·l·n."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ssm_backends import ArgumentError
from ssm_torch.functions import compute_dtype, held_step, silu, softplus, widen
from ssm_torch.scan import linear_recurrence


@dataclass(frozen=True)
class Terms:
    """The scan as a recurrence h_t = a_t h_{t−1} + x_t, in the compute type, time first.

    Attributes
    ----------
    a, x : (l, b, d, n)
        exp(Δ_t A) and b̄_t u_t.
    C : (l or 1, b or 1, g, 1, n)
    u, z : (l, b, d)
    D : (d)
    """

    a: Tensor
    x: Tensor
    C: Tensor
    u: Tensor
    D: Tensor | None
    z: Tensor | None

    def output(self, h: Tensor) -> Tensor:
        """y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t), (l, b, d); γ = 2 for complex A."""
        products = (_in_groups(h, self.C) * self.C).sum(-1).flatten(2, 3)
        y: Tensor = 2 * products.real if self.a.is_complex() else products
        if self.D is not None:
            y = y + self.D * self.u
        return y if self.z is None else y * silu(self.z)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    b_discretization: str = "euler",
) -> Tensor | tuple[Tensor, Tensor]:
    """The selective scan of Mamba (Gu & Dao 2023, Algorithm 2), with the arguments of the operator.

    ``cu_seqlens`` is read by the host, which waits for a GPU once.

    Returns
    -------
    y : (b, d, l), dtype of u
    last_state : (r, d, n), compute type; only with ``return_last_state``
    """
    b, d, l = u.shape
    lengths = None if cu_seqlens is None else _lengths(cu_seqlens, l)
    terms = selective_terms(u, delta, A, B, C, D, z, delta_bias, delta_softplus, b_discretization)
    initial = initial_state
    if initial is None:
        initial = terms.a.new_zeros((b if lengths is None else len(lengths), d, A.shape[1]))
    if lengths is None:
        h, last_state = _states(terms.a, terms.x, initial, None if seq_idx is None else _resets(seq_idx))
    else:
        h, last_state = _packed_states(terms.a, terms.x, initial, lengths)
    y = terms.output(h).permute(1, 2, 0).to(u.dtype).contiguous()
    return (y, last_state) if return_last_state else y


def selective_terms(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    b_discretization: str,
) -> Terms:
    """Discretise: a_t = exp(Δ_t A), x_t = Δ_t B_t u_t, or expm1(Δ_t A)/A B_t u_t ("zoh")."""
    compute = compute_dtype(u, A)
    step = _time_first(delta, compute)
    if delta_bias is not None:
        step = step + delta_bias
    step = (softplus(step) if delta_softplus else step).unsqueeze(-1)
    x = _time_first(u, compute)
    hold = held_step(step, A) if b_discretization == "zoh" else step
    matrix = _grouped(B, compute)
    drive = _in_groups(hold * x.unsqueeze(-1), matrix) * matrix
    return Terms(
        a=torch.exp(step * A),
        x=drive.flatten(2, 3).to(A.dtype),
        C=_grouped(C, compute),
        u=x,
        D=D,
        z=None if z is None else _time_first(z, compute),
    )


def _time_first(x: Tensor, compute: torch.dtype) -> Tensor:
    """(b, d, l) as (l, b, d)."""
    return widen(x, compute).permute(2, 0, 1).contiguous()


def _grouped(matrix: Tensor, compute: torch.dtype) -> Tensor:
    """B or C as (l or 1, b or 1, g, 1, n); channel i reads group i // (d/g)."""
    matrix = widen(matrix, compute)
    if matrix.ndim == 2:
        return matrix[None, None, :, None]
    if matrix.ndim == 3:
        return matrix.permute(2, 0, 1)[:, :, None, None]
    return matrix.permute(3, 0, 1, 2).unsqueeze(3)


def _in_groups(x: Tensor, matrix: Tensor) -> Tensor:
    """(l, b, d, k) as (l, b, g, d/g, k), to meet B or C as :func:`_grouped` gives it."""
    l, b, d, k = x.shape
    g = matrix.shape[2]
    return x.reshape(l, b, g, d // max(g, 1), k)


def _states(a: Tensor, x: Tensor, initial: Tensor, reset: Tensor | None) -> tuple[Tensor, Tensor]:
    """Every state (l, b, d, n), and a copy of the last (b, d, n)."""
    if len(x) == 0:
        return x, initial.clone()
    h = linear_recurrence(a, x, initial, reset)
    return h, h[-1].clone()


def _packed_states(a: Tensor, x: Tensor, initial: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """The same with each sequence scanned from its own row of `initial`; b = 1."""
    if not lengths:
        return x, initial.clone()
    pieces = zip(torch.split(a, lengths), torch.split(x, lengths), torch.split(initial, 1), strict=True)
    scanned = [_states(*piece, None) for piece in pieces]
    return torch.cat([h for h, _ in scanned]), torch.cat([last for _, last in scanned])


def _resets(seq_idx: Tensor) -> Tensor:
    """Where seq_idx (b, l) changes, as (l, b, 1, 1)."""
    changed = torch.zeros_like(seq_idx, dtype=torch.bool)
    changed[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    return changed.t()[:, :, None, None]


def _lengths(cu_seqlens: Tensor, l: int) -> list[int]:
    """Lengths of the packed sequences."""
    offsets = cu_seqlens.tolist()
    lengths = [stop - start for start, stop in pairwise(offsets)]
    if offsets[0] != 0 or offsets[-1] != l or min(lengths, default=0) < 0:
        raise ArgumentError(f"`cu_seqlens` must rise from 0 to l = {l}; got {offsets}")
    return lengths
