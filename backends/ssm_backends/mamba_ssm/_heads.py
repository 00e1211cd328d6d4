"""The heads of Mamba-2 as a step takes them, with heads or without: no copy of what is one number a head."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

_FIRST: Final = {"state": 1, "u": 1, "delta": 1, "z": 1, "A": 0, "D": 0, "delta_bias": 0}
"""The operator's name of an argument with channels → where they are."""


def is_one_row(state: Any, A: Any, B: Any, C: Any, D: Any, dt_bias: Any, slots: Any) -> bool:
    """Whether a call is one row whose heads have one decay, skip and bias each.

    Its p channels a head are then stepped as p rows of h channels: as (h, p) channels, which no stride joins
    into d, the numbers of a head would be copied p times, A among them n p times.

    Parameters
    ----------
    state, A, B, C, D, dt_bias, slots
        As the drop-in is given them, valid or not.
    """
    try:
        heads = state.shape[1]
        return (
            slots is None
            and state.ndim == 4
            and len(state) == 1
            and 0 not in state.shape
            and A.stride(1) == 0
            and (D is None or D.stride(1) == 0)
            and (dt_bias is None or dt_bias.stride(1) == 0)
            and (B.ndim == 2 or heads % B.shape[1] == 0)
            and (C.ndim == 2 or heads % C.shape[1] == 0)
        )
    except (AttributeError, IndexError, RuntimeError, ZeroDivisionError):  # not valid, and not refused here
        return False


def is_of_heads(state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, dt_bias: Any) -> bool:
    """Whether a call is a step of SSD: each head has one step size, decay and bias, by strides of zero.

    Parameters
    ----------
    state, x, dt, A, B, C, dt_bias
        As the drop-in is given them, valid or not.
    """
    try:
        return (
            state.ndim == 4
            and 0 not in state.shape
            and x.ndim == 3
            and not (state.is_complex() or A.is_complex())
            and dt.stride(2) == 0
            and A.stride(1) == 0
            and A.stride(2) == 0
            and (dt_bias is None or dt_bias.stride(1) == 0)
            and B.shape == C.shape
            and (B.ndim == 2 or state.shape[1] % B.shape[1] == 0)
        )
    except (AttributeError, IndexError, RuntimeError, ZeroDivisionError):  # not valid, and not refused here
        return False


def of_heads(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a call for which :func:`is_of_heads` holds, as ``ssd_update`` names them: views all."""
    bias, D, grouped = inputs["delta_bias"], inputs["D"], inputs["B"].ndim == 3
    return {
        "state": inputs["state"],
        "x": inputs["u"],
        "dt": inputs["delta"].select(2, 0),
        "A": inputs["A"].select(2, 0).select(1, 0),
        **{name: inputs[name] if grouped else inputs[name].unsqueeze(1) for name in ("B", "C")},
        "D": D if D is None or D.stride(1) else D.select(1, 0),
        "z": inputs["z"],
        "dt_bias": None if bias is None else bias.select(1, 0),
        "dt_softplus": inputs["delta_softplus"],
        "dt_limit": (-inf, inf),
        "state_indices": inputs["state_indices"],
        "inplace": inputs["inplace"],
    }


def channels_as_rows(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a row (1, h, p, …) as those of p rows of h channels: views all.

    Parameters
    ----------
    inputs
        Of a call for which :func:`is_one_row` holds, under the operator's names.
    """
    rows = inputs["u"].shape[2]
    turned = dict(inputs)
    for name in ("state", "u", "delta", "z"):
        if inputs[name] is not None:
            turned[name] = inputs[name].select(0, 0).transpose(0, 1)
    for name in ("A", "D", "delta_bias"):
        if inputs[name] is not None:
            turned[name] = inputs[name].select(1, 0)
    for name in ("B", "C"):
        turned[name] = inputs[name].expand(rows, *inputs[name].shape[1:])
    return turned


def heads_joined(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs with channels (h, p) joined to h·p; views wherever strides allow it."""
    joined = dict(inputs)
    for name, first in _FIRST.items():
        if inputs[name] is not None:
            joined[name] = inputs[name].flatten(first, first + 1)
    return joined


def rows_as_channels(y: Tensor) -> Tensor:
    """The output (p, h) of such rows as that of one row, (1, h, p)."""
    return y.transpose(0, 1).unsqueeze(0)
