"""What float16 alone has: results beyond 65504, and subnormal numbers, which no machine flushes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ssm_conformance.case import Recipe
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import VALUE as SSD
from ssm_conformance.cases._duality import ssd_inputs
from ssm_conformance.cases._layers import (
    H3,
    LSSL,
    S4D,
    S5,
    h3_inputs,
    lssl_inputs,
    s4d_inputs,
    s5_inputs,
)
from ssm_conformance.cases._linear import CONVOLUTION, RECURRENCE, diagonal_system
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import OUTPUT, fixed, scan_inputs
from ssm_conformance.cases._short_convolution import OUTPUT as FILTER
from ssm_conformance.cases._short_convolution import STEP_OUTPUT as FILTER_STEP
from ssm_conformance.cases._short_convolution import conv_inputs
from ssm_conformance.cases._short_convolution import step_inputs as conv_step_inputs
from ssm_conformance.cases._step import step_inputs
from ssm_conformance.draw import Draw

LARGE: Final = 1e4
"""Some outputs of such an input, times the gain of the call, lie beyond 65504, and some do not."""
SMALL: Final = 2.0**-18
"""Subnormal in float16, as what is linear in it and no larger."""
Row = tuple[str, str, str, dict[str, Any]]
"""Operator, the input in which it is linear, clause, a call without a state or a bias of its own."""


def _rows(gain: float) -> Iterator[Row]:
    """Every operator that streams; `gain` is of the feedthrough, or of the filter."""

    def constant(*shape: int) -> Draw:
        return fixed(gain, shape)

    def drawn(*shape: int) -> Draw:
        return Draw(shape, parameters={"scale": gain})

    yield "selective_scan", "u", OUTPUT, scan_inputs(1, 3, 25, 3, gate=False) | {"D": constant(3)}
    step = step_inputs(3, 4, 2, gate=False, state=fixed(0.0, (3, 4, 2)), D=constant(4))
    yield "selective_state_update", "u", OUTPUT, step
    no_bias = {"bias": fixed(0.0, (4,))}
    yield "causal_conv1d", "x", FILTER, conv_inputs(2, 4, 11, 4, weight=drawn(4, 4)) | no_bias
    step = conv_step_inputs(5, 4, 4, weight=drawn(4, 4), state=fixed(0.0, (5, 4, 3))) | no_bias
    yield "causal_conv1d_update", "x", FILTER_STEP, step
    yield "ssd", "x", SSD, ssd_inputs(1, 13, 3, 2, 3, gate=False, D=constant(3))
    step = update_inputs(3, 4, 2, 2, gate=False, state=fixed(0.0, (3, 4, 2, 2)), D=constant(4))
    yield "ssd_update", "x", SSD, step
    siso = siso_inputs(1, 13, 3, 2, 4, bare=True, D=constant(3))
    yield "mamba3_siso", "v", SISO, siso
    empty = {
        name: fixed(0.0, shape)
        for name, shape in (("ssm_state", (3, 4, 2, 4)), ("k_state", (3, 4, 4)), ("v_state", (3, 4, 2)))
    }
    step = siso_step_inputs(3, 4, 2, 4, bare=True, D=constant(4)) | empty
    yield "mamba3_siso_step", "v", SISO, step
    system = diagonal_system(3, n=4) | {"u": Draw((2, 3, 1, 13)), "D": constant(3, 1, 1)}
    yield "ssm_recurrence", "u", RECURRENCE, system
    yield "causal_convolution", "u", CONVOLUTION, {"u": Draw((2, 3, 17)), "K": drawn(3, 5)}
    yield "s4d", "u", S4D, s4d_inputs(2, 3, 13, 4, False) | {"D": constant(3)}
    yield "s5", "u", S5, s5_inputs(2, 3, 13, 4, False) | {"D": constant(3)}
    yield "lssl", "u", LSSL, lssl_inputs(2, 2, 13, 3, 1) | {"D": constant(2, 1)}
    yield "h3", "v", H3, h3_inputs(2, 4, 13, 2, 3, False, D=constant(2))


def _scaled(row: Row, name: str, scale: float) -> Recipe:
    op, linear, clause, inputs = row
    scaled = replace(inputs[linear], parameters={"scale": scale})
    return Recipe(op, name, inputs | {linear: scaled}, clause, "quick", "extreme", dtypes=("float16",))


FLOAT16: Final = (
    *(_scaled(row, "beyond-float16", LARGE) for row in _rows(8.0)),
    *(_scaled(row, "subnormal-float16", SMALL) for row in _rows(1.0)),
)
