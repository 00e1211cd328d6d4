"""The blockwise scan as an operator of PyTorch: opaque to a compiler, differentiable once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ssm_backends.derivative import with_derivative
from ssm_backends.transforms import may_be_differentiated, refuse_twice
from ssm_torch.blockwise.backward import backward
from ssm_torch.blockwise.forward import forward, room_for_results
from ssm_torch.blockwise.problem import Problem
from ssm_torch.optional import beside, like_given

INPUTS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state", "seq_idx", "cu_seqlens")
DIFFERENTIABLE = INPUTS[:9]


def scan_blockwise(
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
) -> tuple[Tensor, Tensor]:
    """y and the last state; what a gradient needs is kept only if one may be asked for."""
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep = may_be_differentiated("selective_scan", dict(zip(DIFFERENTIABLE, tensors, strict=True)))
    y, last_state, _, _ = _differentiable(*tensors, seq_idx, cu_seqlens, softplus, zoh, keep)
    return y, last_state


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
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens)
    with torch.autocast(u.device.type, enabled=False):
        return forward(_problem(tensors, softplus, zoh), keep)


def _scan_backward(
    dy: Tensor | None,
    dlast: Tensor | None,
    starts: Tensor,
    ungated: Tensor,
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
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens)
    with torch.autocast(u.device.type, enabled=False):
        total = backward(_problem(tensors, softplus, zoh), starts, ungated, dy, dlast)
        gradients = total.as_inputs()
    return [gradients[name] for name in DIFFERENTIABLE if name in gradients]


def _problem(tensors: Sequence[Tensor | None], softplus: bool, zoh: bool) -> Problem:
    given: dict[str, Any] = dict(zip(INPUTS, tensors, strict=True))
    return Problem(**given, softplus=softplus, zoh=zoh)


_SCAN = torch.library.custom_op("ssm_torch::selective_scan", _scan, mutates_args=())
_BACKWARD = torch.library.custom_op("ssm_torch::selective_scan_backward", _scan_backward, mutates_args=())


@_SCAN.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *tensors, softplus, zoh, keep = arguments
    return room_for_results(_problem(tensors, softplus, zoh), keep)


@_BACKWARD.register_fake
def _(
    dy: Tensor | None, dlast: Tensor | None, starts: Tensor, ungated: Tensor, *arguments: Any
) -> list[Tensor]:
    return like_given(arguments[: len(DIFFERENTIABLE)])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.softplus, ctx.zoh, ctx.keeps = inputs
    ctx.save_for_backward(*output[2:], *tensors)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, dy: Tensor | None, dlast: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    starts, ungated, *tensors = ctx.saved_tensors
    if not ctx.keeps:  # a graph that was recorded without gradients, and is differentiated after all
        starts, ungated = _differentiable(*tensors, ctx.softplus, ctx.zoh, True)[2:]
    gradients = _backward_pass(dy, dlast, starts, ungated, *tensors, ctx.softplus, ctx.zoh)
    found = beside(tensors[: len(DIFFERENTIABLE)], gradients)
    return (*found, None, None, None, None, None)


_differentiable = with_derivative(_SCAN, _scan, _differentiate, _save)
_backward_pass = with_derivative(_BACKWARD, _scan_backward, refuse_twice("selective_scan"))
