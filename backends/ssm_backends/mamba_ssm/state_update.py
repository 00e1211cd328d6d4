"""``selective_state_update`` and ``selective_state_update_ref``: one step, the state in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ssm_backends.errors import ShapeError
from ssm_backends.front import functions
from ssm_backends.mamba_ssm._tensors import (
    only_pythons,
    only_tensors,
    shapes_of,
    sized,
    under_names,
    wide_as,
    widened,
)
from ssm_backends.writable import check_writable

if TYPE_CHECKING:
    from torch import Tensor

_NAMES: Final = {
    "u": "x",
    "delta": "dt",
    "delta_bias": "dt_bias",
    "delta_softplus": "dt_softplus",
    "state_indices": "state_batch_indices",
}
"""The operator's name of an argument → the drop-in's."""
_SHAPES: Final = {
    1: "x: b d, dt: b d, z: b d, A: d n, state: r d n, B: b n | b g n, C: b n | b g n, D: d, dt_bias: d, "
    "state_batch_indices: b",
    2: "x: b h p, dt: b h p, z: b h p, A: h p n, state: r h p n, B: b n | b g n, C: b n | b g n, D: h p, "
    "dt_bias: h p, state_batch_indices: b",
}
"""Without heads, and with: a row of `state` for each of x, or slots."""


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    state_batch_indices: Tensor | None = None,
) -> Tensor:
    """One step of the selective scan, by the best backend. The new state is written over `state`.

    Parameters
    ----------
    state
        (b, d, n), or (b, h, p, n) with heads: h heads of p channels; a pool of slots in place of
        b rows with `state_batch_indices`. float32, or bfloat16 and float16, rounded once a step.
    x, dt, z
        (b, d) or (b, h, p).
    A
        (d, n) or (h, p, n); widened where x is float64.
    B, C
        (b, n) or (b, g, n); groups of heads, or of channels.
    D, dt_bias
        (d,) or (h, p).
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)).
    state_batch_indices
        (b,), int32 or int64: each row's slot in `state`; −1 skips the row, and its output is 0.

    Returns
    -------
    y, of x's shape and dtype.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule and what was given.
    NotSupportedError
        If no backend serves the call here.
    """
    return _step(None, state, x, dt, A, B, C, D, z, dt_bias, dt_softplus, state_batch_indices)


def selective_state_update_ref(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
) -> Tensor:
    """As :func:`selective_state_update`, by the backend "torch", whatever else is installed.

    Arguments, result and errors are those of that function.
    """
    return _step("torch", state, x, dt, A, B, C, D, z, dt_bias, dt_softplus, None)


def _step(
    backend: str | None,
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    slots: Tensor | None,
) -> Tensor:
    import torch

    only_pythons(dt_softplus=dt_softplus)
    required = {"state": state, "x": x, "dt": dt, "A": A, "B": B, "C": C}
    optional = {"D": D, "z": z, "dt_bias": dt_bias, "state_batch_indices": slots}
    only_tensors(required, optional)
    if state.ndim not in (3, 4):
        raise ShapeError(f"`state` must have shape (b, d, n) or (b, h, p, n); got {tuple(state.shape)}")
    channels = state.ndim - 2  # dimensions that are channels: (d,) or (h, p)
    sized(shapes_of({**required, **optional}), _SHAPES[channels])
    # No stride joins the channels of such a state: the step is given a copy, which is written back.
    copied = channels == 2 and state.stride(1) != state.shape[2] * state.stride(2)
    if copied and not torch.compiler.is_compiling():
        check_writable("state", state)
    A = wide_as(x, A)
    D, dt_bias = widened("D", D, A), widened("dt_bias", dt_bias, A)
    flat = _channels(state, 1, channels)
    y: Tensor
    y, new = under_names(
        _NAMES,
        functions.selective_state_update,
        flat,
        _channels(x, 1, channels),
        _channels(dt, 1, channels),
        _channels(A, 0, channels),
        B,
        C,
        None if D is None else _channels(D, 0, channels),
        None if z is None else _channels(z, 1, channels),
        None if dt_bias is None else _channels(dt_bias, 0, channels),
        dt_softplus,
        state_indices=slots,
        inplace=True,
        backend=backend,
    )
    if copied:
        state.copy_(new.reshape(state.shape))
    return y.reshape(x.shape)


def _channels(x: Tensor, first: int, count: int) -> Tensor:
    """Join the dimensions of channels, (h, p) to h·p; a view wherever strides allow it."""
    return x if count == 1 else x.flatten(first, first + 1)
