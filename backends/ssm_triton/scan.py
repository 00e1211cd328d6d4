"""The selective scan as PyTorch sees it: one operator with its gradient, safe to compile and to capture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssm_backends.checked import checked
from ssm_backends.derivative import with_derivative
from ssm_backends.transforms import may_be_differentiated, refuse_twice
from ssm_triton._inputs import Inputs, blocks_of
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import saved_every
from ssm_triton.kept import as_kept

_DIFFERENTIABLE = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    zoh: bool,
    last: bool,
    save: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, last state, saved states); the second and third are empty if not asked for."""
    x = Inputs(u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens, softplus, zoh)
    with torch.cuda.device_of(u):  # Triton launches on the current one
        y, state, saved = run_forward(x, last=last, save=save)
    return y, A.new_empty(0) if state is None else state, A.new_empty(0) if saved is None else saved


scan = torch.library.custom_op("ssm_triton::scan", _scan, mutates_args=())


@scan.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    zoh: bool,
    last: bool,
    save: int,
) -> tuple[Tensor, Tensor, Tensor]:
    x = Inputs(u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens, softplus, zoh)
    shape = x.shape
    state = A.new_empty((shape.rows, shape.dim, shape.n) if last else (0,))
    if not save:
        return torch.empty_like(u), state, A.new_empty(0)
    blocks = blocks_of(shape, save, cu_seqlens is not None)[1]
    return torch.empty_like(u), state, A.new_empty((blocks, shape.n, shape.dim))


def _scan_backward(
    dy: Tensor,
    dlast: Tensor | None,
    saved: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    zoh: bool,
) -> list[Tensor]:
    """The gradients, in the order of the inputs; empty for an input that was not given."""
    x = Inputs(u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens, softplus, zoh)
    with torch.cuda.device_of(u):
        out = run_backward(x, saved, dy, dlast)
    return [out[name] if name in out else A.new_empty(0) for name in _DIFFERENTIABLE]


scan_backward = torch.library.custom_op("ssm_triton::scan_backward", _scan_backward, mutates_args=())


@scan_backward.register_fake
def _(
    dy: Tensor,
    dlast: Tensor | None,
    saved: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    zoh: bool,
) -> list[Tensor]:
    given = (u, delta, A, B, C, D, z, delta_bias)
    like = [A.new_empty(0) if x is None else torch.empty_like(x) for x in given]
    first = A.new_empty(0) if initial_state is None else A.new_empty(initial_state.shape)
    return [*like, first]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:11], output[2])
    ctx.softplus, ctx.zoh, _, ctx.saves = inputs[11:]


def _gradients(ctx: Any, dy: Tensor | None, dlast: Tensor | None, dsaved: Tensor | None) -> tuple[Any, ...]:
    *tensors, saved = ctx.saved_tensors
    tensors, saved = as_kept(tensors), saved.contiguous()
    if not ctx.saves:  # a graph that was recorded without gradients, and is differentiated after all
        saved = _differentiable(*tensors, ctx.softplus, ctx.zoh, False, saved_every(tensors[2].shape[1]))[2]
    dy = torch.zeros_like(tensors[0]) if dy is None else dy
    out = _backward_pass(dy, dlast, saved, *tensors, ctx.softplus, ctx.zoh)
    needed = [g if x is not None else None for x, g in zip((*tensors[:8], tensors[8]), out, strict=True)]
    return *needed, *(None,) * 6


_differentiable = with_derivative(scan, _scan, _gradients, _remember)
_backward_pass = with_derivative(scan_backward, _scan_backward, refuse_twice("selective_scan"))


@checked("selective_scan")
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
    """h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t; y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t).

    Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), eq. (2)
    and (4). γ is 2 for complex A, 1 for real.

    Parameters
    ----------
    u, delta, z
        (b, d, l), any strides; float64, float32, bfloat16 or float16. delta and z: u's dtype or float32.
    A
        (d, n), float32 or float64, real or complex.
    B, C
        (d, n), (b, n, l) or (b, g, n, l); u's dtype or float32, complex only with complex A.
    D, delta_bias
        (d,), A's real dtype.
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)) instead of delta + delta_bias.
    return_last_state
        Return (y, last state).
    initial_state
        (b, d, n), or (s, d, n) with `cu_seqlens`; A's dtype.
    seq_idx
        (b, l), int32 or int64: the state is reset exactly where it changes along l.
    cu_seqlens
        (s + 1,), int32: offsets of packed sequences, from 0 to l; needs b = 1.
    b_discretization
        "euler": b̄ = ΔB; "zoh": b̄ = expm1(ΔA)/A · B.

    Returns
    -------
    y (b, d, l) in u's dtype; with `return_last_state` also the state after the last step, A's dtype.

    Raises
    ------
    NotSupportedError
        If forward mode would differentiate it, or a gradient its gradient.
    """
    B, C = (_in_groups(m, A) for m in (B, C))
    D, delta_bias, cu_seqlens = (None if m is None else m.contiguous() for m in (D, delta_bias, cu_seqlens))
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    learn = may_be_differentiated("selective_scan", dict(zip(_DIFFERENTIABLE, tensors, strict=True)))
    y, last, _ = _differentiable(
        u, delta, A.contiguous(), B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens,
        delta_softplus, b_discretization == "zoh", return_last_state, saved_every(A.shape[1]) if learn else 0,
    )  # fmt: skip
    return (y, last) if return_last_state else y


def _in_groups(x: Tensor, A: Tensor) -> Tensor:
    """B or C as (b, g, n, l), or constant as (d, n), contiguous; complex where A is."""
    if A.is_complex():
        x = x.to(A.dtype)
    if x.ndim == 2:
        return x.to(A.dtype).contiguous()
    return x.unsqueeze(1) if x.ndim == 3 else x
