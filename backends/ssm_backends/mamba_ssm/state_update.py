"""``selective_state_update`` and ``selective_state_update_ref``: one step, the state in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ssm_backends.errors import NotSupportedError, ShapeError
from ssm_backends.front.kinds import recall
from ssm_backends.front.preference import is_named
from ssm_backends.mamba_ssm._heads import (
    channels_as_rows,
    heads_joined,
    is_of_heads,
    is_one_row,
    of_heads,
    rows_as_channels,
)
from ssm_backends.mamba_ssm._known import call_as, known_kind
from ssm_backends.mamba_ssm._tensors import (
    only_pythons,
    only_tensors,
    shapes_of,
    sized,
    wide_as,
    widened,
)
from ssm_backends.operators import OPERATORS
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
_STEP: Final = OPERATORS["selective_state_update"]
_OF_HEADS: Final = OPERATORS["ssd_update"]
_SHAPES: Final = {
    1: "x: b d, dt: b d, z: b d, A: d n, state: {rows} d n, B: b n | b g n, C: b n | b g n, D: d, "
    "dt_bias: d, state_batch_indices: b",
    2: "x: b h p, dt: b h p, z: b h p, A: h p n, state: {rows} h p n, B: b n | b g n, C: b n | b g n, "
    "D: h p, dt_bias: h p, state_batch_indices: b",
}
"""Without heads, and with: as many rows of `state` as x has, or as many as there are slots."""


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
    y, of x's shape and dtype, in its order of memory.

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
    tensors = (state, x, dt, A, B, C, D, z, dt_bias, slots)
    kind = known_kind("selective_state_update", backend, (*tensors, dt_softplus))
    heads = is_of_heads(state, x, dt, A, B, C, dt_bias) and _step_heads(x, backend)
    one_row = kind is not None and not heads and is_one_row(state, A, B, C, D, dt_bias, slots)
    if kind is not None and (heads or one_row):
        kind = (*kind, "heads" if heads else "one row")
    known = None if kind is None else recall(kind)
    if known is None:
        _check(*tensors)
    A = wide_as(x, A)
    inputs = {
        "state": state, "u": x, "delta": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": dt_bias,
        "delta_softplus": dt_softplus, "state_indices": slots, "inplace": True,
    }  # fmt: skip
    y: Tensor
    if heads:
        given = of_heads(inputs)
        given |= {name: widened(name, given[name], A) for name in ("D", "dt_bias")}
        try:
            y, _ = call_as(kind, known, _NAMES, _OF_HEADS, given)
            return _as_it_lies(x, y)
        except NotSupportedError:  # the step of channels is served, or its refusal names what was called
            if known is not None:
                raise
            kind = None
    inputs |= {"D": widened("D", D, A), "delta_bias": widened("dt_bias", dt_bias, A)}
    if state.ndim == 3:
        y, _ = call_as(kind, known, _NAMES, _STEP, inputs, backend)
        return _as_it_lies(x, y)
    if one_row:
        y, _ = call_as(kind, known, _NAMES, _STEP, channels_as_rows(inputs), backend)
        return _as_it_lies(x, rows_as_channels(y))
    # No stride joins the channels of such a state: the step is given a copy, which is written back.
    copied = 1 not in state.shape[1:3] and state.stride(1) != state.shape[2] * state.stride(2)
    if copied and not torch.compiler.is_compiling():
        check_writable("state", state)
    y, new = call_as(kind, known, _NAMES, _STEP, heads_joined(inputs), backend)
    if copied:
        state.copy_(new.reshape(state.shape))
    return _as_it_lies(x, y.reshape(x.shape))


def _step_heads(x: Any, backend: str | None) -> bool:
    """Whether a step of heads goes to ``ssd_update``: on a GPU, unless it is said who has to serve the call.

    On a CPU the step of channels is compiled, which is faster. A backend that is named may have that alone.
    A graph does not ask who is named.
    """
    import torch

    if torch.compiler.is_compiling():
        return False
    on_gpu = getattr(getattr(x, "device", None), "type", "cpu") != "cpu"
    return on_gpu and backend is None and not is_named()


def _as_it_lies(x: Tensor, y: Tensor) -> Tensor:
    """y in x's order of memory, as mamba-ssm's lies: its callers take a view of it."""
    import torch

    if y.stride() == x.stride():
        return y
    laid = torch.empty_like(x)
    return y if y.stride() == laid.stride() else laid.copy_(y)


def _check(
    state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, dt_bias: Any, slots: Any
) -> None:
    """Refuse what is no tensor, and shapes that do not agree."""
    required = {"state": state, "x": x, "dt": dt, "A": A, "B": B, "C": C}
    optional = {"D": D, "z": z, "dt_bias": dt_bias, "state_batch_indices": slots}
    only_tensors(required, optional)
    if state.ndim not in (3, 4):
        raise ShapeError(f"`state` must have shape (b, d, n) or (b, h, p, n); got {tuple(state.shape)}")
    rows = "b" if slots is None else "r"
    sized(shapes_of({**required, **optional}), _SHAPES[state.ndim - 2].format(rows=rows))
