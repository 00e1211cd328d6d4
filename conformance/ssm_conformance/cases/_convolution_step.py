"""Inputs of the short convolution's step as an engine takes it: pools, in place, longer states, 16 bits."""

from __future__ import annotations

from typing import Any, Final

from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._selective import fixed
from ssm_conformance.cases._short_convolution import EDGE, STEP_OUTPUT, step_inputs
from ssm_conformance.draw import Draw

LONGER: Final = "conv1d-step-2: a state holds k ≥ w − 1 inputs; all shift by one, the newest w − 1 are read"
POOL: Final = "conv1d-step-3: −1 skips a row, its y is 0; other slots stay bitwise the same"
IN_PLACE: Final = "conv1d-step-4: with `inplace` the new state is written into `state`"
HALF_STATE: Final = "conv1d-step-5: what a state holds keeps its bits; into 16 bits x is rounded once"
_SINGLE: Final = ("float32",)
_ENTERING: Final = (1e5, -7e4, 65519.0, 3e-6, -1e-9, 1 + 3 * 2.0**-12, -1 - 3 * 2.0**-9, 1 + 2.0**-8)
"""Beyond float16, just within, subnormal there, nothing there; what truncation cuts, in either type of 16
bits; halfway between two numbers of bfloat16."""


def pooled(b: int, d: int, w: int, slots: int, indices: list[int], **more: Any) -> dict[str, Any]:
    """A step whose states are slots of a pool, of int32 unless other indices are given."""
    return step_inputs(b, d, w, slots=slots, state_indices=fixed(indices, dtype="int32"), **more)


def _half(*shape: int, dtype: str = "bfloat16") -> Draw:
    """A state in 16 bits."""
    return Draw(shape, dtype=dtype)


def _step(name: str, inputs: dict[str, Any], clause: str, level: Level = "quick", **more: Any) -> Recipe:
    return Recipe("causal_conv1d_update", name, inputs, clause, level, **more)


_SEVERAL: Final = pooled(3, 4, 4, 6, [4, -1, 0])
_PERMUTED: Final = fixed([5, 0, 3, 1], dtype="int64")
_SERVED: Final = {"state": _half(6, 4, 5), "inplace": True}
"""As an engine keeps it: a pool in 16 bits, of one input more than the filter has taps, written in place."""

ENGINE: Final = (
    _step("longer", step_inputs(3, 5, 4, k=4), LONGER),
    _step("much-longer", step_inputs(2, 3, 3, k=9), LONGER),
    _step("longer-one-tap", step_inputs(2, 3, 1, k=3), LONGER, check="robustness", first=_SINGLE),
    _step("pool", _SEVERAL, POOL),
    _step("pool-permuted", step_inputs(4, 3, 4, slots=6, state_indices=_PERMUTED), POOL, first=_SINGLE),
    _step("pool-of-few", pooled(5, 2, 4, 3, [2, -1, -1, 0, -1]), POOL, dtypes=_SINGLE),
    _step("pool-large", pooled(3, 2, 4, 300, [299, -1, 130]), POOL, dtypes=_SINGLE),
    _step("pool-longer", pooled(3, 4, 4, 6, [4, -1, 0], k=6), LONGER),
    _step(
        "pool-inplace",
        step_inputs(4, 3, 4, slots=6, inplace=True, state_indices=_PERMUTED),
        IN_PLACE,
        first=_SINGLE,
    ),
    _step("pool-inplace-skipping", _SEVERAL | {"inplace": True}, IN_PLACE, dtypes=_SINGLE),
    _step("pool-one-tap", pooled(3, 4, 1, 6, [4, -1, 0]), EDGE, check="robustness", dtypes=_SINGLE),
    _step("pool-idle", pooled(2, 3, 4, 3, [-1, -1]), EDGE, check="robustness", first=_SINGLE),
    _step("small-pool", pooled(2, 2, 4, 3, [2, 1]), EDGE, check="robustness", dtypes=_SINGLE),
    _step("inplace", step_inputs(2, 4, 4, inplace=True), IN_PLACE),
    _step("inplace-longer", step_inputs(2, 4, 3, k=6, inplace=True), IN_PLACE),
    # What is kept in 16 bits is not computed in 16 bits: y reads x itself, not what becomes of it.
    _step("half-state", step_inputs(2, 4, 4, state=_half(2, 4, 3)), HALF_STATE),
    _step("half-state-float16", step_inputs(2, 4, 4, state=_half(2, 4, 3, dtype="float16")), HALF_STATE),
    _step("half-state-inplace", step_inputs(2, 4, 4, state=_half(2, 4, 3), inplace=True), HALF_STATE, "full"),
    _step("half-state-pool", pooled(3, 4, 4, 6, [3, -1, 0], state=_half(6, 4, 3)), HALF_STATE),
    _step("served", pooled(3, 4, 4, 6, [3, -1, 0], **_SERVED), HALF_STATE),
    *(
        _step(
            f"half-state-far-{dtype}",
            step_inputs(8, 3, 2, k=2, state=Draw((8, 3, 2), dtype=dtype, parameters={"scale": 2.0**-18}))
            | {"x": fixed([[value] for value in _ENTERING], (8, 3))},
            HALF_STATE,
            check="extreme",
            dtypes=_SINGLE,
        )
        for dtype in ("float16", "bfloat16")
    ),
    # Just beside the middle of two numbers of 16 bits, and float32 in between has only the middle.
    *(
        _step(
            f"half-state-beside-a-middle-{dtype}",
            step_inputs(3, 2, 2, k=2, state=Draw((3, 2, 2), dtype=dtype))
            | {"x": fixed([[middle + 2.0**-40], [middle - 2.0**-40], [-middle - 2.0**-40]], (3, 2))},
            HALF_STATE,
            check="extreme",
            dtypes=("float64",),
        )
        for dtype, middle in (("float16", 1 + 2.0**-11), ("bfloat16", 1 + 2.0**-8))
    ),
    _step(
        "layer-pool",
        pooled(5, 72, 4, 40, [33, -1, 39, 0, 17], k=4),
        STEP_OUTPUT,
        dtypes=("float32", "bfloat16"),
    ),
)
