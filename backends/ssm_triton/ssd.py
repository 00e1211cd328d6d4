"""State space duality as PyTorch sees it: one operator with its gradient."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

from ssm_backends.checked import checked
from ssm_backends.derivative import with_derivative
from ssm_backends.errors import NotSupportedError
from ssm_backends.transforms import may_be_differentiated, refuse_twice
from ssm_triton._dual_call import CHUNK, Dual
from ssm_triton._launch_dual import run_forward
from ssm_triton._launch_dual_backward import run_backward
from ssm_triton.kept import as_kept
from ssm_triton.launching import without_sign

__all__ = ["CHUNK", "ssd"]

INPUTS = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_states", "seq_idx")
DIFFERENTIABLE = INPUTS[:9]


def _call(tensors: tuple[Tensor | None, ...], softplus: bool, low: float, high: float) -> Dual:
    given: dict[str, Any] = dict(zip(INPUTS, tensors, strict=True))
    return Dual(**given, softplus=softplus, low=low, high=high)


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
) -> tuple[Tensor, Tensor]:
    """(y, final states)."""
    tensors = (x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx)
    with torch.cuda.device_of(x):  # Triton launches on the current one
        return run_forward(_call(tensors, softplus, low, high))


duality = torch.library.custom_op("ssm_triton::ssd", _ssd, mutates_args=())


@duality.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    *tensors, softplus, low, high = arguments
    call = _call(tuple(tensors), softplus, low, high)
    y = torch.empty_like(call.x, memory_format=torch.contiguous_format)
    return y, call.states()


def _ssd_backward(
    dy: Tensor,
    dfinal: Tensor | None,
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
    """The gradients of the inputs that were given, in their order."""
    tensors = (x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx)
    with torch.cuda.device_of(x):
        return run_backward(_call(tensors, softplus, low, high), dy, dfinal)


duality_backward = torch.library.custom_op("ssm_triton::ssd_backward", _ssd_backward, mutates_args=())


@duality_backward.register_fake
def _(dy: Tensor, dfinal: Tensor | None, *arguments: Any) -> list[Tensor]:
    given = arguments[: len(DIFFERENTIABLE)]
    return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in given if x is not None]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.softplus, ctx.low, ctx.high = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, dy: Tensor | None, dfinal: Tensor | None) -> tuple[Any, ...]:
    tensors = as_kept(ctx.saved_tensors)
    dy = torch.zeros_like(tensors[0]) if dy is None else dy
    found = iter(_backward_pass(dy, dfinal, *tensors, ctx.softplus, ctx.low, ctx.high))
    return *(None if x is None else next(found) for x in tensors[:9]), *(None,) * 4


_differentiable = with_derivative(duality, _ssd, _gradients, _remember)
_backward_pass = with_derivative(duality_backward, _ssd_backward, refuse_twice("ssd"))


@checked("ssd")
def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, inf),
    return_final_states: bool = False,
    *,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """S_t = exp(Δ_t A) S_{t−1} + Δ_t x_t B_tᵀ, y_t = (S_t C_t + D x_t) silu(z_t), in chunks of 64 steps.

    The dual form (Dao & Gu 2024, section 6): products of matrices on tensor cores, as exact as float32 is.
    They multiply by zero where nothing may pass: a NaN stays in its row and its head, but may reach earlier
    steps, and other sequences, of its chunk, and from there on every step up to the next reset in a later
    chunk. An infinity of float32 may come out as a NaN.

    Parameters
    ----------
    x, z
        (b, l, h, p), any strides; float32, bfloat16 or float16.
    dt
        (b, l, h), x's dtype or float32.
    A, dt_bias
        (h,).
    B, C
        (b, l, g, n), x's dtype or float32; head i belongs to group i // (h/g).
    D
        (h,) or (h, p).
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)) instead of dt + dt_bias.
    dt_limit
        (low, high): Δ is clamped to it, always.
    return_final_states
        Return (y, final_states).
    initial_states
        (b, h, p, n), float32.
    seq_idx
        (b, l), int32 or int64: the states are reset exactly where it changes along l.

    Returns
    -------
    y (b, l, h, p) in x's dtype; with `return_final_states` also the states after the last step, (b, h, p, n),
    in float32.

    Raises
    ------
    NotSupportedError
        If x or A is float64; if a head's state has 2³¹ numbers or more; if forward mode or ``torch.func``
        would differentiate it: autograd alone does.
    """
    if torch.float64 in (x.dtype, A.dtype):
        raise NotSupportedError(
            f"`x` and `A` must not be float64 in ssd of this backend; got {x.dtype} and {A.dtype}"
        )
    if x.shape[3] * B.shape[3] >= 2**31:
        raise NotSupportedError(
            "`x` and `B` must make fewer than 2**31 numbers of a head's state in ssd of this backend; "
            f"got {tuple(x.shape)} and {tuple(B.shape)}"
        )
    A, dt_bias = A.contiguous(), None if dt_bias is None else dt_bias.contiguous()
    tensors = (x, dt, A, B, C, D, z, dt_bias, initial_states)
    may_be_differentiated("ssd", dict(zip(DIFFERENTIABLE, tensors, strict=True)))
    y, final = _differentiable(*tensors, seq_idx, dt_softplus, *without_sign(dt_limit))
    return (y, final) if return_final_states else y
