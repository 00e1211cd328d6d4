"""Inputs of SSD's single step: what each recipe is there to catch stands beside it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._duality import (
    EXACT,
    GROUPS,
    LIMIT,
    LIMITS,
    SKIP,
    WIDER,
    at_limits,
    of_layer,
    rates,
    raw_steps,
)
from ssm_conformance.cases._selective import EDGE, MIXED, fixed, wider
from ssm_conformance.draw import Draw

STEP: Final = "ssd-step-1: l steps equal one ssd of length l: the same limits of Δ, and its final state"
SLOTS: Final = "ssd-step-2: state_indices: −1 skips a row, its y is 0; other slots stay bitwise the same"
IN_PLACE: Final = "ssd-step-3: with `inplace` the new state is written into `state`"
HALF_STATE: Final = "ssd-step-4: the new state keeps the state's dtype; in 16 bits it is rounded once"

_SINGLE: Final = ("float32",)
_COMMON: Final = ("float32", "bfloat16")
_SKIPPING: Final = fixed([4, -1, 0], dtype="int32")


def update_inputs(
    b: int,
    h: int,
    p: int,
    n: int,
    *,
    g: int = 1,
    gate: bool = True,
    feedthrough: bool = True,
    softplus: bool = True,
    slots: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One decode step of a Mamba-2 layer."""
    inputs = {
        "state": Draw((b if slots is None else slots, h, p, n)),
        "x": Draw((b, h, p)),
        "dt": raw_steps(b, h, softplus=softplus),
        "B": Draw((b, g, n)),
        "C": Draw((b, g, n)),
    } | of_layer(h, p, gate=gate, feedthrough=feedthrough, softplus=softplus, z=(b, h, p))
    return inputs | more


def _update(name: str, inputs: dict[str, Any], clause: str, level: Level = "quick", **more: Any) -> Recipe:
    return Recipe("ssd_update", name, inputs, clause, level, **more)


def _half(dtype: str, *shape: int) -> Draw:
    """A state in 16 bits."""
    return Draw(shape, dtype=dtype)


def _permuted(*, inplace: bool) -> dict[str, Any]:
    slots = fixed([5, 0, 3, 1], dtype="int64")
    return update_inputs(4, 3, 2, 2, slots=6, state_indices=slots, inplace=inplace)


SSD_UPDATE: Final = (
    _update("typical", update_inputs(3, 4, 3, 5), STEP, "smoke"),
    _update("plain", update_inputs(2, 3, 2, 3, gate=False, feedthrough=False, softplus=False), STEP),
    _update("groups", update_inputs(2, 6, 2, 3, g=3), GROUPS),
    _update("group-a-head", update_inputs(2, 4, 2, 3, g=4), GROUPS),
    _update("wide-skip", update_inputs(2, 3, 4, 2, D=Draw((3, 4))), SKIP),
    _update("limits", update_inputs(4, 6, 2, 3, dt_limit=LIMIT), LIMITS),
    _update(
        "clamped-at-zero",
        update_inputs(3, 5, 2, 2, softplus=False)
        | {"dt": Draw((3, 5), "uniform", parameters={"low": -0.3, "high": 0.3})},
        LIMITS,
    ),
    _update(
        "at-limits",
        update_inputs(5, 6, 2, 2, softplus=False, dt_limit=EXACT) | {"dt": at_limits(5, 6)},
        LIMITS,
        first=_SINGLE,
    ),
    _update("mixed", wider(update_inputs(2, 4, 3, 3, g=2), *WIDER), MIXED, dtypes=HALF),
    _update(
        "softplus-far",
        update_inputs(9, 4, 2, 2)
        | {
            "dt": fixed([[v] for v in (-1e4, -88.0, -20.0, -17.0, 0.0, 17.0, 20.0, 88.0, -np.inf)], (9, 4)),
            "A": rates(4, 1e-4, 2.0),
        },
        LIMITS,
        check="extreme",
    ),
    # A state in 16 bits is rounded once, on its way out: the step itself goes on in the compute type.
    _update("half-state", update_inputs(2, 4, 3, 3, state=_half("bfloat16", 2, 4, 3, 3)), HALF_STATE),
    _update("half-state-float16", update_inputs(2, 4, 3, 3, state=_half("float16", 2, 4, 3, 3)), HALF_STATE),
    _update(
        "half-state-pool",
        update_inputs(3, 4, 2, 3, state=_half("bfloat16", 5, 4, 2, 3), state_indices=_SKIPPING),
        HALF_STATE,
    ),
    _update(
        "half-state-inplace",
        update_inputs(2, 4, 3, 3, state=_half("bfloat16", 2, 4, 3, 3), inplace=True),
        HALF_STATE,
        "full",
    ),
    _update("inplace", update_inputs(2, 4, 3, 3, g=2, inplace=True), IN_PLACE),
    _update("pool", update_inputs(3, 4, 2, 3, g=2, slots=6, state_indices=_SKIPPING), SLOTS),
    _update("pool-permuted", _permuted(inplace=False), SLOTS, first=_SINGLE),
    _update("pool-inplace", _permuted(inplace=True), SLOTS, first=_SINGLE),
    # Where the index of a skipped row is taken as a number, it names what lies in front of the pool.
    _update(
        "pool-inplace-skipping",
        update_inputs(3, 4, 2, 3, slots=6, state_indices=_SKIPPING, inplace=True),
        IN_PLACE,
        dtypes=_SINGLE,
    ),
    _update(
        "pool-idle",
        update_inputs(2, 3, 2, 2, slots=3, state_indices=fixed([-1, -1], dtype="int32")),
        EDGE,
        check="robustness",
        first=_SINGLE,
    ),
    # More rows than slots; slots that are others in 8 bits.
    _update(
        "pool-of-few",
        update_inputs(5, 2, 2, 2, slots=3, state_indices=fixed([2, -1, -1, 0, -1], dtype="int32")),
        SLOTS,
    ),
    _update(
        "pool-large",
        update_inputs(3, 2, 2, 2, slots=300, state_indices=fixed([299, -1, 130], dtype="int32")),
        SLOTS,
    ),
    _update("no-batch", update_inputs(0, 3, 2, 2), EDGE, check="robustness"),
    _update("ones", update_inputs(1, 1, 1, 1), EDGE, check="robustness"),
    _update("decode-width", update_inputs(2, 24, 64, 32), STEP, "full", first=_COMMON),
)
