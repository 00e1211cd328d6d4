"""Four or more along every dimension: each may reach past 32 bits with a stride that is less than that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ssm_conformance.case import Recipe
from ssm_conformance.cases._convolution_step import IN_PLACE, POOL
from ssm_conformance.cases._dual_step import IN_PLACE as DUAL_IN_PLACE
from ssm_conformance.cases._dual_step import SLOTS as DUAL_SLOTS
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import RESET as SSD_RESET
from ssm_conformance.cases._duality import SKIP, ssd_inputs
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import EDGE, OFFSETS, RESET, fixed, scan_inputs, states
from ssm_conformance.cases._short_convolution import RESET as CONVOLUTION_RESET
from ssm_conformance.cases._short_convolution import STEP_OUTPUT, conv_inputs
from ssm_conformance.cases._short_convolution import step_inputs as conv_step_inputs
from ssm_conformance.cases._step import IN_PLACE as STEP_IN_PLACE
from ssm_conformance.cases._step import SLOTS, step_inputs
from ssm_conformance.draw import Draw

Row = tuple[str, str, str, dict[str, Any]]
"""Operator, name, clause, inputs."""

_IDS: Final = fixed([[5, 5, 5, 5], [3, 3, 3, 4], [1, 2, 2, 2], [1, 1, 2, 2]], dtype="int32")
"""No id is zero and the last row has a reset: zeros in place of that row, or of a step, make another call."""
_OFFSETS: Final = fixed([0, 2, 3, 7, 9], dtype="int32")
_SLOTS: Final = fixed([2, 0, 3, 5], dtype="int32")


def _scans() -> Iterator[Row]:
    yield "selective_scan", "fours", EDGE, scan_inputs(4, 4, 4, 4)
    # Kernels are chosen by the number of states; past a block of steps.
    yield "selective_scan", "fours-16-states", EDGE, scan_inputs(4, 4, 33, 16)
    yield "selective_scan", "fours-33-states", EDGE, scan_inputs(4, 4, 33, 33)
    yield "selective_scan", "fours-constant", EDGE, scan_inputs(4, 4, 4, 4, constant="BC")
    # Past four steps, and past eight: so many are over 2³¹ where all are over 2³².
    yield "selective_scan", "fours-complex", EDGE, scan_inputs(4, 4, 7, 4, complex_=True)
    yield "selective_scan", "fours-complex-17", EDGE, scan_inputs(4, 4, 17, 4, complex_=True)
    packed = scan_inputs(4, 4, 4, 4, g_B=4, g_C=4, initial_state=states(4, 4, 4), seq_idx=_IDS)
    yield "selective_scan", "fours-packed", RESET, packed
    offsets = scan_inputs(1, 4, 9, 4, initial_state=states(4, 4, 4), cu_seqlens=_OFFSETS)
    yield "selective_scan", "fours-offsets", OFFSETS, offsets


def _duals() -> Iterator[Row]:
    yield "ssd", "fours", EDGE, ssd_inputs(4, 4, 4, 4, 4)
    dual = ssd_inputs(4, 4, 4, 4, 4, g=4, D=Draw((4, 4)), initial_states=Draw((4, 4, 4, 4)), seq_idx=_IDS)
    yield "ssd", "fours-packed", SSD_RESET, dual
    packed = siso_inputs(4, 4, 4, 4, 8, a=4, g=4, initial=True, seq_idx=_IDS)
    yield "mamba3_siso", "fours-packed", SISO, packed


def _short() -> Iterator[Row]:
    yield "causal_conv1d", "fours", EDGE, conv_inputs(4, 4, 5, 4)
    packed = conv_inputs(4, 4, 4, 4, initial=True, seq_idx=_IDS)
    yield "causal_conv1d", "fours-packed", CONVOLUTION_RESET, packed
    # A state of four; many kernels end at four taps, whose state is of three.
    yield "causal_conv1d", "fours-taps-5", EDGE, conv_inputs(4, 4, 5, 5, initial=True)


def _steps() -> Iterator[Row]:
    op = "selective_state_update"
    yield op, "fours", EDGE, step_inputs(4, 4, 4)
    yield op, "fours-complex", EDGE, step_inputs(4, 4, 4, complex_=True)
    pool = step_inputs(4, 4, 4, g=4, slots=6, state_indices=_SLOTS)
    yield op, "fours-pool", SLOTS, pool
    yield (
        op,
        "fours-inplace",
        STEP_IN_PLACE,
        step_inputs(4, 4, 4, slots=6, state_indices=_SLOTS, inplace=True),
    )
    yield "ssd_update", "fours", SKIP, update_inputs(4, 4, 4, 4, g=4, D=Draw((4, 4)))
    held = update_inputs(4, 4, 4, 4, g=4, slots=6, state_indices=_SLOTS)
    yield "ssd_update", "fours-pool", DUAL_SLOTS, held
    yield "ssd_update", "fours-inplace", DUAL_IN_PLACE, held | {"inplace": True}
    yield "mamba3_siso_step", "fours", SISO, siso_step_inputs(4, 4, 4, 8, a=4, g=4)
    yield "causal_conv1d_update", "fours", STEP_OUTPUT, conv_step_inputs(4, 4, 4)
    yield "causal_conv1d_update", "fours-taps-5", STEP_OUTPUT, conv_step_inputs(4, 4, 5)
    served = conv_step_inputs(4, 4, 4, slots=6, k=4, state_indices=_SLOTS)
    yield "causal_conv1d_update", "fours-pool", POOL, served
    yield "causal_conv1d_update", "fours-inplace", IN_PLACE, served | {"inplace": True}


DISTANCE: Final = tuple(
    Recipe(op, name, inputs, clause, "full", "robustness", dtypes=("float32", "bfloat16"))
    for rows in (_scans(), _duals(), _short(), _steps())
    for op, name, clause, inputs in rows
)
