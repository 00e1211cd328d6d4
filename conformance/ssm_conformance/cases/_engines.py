"""What is asked of steps as engines call them: pools of any kind, states in place and longer, copied bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases import _convolution_step
from ssm_conformance.cases._ask import COMMON, SINGLE, Ask, Names
from ssm_conformance.cases._convolution_step import LONGER, pooled
from ssm_conformance.cases._dual_step import SLOTS as DUAL_SLOTS
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._invariances import APART
from ssm_conformance.cases._selective import fixed
from ssm_conformance.cases._short_convolution import step_inputs as conv_step_inputs
from ssm_conformance.cases._step import SLOTS, step_inputs

KEPT: Final = "step-2: slots that no row names stay bitwise the same"
DUAL_KEPT: Final = "ssd-step-2: slots that no row names stay bitwise the same"
CONVOLUTION_KEPT: Final = "conv1d-step-5: what a state holds from before keeps its bits, and x is copied"
_SKIPPING: Final = {"state_indices": fixed([3, -1, 0], dtype="int64")}
"""Compared as int32, −1 of int64 is another number."""
_MANY: Final = {"slots": 70000, "state_indices": fixed([69999, -1, 32769, 5], dtype="int32")}
"""Slots that are others in 16 bits, with a sign and without."""


def _pools() -> Iterator[tuple[str, dict[str, Any]]]:
    """Pools of each operator; the convolution's arguments beyond the sizes are its own."""
    yield "pool-int64", {"slots": 5, **_SKIPPING}
    yield "pool-int64-inplace", {"slots": 5, **_SKIPPING, "inplace": True}
    yield "pool-of-many", _MANY


def _recipes() -> Iterator[Recipe]:
    for name, given in _pools():
        b = given["state_indices"].shape[0]
        level: Level = "full" if name == "pool-of-many" else "quick"
        step, conv = step_inputs(b, 2, 2, **given), conv_step_inputs(b, 2, 3, **given)
        yield Recipe("selective_state_update", name, step, SLOTS, level, dtypes=SINGLE)
        yield Recipe("ssd_update", name, update_inputs(b, 2, 2, 2, **given), DUAL_SLOTS, level, dtypes=SINGLE)
        yield Recipe("causal_conv1d_update", name, conv, _convolution_step.POOL, level, dtypes=SINGLE)
    longest = {
        "longest": conv_step_inputs(2, 3, 4, k=200),
        "pool-longest": pooled(3, 2, 3, 5, [3, -1, 0], k=70),
    }
    for name, inputs in longest.items():
        yield Recipe("causal_conv1d_update", name, inputs, LONGER, "full", dtypes=SINGLE)


ENGINES: Final = tuple(_recipes())
_POOLS: Final = ("pool", "pool-inplace-skipping", "half-state-pool")
IN_PLACE: Final[Names] = {
    **dict.fromkeys(("selective_state_update", "ssd_update"), ("inplace", "pool-inplace-skipping")),
    "causal_conv1d_update": ("inplace", "pool-inplace-skipping", "served"),
}


def engines() -> Iterator[Ask]:
    """What is handed on, bit by bit; and one gradient, or one cotangent, of states that are written."""
    kept: tuple[tuple[str, Names], ...] = (
        (KEPT, {"selective_state_update": _POOLS}),
        (DUAL_KEPT, {"ssd_update": _POOLS}),
        (
            CONVOLUTION_KEPT,
            {"causal_conv1d_update": (*_POOLS, "typical", "longer", "served", "longest", "half-state")},
        ),
    )
    for clause, of in kept:
        yield Ask(
            check="property",
            method="bits_kept",
            variant="bits-kept",
            clause=clause,
            of=of,
            first=COMMON,
        )
    yield Ask(
        check="gradient",
        method="gradients_apart",
        variant="apart",
        clause=APART,
        of=IN_PLACE,
        level="full",
        dtypes=SINGLE,
    )
