"""Mistakes that kernels make of softplus, made on purpose with the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import ssm_spec

Array = NDArray[Any]
Outputs = dict[str, Array]
Inputs = Mapping[str, Any]

CUT_OFF: Final = "softplus is cut off: a large argument is taken for Δ itself"
THRESHOLDS: Final = (20.0, 15.0, 10.0, 8.0, 5.0)
"""Where kernels cut softplus off; 20 is PyTorch's."""


def without_the_slope(
    op: str, inputs: Inputs, cotangents: Inputs, names: tuple[str, ...]
) -> Iterator[tuple[str, Outputs]]:
    """The gradient of softplus's value, not of its argument: of the step, and of its bias."""
    if not _has_softplus(op, inputs):
        return
    step, x = _argument(inputs)
    every = _gradients(op, _with_step(inputs, np.logaddexp(x, 0)), cotangents, (step,), np.ones_like(x))
    yield "the slope of softplus is left out", {name: every[name] for name in names if name in every}


def cut_off(op: str, inputs: Inputs) -> Iterator[tuple[str, dict[str, Any]]]:
    """Softplus of a large argument is the argument itself: each threshold, in words, with that call."""
    if not _has_softplus(op, inputs):
        return
    _, x = _argument(inputs)
    for threshold in THRESHOLDS:
        if (x > threshold).any():
            yield CUT_OFF, _with_step(inputs, np.where(x > threshold, x, np.logaddexp(x, 0)))


def slopes_cut_off(
    op: str, inputs: Inputs, cotangents: Inputs, names: tuple[str, ...]
) -> Iterator[tuple[str, Outputs]]:
    """The gradients of the same, where the slope is 1, and where it is softplus's own all the same."""
    for mistake, call in cut_off(op, inputs):
        _, x = _argument(inputs)
        changed = call["dt" if "dt" in call else "delta"]
        own = -np.expm1(-np.logaddexp(x, 0))
        for slope in (np.where(changed == x, 1.0, own), own):
            every = _gradients(op, call, cotangents, names, slope)
            yield mistake, {name: every[name] for name in names if name in every}


def bias_after(op: str, inputs: Inputs) -> Iterator[tuple[str, dict[str, Any]]]:
    """The bias is added to the step itself, not to softplus's argument: in words, with that call."""
    step, _ = _names(inputs)
    if not _has_softplus(op, inputs) or inputs.get(f"{step}_bias") is None:
        return
    _, late = _argument({**inputs, step: np.logaddexp(inputs[step], 0)})
    yield f"`{step}_bias` is added after softplus", _with_step(inputs, late)


def slopes_of_bias_after(
    op: str, inputs: Inputs, cotangents: Inputs, names: tuple[str, ...]
) -> Iterator[tuple[str, Outputs]]:
    """The gradients of the same: the slope is that of softplus of the step alone, and the bias has none."""
    for mistake, call in bias_after(op, inputs):
        step, _ = _names(inputs)
        slope = -np.expm1(-np.logaddexp(inputs[step], 0))
        every = _gradients(op, call, cotangents, names, np.ones_like(slope))
        with np.errstate(over="ignore", invalid="ignore"):
            every[step] = every[step] * slope
        yield mistake, {name: every[name] for name in names if name in every}


def step_and_slope(inputs: Inputs) -> tuple[Array, Array]:
    """Δ, and its derivative by what it is made of."""
    step, x = _argument(inputs)
    if not inputs.get(f"{step}_softplus"):
        return x, np.ones_like(x)
    value = np.logaddexp(x, 0)
    return value, -np.expm1(-value)


def _has_softplus(op: str, inputs: Inputs) -> bool:
    step, _ = _names(inputs)
    return bool(inputs.get(f"{step}_softplus")) and step in inputs and ssm_spec.REFERENCES[op].vjp is not None


def _names(inputs: Inputs) -> tuple[str, int]:
    """The step's name, and its axis of channels."""
    return ("dt", -1) if "dt_softplus" in inputs else ("delta", 1)


def _argument(inputs: Inputs) -> tuple[str, Array]:
    """The step's name, and what softplus is applied to."""
    step, channels = _names(inputs)
    x, shift = np.asarray(inputs[step]), inputs.get(f"{step}_bias")
    if shift is not None:
        x = x + np.expand_dims(shift, tuple(range(1, x.ndim - channels % x.ndim)))
    return step, x


def _with_step(inputs: Inputs, value: Array) -> dict[str, Any]:
    """The call that is given Δ itself."""
    step, _ = _names(inputs)
    kept = {name: x for name, x in inputs.items() if name != f"{step}_bias"}
    return kept | {step: value, f"{step}_softplus": False}


def _gradients(
    op: str, call: Inputs, cotangents: Inputs, names: tuple[str, ...], slope: Array
) -> dict[str, Array]:
    """Gradients of a call that is given Δ, with those of what Δ is made of by a slope."""
    step, channels = _names(call)
    vjp = ssm_spec.REFERENCES[op].vjp
    assert vjp is not None
    asked = dict.fromkeys((step, *(name for name in names if name in call)))
    found = dict(vjp(cotangents, tuple(asked), **call))
    others = tuple(axis for axis in range(slope.ndim) if axis != channels % slope.ndim)
    with np.errstate(over="ignore", invalid="ignore"):  # a wrong step may let states grow without end
        found[step] = found[step] * slope
        return found | {f"{step}_bias": found[step].sum(others)}
