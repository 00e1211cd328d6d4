"""SSD in chunks as an operator of PyTorch: opaque to a compiler and to autocast, differentiable once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ssm_backends.derivative import with_derivative
from ssm_backends.transforms import may_be_differentiated, refuse_twice
from ssm_torch.duality.backward import backward
from ssm_torch.duality.forward import forward
from ssm_torch.duality.problem import Problem
from ssm_torch.duality.sizes import places_for_starts
from ssm_torch.optional import beside, like_given

INPUTS = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_states", "seq_idx")
DIFFERENTIABLE = INPUTS[:9]


def scan_in_chunks(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_states: Tensor | None,
    seq_idx: Tensor | None,
    softplus: bool,
    limit: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """y and the final states; the states before the chunks are kept only if a gradient may be asked for."""
    tensors = (x, dt, A, B, C, D, z, dt_bias, initial_states)
    keep = may_be_differentiated("ssd", dict(zip(DIFFERENTIABLE, tensors, strict=True)))
    y, final_states, _ = _differentiable(*tensors, seq_idx, softplus, *map(float, limit), keep)
    return y, final_states


def _ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_states: Tensor | None,
    seq_idx: Tensor | None,
    softplus: bool,
    low: float,
    high: float,
    keep_starts: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    tensors = (x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx)
    with torch.autocast(x.device.type, enabled=False):
        return forward(_problem(tensors, softplus, low, high), keep_starts)


def _ssd_backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    starts: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_states: Tensor | None,
    seq_idx: Tensor | None,
    softplus: bool,
    low: float,
    high: float,
) -> list[Tensor]:
    tensors = (x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx)
    with torch.autocast(x.device.type, enabled=False):
        gradients = backward(_problem(tensors, softplus, low, high), starts, dy, dfinal).as_inputs()
    return [gradients[name] for name in DIFFERENTIABLE if name in gradients]


def _problem(tensors: Sequence[Tensor | None], softplus: bool, low: float, high: float) -> Problem:
    given: dict[str, Any] = dict(zip(INPUTS, tensors, strict=True))
    return Problem(**given, softplus=softplus, low=low, high=high)


_SSD = torch.library.custom_op("ssm_torch::ssd", _ssd, mutates_args=())
_BACKWARD = torch.library.custom_op("ssm_torch::ssd_backward", _ssd_backward, mutates_args=())


@_SSD.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *tensors, softplus, low, high, keep_starts = arguments
    problem = _problem(tensors, softplus, low, high)
    b, l, h, p = problem.x.shape
    n = problem.B.shape[3]
    y = torch.empty_like(problem.x, memory_format=torch.contiguous_format)
    final_states = problem.A.new_empty((b, h, p, n), dtype=problem.compute)
    return y, final_states, final_states.new_empty((b, places_for_starts(l) if keep_starts else 0, h, p, n))


@_BACKWARD.register_fake
def _(dy: Tensor | None, dfinal: Tensor | None, starts: Tensor, *arguments: Any) -> list[Tensor]:
    return like_given(arguments[: len(DIFFERENTIABLE)])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, ctx.low, ctx.high, ctx.keeps = inputs
    ctx.save_for_backward(output[2], *tensors)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    starts, *tensors = ctx.saved_tensors
    if not ctx.keeps:  # a graph that was recorded without gradients, and is differentiated after all
        starts = _differentiable(*tensors, ctx.softplus, ctx.low, ctx.high, True)[2]
    gradients = _backward_pass(dy, dfinal, starts, *tensors, ctx.softplus, ctx.low, ctx.high)
    found = beside(tensors[: len(DIFFERENTIABLE)], gradients)
    return (*found, None, None, None, None, None)


_differentiable = with_derivative(_SSD, _ssd, _differentiate, _save)
_backward_pass = with_derivative(_BACKWARD, _ssd_backward, refuse_twice("ssd"))
