"""What kind of mistake it looks like: the oracle is run with one mistake made on purpose, and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import ssm_spec
from ssm_backends import OPERATORS

CLOSER: Final = 100.0
"""A mistake explains a failure if it brings the worst error down at least this far."""

Outputs = Mapping[str, NDArray[Any]]
Inputs = Mapping[str, Any]


def likely_mistake(op: str, inputs: Inputs, actual: Outputs, exact: Mapping[str, ssm_spec.Bounded]) -> str:
    """Name the mistake that best explains wrong outputs; "" if none does.

    Parameters
    ----------
    op
        Name of the operator.
    inputs
        Its inputs as the oracle takes them.
    actual
        Output name → what the implementation gave, widened to float64 or complex128.
    exact
        Output name → the oracle's value and bounds.
    """
    right = {name: bounded.value for name, bounded in exact.items()}
    best, found = _distance(actual, right, exact) / CLOSER, ""
    for mistake, wrong in _mistakes(op, inputs, right):
        distance = _distance(actual, wrong, exact)
        if distance < best:
            best, found = distance, mistake
    return found


def _distance(actual: Outputs, expected: Outputs, exact: Mapping[str, ssm_spec.Bounded]) -> float:
    """The worst error in units of the bound; infinite if anything is not finite."""
    worst = 0.0
    for name, bounded in exact.items():
        if name not in expected or expected[name].shape != actual[name].shape or not actual[name].size:
            continue
        unit = np.maximum(bounded.bound + bounded.own, np.finfo(np.float64).tiny)
        with np.errstate(invalid="ignore", over="ignore"):
            ratio = np.abs(actual[name] - expected[name]) / unit
        worst = max(worst, float(np.max(np.where(np.isnan(ratio), np.inf, ratio))))
    return worst


def _mistakes(op: str, inputs: Inputs, right: Outputs) -> Iterator[tuple[str, Outputs]]:
    """Each mistake in words, with the outputs it would give."""
    for mistake, changed in _changed_inputs(op, inputs):
        try:
            result = ssm_spec.REFERENCES[op].value(**changed)
        except ssm_spec.ShapeError:  # without cu_seqlens or state_indices the states fit no longer
            continue
        values = result if isinstance(result, tuple) else (result,)
        yield mistake, dict(zip(right, values, strict=False))
    for mistake, change in _CHANGED_OUTPUTS.items():
        yield mistake, {name: change(value) for name, value in right.items()}


def _changed_inputs(op: str, inputs: Inputs) -> Iterator[tuple[str, dict[str, Any]]]:
    for argument in OPERATORS[op].arguments:
        name = argument.name
        if name in inputs and not argument.required and argument.kind in ("array", "index"):
            yield f"`{name}` is ignored", {key: value for key, value in inputs.items() if key != name}
    if "delta_softplus" in inputs:
        yield "softplus is not applied to delta", dict(inputs) | {"delta_softplus": False}
    if op.startswith("selective"):
        other = "euler" if inputs.get("b_discretization", "euler") == "zoh" else "zoh"
        yield f"B is discretised by the rule {other!r}", dict(inputs) | {"b_discretization": other}
        yield from _wrong_groups(inputs)


def _wrong_groups(inputs: Inputs) -> Iterator[tuple[str, dict[str, Any]]]:
    """Channel i read from group i mod g, as ``repeat`` expands, instead of i // (d/g)."""
    d, rank = inputs["A"].shape[0], inputs["u"].ndim
    tiled = {
        name: np.take(inputs[name], np.arange(d) % inputs[name].shape[1], axis=1)
        for name in ("B", "C")
        if inputs[name].ndim == rank + 1
    }
    if tiled:
        yield "groups are repeated, not interleaved: channel i uses group i mod g", dict(inputs) | tiled


def _late(x: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([np.zeros_like(x[..., :1]), x[..., :-1]], axis=-1)


def _early(x: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([x[..., 1:], np.zeros_like(x[..., :1])], axis=-1)


_CHANGED_OUTPUTS: Final[Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "the output is one step late": _late,
    "the output is one step early": _early,
    "the output is reversed in time": lambda x: x[..., ::-1],
    "the output is half of what it should be": lambda x: x / 2,
    "the output is twice what it should be": lambda x: 2 * x,
    "the output is all zero": np.zeros_like,
}
