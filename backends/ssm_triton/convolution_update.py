"""The short convolution's step as PyTorch sees it: in place or not, over rows or over slots of a pool."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssm_backends.checked import checked
from ssm_backends.direct import is_direct
from ssm_backends.errors import NotSupportedError
from ssm_backends.transforms import may_be_differentiated
from ssm_backends.writable import check_writable, read_first
from ssm_triton._convolution_update import convolve_step
from ssm_triton._inputs import FUSED, strides
from ssm_triton._launch_convolution import compute_dtype
from ssm_triton._plan import power_of_two
from ssm_triton.convolution import convolved, filters
from ssm_triton.launching import launch
from ssm_triton.pools import look_at_slots
from ssm_triton.stepping import Step

KEPT = 256
"""The most inputs that a state may hold."""
_NUMBERS = 256
"""Inputs of states that a program has, where there are so many channels: eight a lane."""


@torch.library.custom_op("ssm_triton::convolution_step", mutates_args=("new",))
def convolution_step(
    state: Tensor,
    new: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    slots: Tensor | None,
    silu: bool,
) -> Tensor:
    """y (b, d); the state after the step is written to `new`, from `state`."""
    return _run(state, new, x, weight, bias, slots, silu)


@torch.library.custom_op("ssm_triton::convolution_step_inplace", mutates_args=("state",))
def convolution_step_inplace(
    state: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, slots: Tensor | None, silu: bool
) -> Tensor:
    """y (b, d); the state after the step is written over `state`."""
    return _run_inplace(state, x, weight, bias, slots, silu)


@convolution_step.register_fake
def _(state: Tensor, new: Tensor, x: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(x)


@convolution_step_inplace.register_fake
def _(state: Tensor, x: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(x)


def _run_inplace(state: Tensor, *rest: Any) -> Tensor:
    """Over `state`, in whose memory others of the arrays may lie: all are read first."""
    *given, silu = rest
    x, weight, bias, slots = read_first(state, given)
    return _run(state, state, x, weight, bias, slots, silu)


def _run(
    state: Tensor,
    new: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    slots: Tensor | None,
    silu: bool,
) -> Tensor:
    y = torch.empty_like(x)
    batch, dim = x.shape
    k = state.shape[2]
    KT = power_of_two(max(k, 1))
    DT = min(max(_NUMBERS // KT, 1), power_of_two(max(dim, 1)))
    tiles = -(-dim // DT)
    if not batch * tiles:
        return y
    with torch.cuda.device_of(x):  # Triton launches on the current one
        launch(
            convolve_step, (batch * tiles,),
            [x, weight, bias, state, new, slots, y],
            [dim, tiles, k, state.shape[0],
             *x.stride(), *state.stride(), *new.stride(), *y.stride(), *strides(slots, 1)],
            W=weight.shape[1], SILU=silu, HAS_BIAS=bias is not None, SLOTS=slots is not None,
            WIDE=x.dtype == torch.float64, DT=DT, KT=KT, num_warps=1, enable_fp_fusion=FUSED,
        )  # fmt: skip
    return y


_STEP = Step(_run, convolution_step, _run_inplace, convolution_step_inplace)


@checked("causal_conv1d_update")
def causal_conv1d_update(
    x: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    state_indices: Tensor | None = None,
    inplace: bool = False,
) -> tuple[Tensor, Tensor]:
    """One step of :func:`ssm_triton.causal_conv1d`: y = bias + Σ_{j<w−1} w_j state_{k−w+1+j} + w_{w−1} x.

    Parameters
    ----------
    x
        (b, d); float64, float32, bfloat16 or float16.
    state
        (b, d, k), or a pool (slots, d, k) with `state_indices`: the last k inputs, newest last; k is w − 1
        or more, and at most 256. Float32, or float64 beside a float64 x, or bfloat16 or float16.
    weight
        (d, w) of at most four taps, x's dtype or float32.
    bias
        (d,), x's dtype or float32.
    activation
        "silu", also called "swish"; None for none.
    state_indices
        (b,), int32 or int64: each row's slot in the pool; −1 skips the row, and its y is 0.
    inplace
        Write the new state over `state`. Others of the arrays may lie in its memory: all are read first.

    Returns
    -------
    y (b, d) in x's dtype, and the state after the step, in the state's dtype; `state` itself if `inplace`.

    Raises
    ------
    ArgumentError
        If a slot is none of the pool's, or named twice, and `state_indices` is on a CPU. A GPU would have to
        be waited for: there a row with a slot that does not exist gets NaN, and nothing is written for it.
    NotSupportedError
        If there are more taps, or a longer state; if forward mode or ``torch.func`` would differentiate it.
        If autograd would, but for a state of w − 1 inputs a row, in the compute type, and not in place.
    """
    if inplace and not torch.compiler.is_compiling():
        check_writable("state", state)
    if state.shape[2] > KEPT:
        raise NotSupportedError(
            f"`state` must hold at most {KEPT} inputs in causal_conv1d_update of this backend; "
            f"got {tuple(state.shape)}"
        )
    tensors = (x, state, weight, bias)
    names = ("x", "state", "weight", "bias")
    learn = may_be_differentiated("causal_conv1d_update", dict(zip(names, tensors, strict=True)))
    if learn and _has_gradients(x, state, weight, state_indices, inplace):
        y, after = convolved(
            "causal_conv1d_update", x.unsqueeze(-1), weight, bias, activation, state, None, True
        )
        assert after is not None
        return y.squeeze(-1), after
    if learn:
        raise NotSupportedError(
            "causal_conv1d_update of this backend has no gradient in place, of a pool, or of a state that is "
            "not w − 1 inputs in the compute type; call it under torch.no_grad()"
        )
    look_at_slots(state_indices, state)
    weight, bias = filters("causal_conv1d_update", weight, bias)
    direct = is_direct((x, state, weight, bias, state_indices))
    rest = (x, weight, bias, state_indices, activation is not None)
    return _STEP(state, rest, direct=direct, pooled=state_indices is not None, inplace=inplace)


def _has_gradients(
    x: Tensor, state: Tensor, weight: Tensor, state_indices: Tensor | None, inplace: bool
) -> bool:
    """Whether the step is the convolution at length one, which has them."""
    plain = state_indices is None and not inplace
    return plain and state.shape[2] == weight.shape[1] - 1 and state.dtype == compute_dtype(x)
