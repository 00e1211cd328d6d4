"""Inputs of the selective scan's single step: what each recipe is there to catch stands beside it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._selective import (
    COMPLEX,
    EDGE,
    GROUPS,
    MIXED,
    SOFTPLUS,
    STATE,
    WIDER,
    ZOH,
    fixed,
    modes,
    small_step,
    states,
    wider,
)
from ssm_conformance.draw import Draw

SLOTS: Final = "step-2: state_indices: −1 skips a row, its y is 0; other slots stay bitwise the same"
IN_PLACE: Final = "step-3: with `inplace` the new state is written into `state`"
HALF_STATE: Final = "step-4: the new state keeps the state's dtype; in 16 bits it is rounded once"


def step_inputs(
    b: int,
    d: int,
    n: int,
    *,
    g: int | None = None,
    complex_: bool = False,
    gate: bool = True,
    softplus: bool = True,
    slots: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One decode step of a Mamba layer."""
    shape = (b, n) if g is None else (b, g, n)
    inputs: dict[str, Any] = {
        "state": states(b if slots is None else slots, d, n, complex_),
        "u": Draw((b, d)),
        "delta": Draw((b, d), parameters={"scale": 0.5})
        if softplus
        else Draw((b, d), "log_uniform", parameters={"low": 1e-3, "high": 0.3}),
        "A": Draw((d, n), "s4d_lin" if complex_ else "s4d_real", complex=complex_),
        "B": Draw(shape, complex=complex_),
        "C": Draw(shape, complex=complex_),
        "D": Draw((d,)),
    }
    if gate:
        inputs["z"] = Draw((b, d))
    if softplus:
        bias = {"low": 1e-3, "high": 0.1}
        inputs |= {"delta_bias": Draw((d,), "inverse_softplus", parameters=bias), "delta_softplus": True}
    return inputs | more


def _half(shape: tuple[int, ...], dtype: str) -> Draw:
    """A state in 16 bits."""
    return Draw(shape, dtype=dtype)


def _step(name: str, inputs: dict[str, Any], clause: str, level: Level = "quick", **more: Any) -> Recipe:
    return Recipe("selective_state_update", name, inputs, clause, level, **more)


STEP: Final = (
    _step("typical", step_inputs(3, 6, 4), STATE, "smoke"),
    _step("plain", step_inputs(2, 5, 3, gate=False, softplus=False), STATE),
    _step("groups", step_inputs(2, 6, 3, g=3), GROUPS),
    _step("group-a-channel", step_inputs(2, 5, 3, g=5), GROUPS),
    _step("complex", step_inputs(2, 4, 3, complex_=True), COMPLEX),
    _step("complex-real-C", step_inputs(2, 3, 2, complex_=True) | {"C": Draw((2, 2))}, COMPLEX),
    _step(
        "complex-real-B",
        step_inputs(2, 3, 2, complex_=True) | {"B": Draw((2, 2))},
        COMPLEX,
        dtypes=("float32",),
    ),
    _step("complex-modes", step_inputs(2, 3, 2, complex_=True) | {"A": modes(3, 2)}, COMPLEX),
    _step("mixed", wider(step_inputs(2, 4, 3), *WIDER), MIXED, dtypes=HALF),
    _step("zoh", step_inputs(2, 4, 3, b_discretization="zoh"), ZOH),
    # A state in 16 bits is rounded once, on its way out: the step itself goes on in the compute type.
    _step("half-state", step_inputs(2, 4, 3, state=_half((2, 4, 3), "bfloat16")), HALF_STATE),
    _step("half-state-float16", step_inputs(2, 4, 3, state=_half((2, 4, 3), "float16")), HALF_STATE),
    _step(
        "half-state-pool",
        step_inputs(
            3, 4, 2, state=_half((5, 4, 2), "bfloat16"), state_indices=fixed([3, -1, 0], dtype="int32")
        ),
        HALF_STATE,
    ),
    _step(
        "pool",
        step_inputs(3, 4, 2, slots=6, state_indices=fixed([4, -1, 0], dtype="int32")),
        SLOTS,
    ),
    _step(
        "softplus-far",
        step_inputs(9, 4, 2)
        | {
            "delta": fixed(
                [[v] for v in (-1e4, -88.0, -20.0, -17.0, 0.0, 17.0, 20.0, 88.0, -np.inf)], (9, 4)
            ),
            "A": Draw((4, 2), "log_uniform", parameters={"low": 1e-4, "high": 2.0, "sign": -1.0}),
        },
        SOFTPLUS,
        check="extreme",
    ),
    _step(
        "softplus-small",
        step_inputs(3, 4, 2, gate=False)
        | {"delta": small_step((3, 4)), "state": fixed(0.0, (3, 4, 2)), "D": fixed(0.0, (4,))},
        SOFTPLUS,
        check="extreme",
    ),
    _step("small", step_inputs(2, 2, 2), EDGE, check="robustness", first=("float32",)),
    _step(
        "small-pool",
        step_inputs(2, 2, 2, slots=3, state_indices=fixed([2, 1], dtype="int32")),
        EDGE,
        check="robustness",
        dtypes=("float32",),
    ),
    _step(
        "inplace",
        step_inputs(2, 4, 3, inplace=True),
        IN_PLACE,
    ),
    _step(
        "half-state-inplace",
        step_inputs(2, 4, 3, state=_half((2, 4, 3), "bfloat16"), inplace=True),
        HALF_STATE,
        "full",
    ),
    # Where the index of a skipped row is taken as a number, it names what lies in front of the pool.
    _step(
        "pool-inplace-skipping",
        step_inputs(3, 4, 2, slots=6, state_indices=fixed([4, -1, 0], dtype="int32"), inplace=True),
        IN_PLACE,
        dtypes=("float32",),
    ),
    _step("no-batch", step_inputs(0, 3, 2), EDGE, check="robustness"),
    _step("ones", step_inputs(1, 1, 1), EDGE, check="robustness"),
    _step("decode-width", step_inputs(4, 1536, 16), STATE, "full"),
)
