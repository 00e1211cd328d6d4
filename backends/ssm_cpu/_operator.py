"""The scan as PyTorch sees it: one operator with its gradient, which torch.compile takes as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ssm_backends.derivative import with_derivative
from ssm_backends.transforms import may_be_differentiated, refuse_twice
from ssm_cpu._inputs import Inputs
from ssm_cpu._launch import run_backward, run_forward
from ssm_cpu._library import TORCH

Tensors = tuple[Tensor | None, ...]

_NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
"""The inputs that have gradients, in the order of the operator below."""


def scan(tensors: Tensors, *, softplus: bool, zoh: bool, last: bool) -> tuple[Tensor, Tensor | None]:
    """The scan of valid tensors, by autograd's way where a gradient may be wanted.

    Parameters
    ----------
    tensors
        Those of `_NAMES`, then seq_idx and cu_seqlens.
    softplus, zoh
        The flags of the operator.
    last
        Whether the last state is wanted.

    Returns
    -------
    y, and the last state or None.
    """
    learn = may_be_differentiated("selective_scan", dict(zip(_NAMES, tensors[:9], strict=True)))
    y, state, _ = _differentiable(*tensors, softplus, zoh, last, learn)
    return y, state if last else None


def gradients(
    function: Callable[..., Any], dy: Any, dlast: Any, wrt: tuple[str, ...], inputs: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Gradients of one call by autograd: name in `wrt` → tensor."""
    leaves = {name: inputs[name].detach().requires_grad_() for name in wrt}
    with torch.enable_grad():
        y, last = function(**{**inputs, **leaves, "return_last_state": True})
    pairs = [(output, given) for output, given in ((y, dy), (last, dlast)) if given is not None]
    if not pairs:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    outputs, cotangents = zip(*pairs, strict=True)
    found = torch.autograd.grad(outputs, list(leaves.values()), cotangents)
    return dict(zip(leaves, found, strict=True))


def _inputs(tensors: Tensors, softplus: bool, zoh: bool) -> Inputs:
    return Inputs.of(TORCH, tuple(TORCH.plain(x) for x in tensors), softplus=softplus, zoh=zoh)


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
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, last state, saved states); the second and third are empty if not asked for."""
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens)
    y, state, saved = run_forward(_inputs(tensors, softplus, zoh), last=last, save=save)
    return y, A.new_empty(0) if state is None else state, A.new_empty(0) if saved is None else saved


_SCAN = torch.library.custom_op("ssm_cpu::scan", _scan, mutates_args=(), device_types="cpu")


@_SCAN.register_fake
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
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens)
    x = Inputs.of(TORCH, tensors, softplus=softplus, zoh=zoh)
    rows = x.row_count
    state = A.new_empty((rows, *A.shape) if last else (0,))
    saved = A.new_empty(x.saved_shape, dtype=A.real.dtype) if save else A.new_empty(0)
    return torch.empty_like(u), state, saved


def _scan_backward(
    dy: Tensor | None,
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
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens)
    saved = saved.contiguous()  # a hook of PyTorch's on what is saved may hand it back in other strides
    found = run_backward(_inputs(tensors, softplus, zoh), saved, TORCH.plain(dy), TORCH.plain(dlast))
    return [found[name] if name in found else A.new_empty(0) for name in _NAMES]


_BACKWARD = torch.library.custom_op(
    "ssm_cpu::scan_backward", _scan_backward, mutates_args=(), device_types="cpu"
)


@_BACKWARD.register_fake
def _(
    dy: Tensor | None,
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
    streams = (torch.empty_like(x) if x is not None else None for x in (u, delta, z))
    du, ddelta, dz = streams
    rest = (A, B, C, D, delta_bias, initial_state)
    dA, dB, dC, dD, dbias, dinitial = (None if x is None else x.new_empty(x.shape) for x in rest)
    found = (du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial)
    return [A.new_empty(0) if x is None else x for x in found]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:11], output[2])
    ctx.softplus, ctx.zoh, _, ctx.saves = inputs[11:]


def _gradients(ctx: Any, dy: Tensor | None, dlast: Tensor | None, dsaved: Tensor | None) -> tuple[Any, ...]:
    *tensors, saved = ctx.saved_tensors
    if not ctx.saves:  # a graph that was recorded without gradients, and is differentiated after all
        saved = _differentiable(*tensors, ctx.softplus, ctx.zoh, False, True)[2]
    found = _backward_pass(dy, dlast, saved, *tensors, ctx.softplus, ctx.zoh)
    given = [g if x is not None else None for x, g in zip(tensors[:9], found, strict=True)]
    return *given, *(None,) * 6


_differentiable = with_derivative(_SCAN, _scan, _gradients, _remember)
_backward_pass = with_derivative(_BACKWARD, _scan_backward, refuse_twice("selective_scan"))
