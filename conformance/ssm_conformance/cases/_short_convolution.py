"""Inputs of the short causal convolution and of its step."""

from __future__ import annotations

from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Check, Level, Recipe
from ssm_conformance.cases._selective import MIXED, fixed, wider
from ssm_conformance.draw import Draw

OUTPUT: Final = "conv1d-5: y_t = bias + Σ_j w_j x_{t−w+1+j}, depthwise, then silu"
INITIAL: Final = "conv1d-1: left of t = 0 stands initial_state, newest last"
RESET: Final = "conv1d-2: nothing from before a change of seq_idx is read after it"
LAST: Final = "conv1d-3: the last state holds the last w − 1 inputs, zeros where the sequence is younger"
EDGE: Final = "conv1d-4: w = 1 has an empty state; l = 0 returns the initial state"
STEP_OUTPUT: Final = "conv1d-step-1: l steps equal one causal_conv1d of length l, its last state included"
WIDER: Final = ("weight", "bias")
"""The parameters that may be in float32 where x is in 16 bits."""


def conv_inputs(b: int, d: int, l: int, w: int, *, initial: bool = False, **more: Any) -> dict[str, Any]:
    """A call like a Mamba layer's; keywords add or replace."""
    inputs: dict[str, Any] = {
        "x": Draw((b, d, l)),
        "weight": Draw((d, w)),
        "bias": Draw((d,)),
        "activation": "silu",
        "return_last_state": True,
    }
    if initial:
        inputs["initial_state"] = Draw((b, d, w - 1))
    return inputs | more


def _plain(b: int, d: int, l: int, w: int) -> dict[str, Any]:
    return {"x": Draw((b, d, l)), "weight": Draw((d, w)), "return_last_state": True}


_PACKED: Final = fixed([[0] * 9 + [1] * 1 + [0] * 6 + [7] * 7, [3] * 21 + [2] * 2], dtype="int32")
"""A sequence of length one; an id that comes back; a last one that is shorter than the filter."""
_LATE: Final = fixed([[5] * 511 + [0] * 512 + [1] * 2 + [2] * 76], dtype="int32")
"""Resets beside 512 and 1024 steps, where a kernel's blocks are likely to end."""

_ROWS: Final[tuple[tuple[str, Level, Check, str, dict[str, Any]], ...]] = (
    ("typical", "smoke", "value", OUTPUT, conv_inputs(2, 5, 23, 4)),
    ("plain", "smoke", "value", OUTPUT, _plain(2, 3, 17, 4)),
    ("swish", "quick", "value", OUTPUT, conv_inputs(1, 3, 11, 3, activation="swish")),
    ("initial", "smoke", "value", INITIAL, conv_inputs(2, 3, 13, 4, initial=True)),
    ("packed", "smoke", "value", RESET, conv_inputs(2, 3, 23, 4, initial=True, seq_idx=_PACKED)),
    ("shorter-than-the-filter", "quick", "value", LAST, conv_inputs(2, 3, 2, 5, initial=True)),
    ("wide-filter", "quick", "value", OUTPUT, conv_inputs(1, 3, 40, 31)),
    ("text", "quick", "value", OUTPUT, conv_inputs(1, 4, 200, 4, x=Draw((1, 4, 200), "text"))),
    ("long", "full", "value", OUTPUT, conv_inputs(1, 3, 2053, 4)),
    ("long-with-resets", "full", "value", RESET, conv_inputs(1, 2, 1101, 4, initial=True, seq_idx=_LATE)),
    ("one-tap", "quick", "robustness", EDGE, conv_inputs(2, 3, 7, 1)),
    ("empty", "quick", "robustness", EDGE, conv_inputs(2, 3, 0, 4, initial=True)),
    ("single", "quick", "robustness", EDGE, conv_inputs(2, 3, 1, 4)),
    ("no-batch", "quick", "robustness", EDGE, conv_inputs(0, 3, 5, 4)),
    (
        "far-from-zero",
        "quick",
        "extreme",
        OUTPUT,
        conv_inputs(1, 3, 33, 4, x=Draw((1, 3, 33), parameters={"scale": 40.0})),
    ),
)
SHORT_CONVOLUTION: Final = (
    *(
        Recipe("causal_conv1d", name, inputs, clause, level, check)
        for name, level, check, clause, inputs in _ROWS
    ),
    Recipe("causal_conv1d", "mixed", wider(conv_inputs(2, 3, 13, 4), *WIDER), MIXED, dtypes=HALF),
)


def step_inputs(
    b: int, d: int, w: int, *, k: int | None = None, slots: int | None = None, **more: Any
) -> dict[str, Any]:
    """One decode step of a Mamba layer; k inputs that a state holds, w − 1 if they are not given."""
    return {
        "x": Draw((b, d)),
        "state": Draw((b if slots is None else slots, d, w - 1 if k is None else k)),
        "weight": Draw((d, w)),
        "bias": Draw((d,)),
        "activation": "silu",
    } | more


_STEP_ROWS: Final[tuple[tuple[str, Level, Check, dict[str, Any]], ...]] = (
    ("typical", "smoke", "value", step_inputs(3, 5, 4)),
    (
        "plain",
        "quick",
        "value",
        {"x": Draw((2, 3)), "state": Draw((2, 3, 3)), "weight": Draw((3, 4))},
    ),
    ("one-tap", "quick", "robustness", step_inputs(2, 3, 1)),
    ("no-batch", "quick", "robustness", step_inputs(0, 3, 4)),
    ("decode-width", "full", "value", step_inputs(4, 1536, 4)),
)
SHORT_CONVOLUTION_STEP: Final = (
    *(
        Recipe("causal_conv1d_update", name, inputs, STEP_OUTPUT, level, check)
        for name, level, check, inputs in _STEP_ROWS
    ),
    Recipe("causal_conv1d_update", "mixed", wider(step_inputs(3, 4, 4), *WIDER), MIXED, dtypes=HALF),
)
