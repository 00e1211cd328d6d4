"""``causal_conv1d_fn``, a function of the package causal-conv1d."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ssm_backends.errors import ArgumentError
from ssm_backends.front.functions import causal_conv1d
from ssm_backends.mamba_ssm._tensors import (
    computed,
    of_dtype,
    only_pythons,
    only_tensors,
    shapes_of,
    sized,
    under_names,
)
from ssm_backends.writable import check_writable

if TYPE_CHECKING:
    from torch import Tensor

_NAMES: Final = {"initial_state": "initial_states", "return_last_state": "return_final_states"}
"""The operator's name of an argument → the drop-in's."""
_SHAPES: Final = (
    "x: b d l, weight: d v+1, bias: d, seq_idx: b l, initial_states: b d v, final_states_out: b d v"
)


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Any:
    """The causal depthwise convolution of Mamba (Gu & Dao 2023, section 3.4), by the best backend.

    b batch, d channels, l length; v + 1 taps, any number. Every layout is taken, and states beside `seq_idx`.

    Parameters
    ----------
    x
        (b, d, l); float32, bfloat16, float16 or float64.
    weight
        (d, v + 1), x's dtype or float32; the last tap multiplies the newest input.
    bias
        (d,), x's dtype or float32.
    seq_idx
        (b, l), int32 or int64: nothing is read across a change along l. A negative number marks a step that
        fills up: y is 0 there.
    initial_states
        (b, d, v), x's dtype: the inputs before the first, newest last; zeros if not given.
    return_final_states
        Return (y, final states).
    final_states_out
        (b, d, v), x's dtype: the final states are written there, and it is what is returned. Where they
        have a gradient it is left out of the graph, to be written again, and they are returned by themselves.
    activation
        None, or "silu", also called "swish".

    Returns
    -------
    y (b, d, l) in x's dtype, alone or with the final states (b, d, v) in x's dtype, which are the last v
    inputs of the last sequence; both are differentiable.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule and what was given.
    NotSupportedError
        If no backend serves the call here.
    """
    only_pythons(return_final_states=return_final_states, activation=activation)
    required = {"x": x, "weight": weight}
    states = {"initial_states": initial_states, "final_states_out": final_states_out}
    only_tensors(required, {"bias": bias, "seq_idx": seq_idx, **states})
    sized(shapes_of({**required, "bias": bias, "seq_idx": seq_idx, **states}), _SHAPES)
    of_dtype(x, **states)
    if final_states_out is not None:
        _check_written(final_states_out, return_final_states)
    found = under_names(
        _NAMES, causal_conv1d,
        x, weight, bias, activation,
        initial_state=None if initial_states is None else computed(initial_states),
        seq_idx=seq_idx, return_last_state=return_final_states,
    )  # fmt: skip
    y, last = found if return_final_states else (found, None)
    if seq_idx is not None:
        y = y.masked_fill((seq_idx < 0).unsqueeze(1), 0)
    if last is None:
        return y
    last = last.to(x.dtype)  # not rounded: each of its elements is one of x or of initial_states
    if final_states_out is None:
        return y, last
    if last.requires_grad:
        final_states_out.copy_(last.detach())
        return y, last
    return y, final_states_out.copy_(last)


def _check_written(final_states_out: Tensor, return_final_states: bool) -> None:
    import torch

    if not return_final_states:
        raise ArgumentError(
            "`final_states_out` must be given with return_final_states=True alone; got "
            f"return_final_states={return_final_states!r}"
        )
    if final_states_out.requires_grad:
        raise ArgumentError("`final_states_out` must not require a gradient: it is written over; got one")
    if not torch.compiler.is_compiling():
        check_writable("final_states_out", final_states_out)
