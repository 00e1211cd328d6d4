"""What kind of mistake it looks like: the oracle is run with one mistake made on purpose, and compared."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import ssm_spec
from ssm_conformance.mistaken_states import states_after
from ssm_conformance.mistaken_steps import (
    bias_after,
    cut_off,
    slopes_cut_off,
    slopes_of_bias_after,
    without_the_slope,
)
from ssm_conformance.mistakes import BACK, changed_array, changed_inputs, changed_outputs, swapped, values
from ssm_conformance.storage import store, widen

CLOSER: Final = 100.0
"""A mistake explains a failure if it brings the worst error down at least this far."""
LARGEST: Final = sys.float_info.max
ROUNDED: Final = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Unit roundoffs of the types that are narrower than what is computed in."""
SMALLEST: Final = {"bfloat16": 2.0**-133, "float16": 2.0**-24}
"""Their smallest numbers: rounding loses half of one at least."""
MANY: Final = 8
"""Numbers of float32 that are none of 16 bits by chance: one in 2¹³ is, and less."""

Outputs = Mapping[str, NDArray[Any]]
Inputs = Mapping[str, Any]
REFUSED = (ssm_spec.ShapeError, ssm_spec.DTypeError, ssm_spec.DomainError)
"""A call that a mistake makes impossible: without cu_seqlens, say, the states fit no longer."""


def likely_mistake(
    op: str, inputs: Inputs, actual: Outputs, dtypes: Mapping[str, str], exact: Mapping[str, ssm_spec.Bounded]
) -> str:
    """Name the mistake that best explains wrong outputs; "" if none does.

    Parameters
    ----------
    op
        Name of the operator.
    inputs
        Its inputs as the oracle takes them.
    actual
        Output name → what the implementation gave, widened to float64 or complex128.
    dtypes
        Output name → the dtype in which it gave it.
    exact
        Output name → the oracle's value and bounds.
    """
    exact = _as_stored(exact, dtypes)
    right = {name: bounded.value for name, bounded in exact.items() if name in actual}
    found, _ = _closest(actual, right, exact, _wrong_outputs(op, inputs, right))
    return found or _narrow(actual, right, dtypes)


def likely_gradient_mistake(
    op: str,
    inputs: Inputs,
    cotangents: Inputs,
    actual: Outputs,
    dtypes: Mapping[str, str],
    exact: Mapping[str, ssm_spec.Bounded],
) -> str:
    """The same for gradients: input name → gradient, and output name → its cotangent."""
    exact = _as_stored(exact, dtypes)
    right = {name: bounded.value for name, bounded in exact.items()}
    spoilt = ((f"the gradient of {what}", wrong) for what, wrong in changed_array(right))
    found, nearest = _closest(actual, right, exact, spoilt)
    own = _distances(actual, right, exact)
    some = ""  # what is that of most wrong gradients, and these
    most = 0
    for mistake, wrong in _mistaken_gradients(op, inputs, cotangents, right):
        whole = _distances(actual, wrong, exact)
        failed = {name: distance for name, distance in whole.items() if own[name] > 1}
        for words, distances in ((mistake, whole), (_in_gradients(mistake, failed), failed)):
            distance = max((own | distances).values())
            if distance < nearest:
                found, nearest = words, distance
        explained = [name for name, distance in failed.items() if distance <= _leftover(own[name])]
        if len(explained) > most:
            some, most = _in_gradients(mistake, explained), len(explained)
    if not found or nearest > CLOSER:  # no explanation of every gradient: one of some may be exact
        found = some or found
    return found or _narrow(actual, right, dtypes, "the gradient of ")


def _in_gradients(mistake: str, names: Iterable[str]) -> str:
    return f"{mistake}, in the gradient of {' and '.join(names)}"


def _leftover(error: float) -> float:
    """What may remain of an error, in units of the bound, where a mistake is that of one gradient alone.

    It is the mistake's own rounding, which may be more than that of what is right.
    """
    return max(min(error / CLOSER, 1.0), min(error / CLOSER**2, CLOSER))


def _as_stored(
    exact: Mapping[str, ssm_spec.Bounded], dtypes: Mapping[str, str]
) -> dict[str, ssm_spec.Bounded]:
    """The bounds, with the rounding of what is stored in 16 bits."""
    return {
        name: replace(bounded, bound=bounded.bound + _rounding(bounded.value, dtypes.get(name, "")))
        for name, bounded in exact.items()
    }


