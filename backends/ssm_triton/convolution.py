"""The short causal convolution as PyTorch sees it: one operator with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssm_backends.checked import checked
from ssm_backends.derivative import with_derivative
from ssm_backends.errors import NotSupportedError
from ssm_backends.transforms import may_be_differentiated, refuse_twice
from ssm_triton._launch_convolution import (
    compute_dtype,
    empty_gradients,
    empty_state,
    run_backward,
    run_forward,
)
from ssm_triton.kept import as_kept

TAPS = 4
"""The longest filter that the kernels serve."""
STEPS = 2**31 - 2**15
"""The most steps: they are counted in 32 bits, up to the end of a tile."""


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    silu: bool,
    last: bool,
) -> tuple[Tensor, Tensor]:
    """(y, last state); the second is empty if not asked for, since an operator returns no None."""
    with torch.cuda.device_of(x):  # Triton launches on the current one
        y, state = run_forward(x, weight, bias, initial_state, seq_idx, silu, last)
    return y, x.new_empty(0, dtype=compute_dtype(x)) if state is None else state


convolution = torch.library.custom_op("ssm_triton::convolution", _convolution, mutates_args=())


@convolution.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    silu: bool,
    last: bool,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), empty_state(x, weight) if last else x.new_empty(0, dtype=compute_dtype(x))


def _convolution_backward(
    dy: Tensor,
    dlast: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    silu: bool,
) -> list[Tensor]:
    """The gradients, in the order of the inputs; empty for an input that was not given."""
    with torch.cuda.device_of(x):
        return run_backward(dy, dlast, x, weight, bias, initial_state, seq_idx, silu)


convolution_backward = torch.library.custom_op(
    "ssm_triton::convolution_backward", _convolution_backward, mutates_args=()
)


@convolution_backward.register_fake
def _(
    dy: Tensor,
    dlast: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    silu: bool,
) -> list[Tensor]:
    return empty_gradients(x, weight, bias, initial_state)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:5])
    ctx.silu, ctx.last = inputs[5:]


def _gradients(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
    tensors = as_kept(ctx.saved_tensors)
    dy = torch.zeros_like(tensors[0]) if dy is None else dy
    out = _backward_pass(dy, dlast if ctx.last else None, *tensors, ctx.silu)
    return *(None if x is None else g for x, g in zip(tensors[:4], out, strict=True)), None, None, None


_differentiable = with_derivative(convolution, _convolution, _gradients, _remember)
_backward_pass = with_derivative(convolution_backward, _convolution_backward, refuse_twice("causal_conv1d"))


@checked("causal_conv1d")
def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    initial_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """y_t = bias + Σ_j w_j x_{t−w+1+j}, then silu if asked for (Gu & Dao 2023, section 3.4).

    Parameters
    ----------
    x
        (b, d, l), any strides; float64, float32, bfloat16 or float16.
    weight
        (d, w) of at most four taps, x's dtype or float32; the last one multiplies the newest input.
    bias
        (d,), x's dtype or float32.
    activation
        "silu", also called "swish"; None for none.
    initial_state
        (b, d, w − 1), float32, or float64 beside a float64 x: the inputs before the first, newest last.
    seq_idx
        (b, l), int32 or int64: nothing is read across a change along l.
    return_last_state
        Return (y, last state).

    Returns
    -------
    y (b, d, l) in x's dtype; with `return_last_state` also the last w − 1 inputs of the last sequence, in the
    initial state's dtype.

    Raises
    ------
    NotSupportedError
        If there are more taps, or 2³¹ − 2¹⁵ steps and more; if forward mode or ``torch.func`` would
        differentiate it: autograd alone does.
    """
    y, last = convolved(
        "causal_conv1d", x, weight, bias, activation, initial_state, seq_idx, return_last_state
    )
    return (y, last) if return_last_state else y


def filters(op: str, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Taps and bias as the kernels read them.

    Raises
    ------
    NotSupportedError
        If there are more taps than they serve.
    """
    if weight.shape[1] > TAPS:
        raise NotSupportedError(
            f"`weight` must have at most {TAPS} taps in {op} of this backend; got {weight.shape[1]}"
        )
    return weight.contiguous(), None if bias is None else bias.contiguous()


def convolved(
    op: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    initial: Tensor | None,
    seq_idx: Tensor | None,
    last: bool,
) -> tuple[Tensor, Tensor]:
    """(y, last state), the second empty if not asked for; `op` is who is asked, for what is refused."""
    weight, bias = filters(op, weight, bias)
    if x.shape[2] > STEPS:
        raise NotSupportedError(
            f"`x` must have at most {STEPS} steps in {op} of this backend; got {x.shape[2]}"
        )
    names = ("x", "weight", "bias", "initial_state" if op == "causal_conv1d" else "state")
    tensors = (x, weight, bias, initial)
    may_be_differentiated(op, dict(zip(names, tensors, strict=True)))
    y, state = _differentiable(*tensors, seq_idx, activation is not None, last)
    return y, state