def _rounding(value: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    """What is lost where a value is stored, of the types in 16 bits."""
    rounding = ROUNDED.get(dtype, 0.0) * np.abs(value)
    return np.asarray(np.maximum(rounding, SMALLEST.get(dtype, 0.0) / 2))


def mistaken_shape(what: str, shape: tuple[int, ...], got: tuple[int, ...]) -> str:
    """Name the mistake that gives `what` another shape; "" if it is no usual one."""
    if sorted(got) == sorted(shape):
        return f"the axes of {what} are in another order"
    if what.startswith("the gradient of ") and len(got) > len(shape):
        return f"{what} is not summed over the axes that the argument lacks"
    return ""


def _closest(
    actual: Outputs,
    right: Outputs,
    exact: Mapping[str, ssm_spec.Bounded],
    mistakes: Iterator[tuple[str, Outputs]],
) -> tuple[str, float]:
    """The mistake that comes nearest, and how near; "" if none comes near enough."""
    # Where a bound is the smallest number, an error of one is beyond the largest.
    best, found = min(_distance(actual, right, exact), LARGEST) / CLOSER, ""
    for mistake, wrong in mistakes:
        distance = _distance(actual, wrong, exact)
        if distance < best:
            best, found = distance, mistake
    return found, best


def _narrow(actual: Outputs, right: Outputs, dtypes: Mapping[str, str], of: str = "") -> str:
    """Name what holds numbers of 16 bits alone, in a wider type, and should not; "" if nothing does."""
    for name, x in actual.items():
        if name not in right or dtypes[name] in ROUNDED or np.iscomplexobj(x) or np.count_nonzero(x) < MANY:
            continue
        for half in ROUNDED:
            if _all_of(x, half) and not _all_of(right[name], half):
                return f"every number of {of}{name} is one of {half}: it was kept, or computed, in that"
    return ""


def _all_of(x: NDArray[Any], half: str) -> bool:
    return np.array_equal(widen(store(x, half), half), x)


def _distance(actual: Outputs, expected: Outputs, exact: Mapping[str, ssm_spec.Bounded]) -> float:
    """The worst error of all arrays in units of the bound."""
    return max(_distances(actual, expected, exact).values(), default=0.0)


def _distances(actual: Outputs, expected: Outputs, exact: Mapping[str, ssm_spec.Bounded]) -> dict[str, float]:
    """The same of each that is expected; infinite if its shape differs or anything is not finite."""
    found = {}
    for name in (name for name in exact if name in expected):
        found[name] = np.inf
        if expected[name].shape != actual[name].shape:
            continue
        unit = np.maximum(exact[name].bound + exact[name].own, np.finfo(np.float64).tiny)
        with np.errstate(invalid="ignore", over="ignore"):
            ratio = np.abs(actual[name] - expected[name]) / unit
        found[name] = float(np.max(np.where(np.isnan(ratio), np.inf, ratio), initial=0.0))
    return found


def _wrong_outputs(op: str, inputs: Inputs, right: Outputs) -> Iterator[tuple[str, Outputs]]:
    exchanged = ((mistake, call) for mistake, call, _ in swapped(inputs))
    steps = chain(cut_off(op, inputs), bias_after(op, inputs))
    for mistake, call in chain(steps, changed_inputs(op, inputs), exchanged):
        try:
            wrong = values(op, tuple(right), call)
        except REFUSED:
            continue
        yield mistake, wrong
    yield from changed_outputs(op, inputs, right)


def _mistaken_gradients(
    op: str, inputs: Inputs, cotangents: Inputs, right: Outputs
) -> Iterator[tuple[str, Outputs]]:
    vjp, names = ssm_spec.REFERENCES[op].vjp, tuple(right)
    assert vjp is not None
    for output in cotangents:
        kept = {name: value for name, value in cotangents.items() if name != output}
        yield f"the cotangent of {output} is ignored", vjp(kept, names, **inputs)
    yield from without_the_slope(op, inputs, cotangents, names)
    yield from slopes_cut_off(op, inputs, cotangents, names)
    yield from slopes_of_bias_after(op, inputs, cotangents, names)
    yield from states_after(op, inputs, cotangents, right)
    for mistake, call, stands_for in swapped(inputs):
        places = {name: stands_for.get(name, name) for name in names}
        try:
            wrong = vjp(cotangents, tuple(places.values()), **call)
        except REFUSED:
            continue
        yield mistake, {name: wrong[place] for name, place in places.items()}
    for mistake, call in changed_inputs(op, inputs):
        try:
            wrong = vjp(cotangents, tuple(name for name in names if name in call), **call)
        except REFUSED:
            continue
        yield mistake, wrong
        # Autograd goes back through the mistake: of what is ignored the gradient is zero.
        ignored = {name: np.zeros(np.shape(inputs[name])) for name in names if name not in call}
        changed, back = BACK.get(mistake, ("", np.negative))
        yield mistake, {**wrong, **ignored, **{name: back(x) for name, x in wrong.items() if name == changed}}
