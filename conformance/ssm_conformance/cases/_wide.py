"""Wider and longer than one tile of any kernel: where the last tile is a part of one."""

from __future__ import annotations

from typing import Any, Final

from ssm_conformance.case import Recipe
from ssm_conformance.cases._convolution_step import POOL
from ssm_conformance.cases._dual_step import SLOTS as DUAL_SLOTS
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import GROUPS as HEADS
from ssm_conformance.cases._duality import ssd_inputs
from ssm_conformance.cases._layers import (
    dplr_inputs,
    h3_inputs,
    lssl_inputs,
    modal_inputs,
    s4d_inputs,
    s5_inputs,
)
from ssm_conformance.cases._linear import (
    BILINEAR,
    CONVOLUTION,
    KERNEL,
    RECURRENCE,
    ZOH,
    diagonal_system,
    system_inputs,
)
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import EDGE, GROUPS, OFFSETS, fixed, scan_inputs, states
from ssm_conformance.cases._short_convolution import OUTPUT, STEP_OUTPUT, conv_inputs
from ssm_conformance.cases._short_convolution import step_inputs as conv_step_inputs
from ssm_conformance.cases._step import SLOTS, step_inputs
from ssm_conformance.draw import Draw


def _convolution(b: int, d: int, l: int, k: int) -> dict[str, Any]:
    return {"u": Draw((b, d, l)), "K": Draw((d, k))}


_MATRICES: Final = {
    "A": Draw((67, 4, 4), "stable_matrix", parameters={"radius": 2.0}),
    "B": Draw((67, 4, 1)),
    "delta": Draw((67,), "log_uniform", parameters={"low": 1e-2, "high": 0.5}),
}
_POOL: Final = fixed([-1 if k % 9 == 4 else (7 * k) % 90 for k in range(67)], dtype="int32")
"""Slots of 67 rows in a pool of 90; every ninth row is skipped."""
_MANY: Final = fixed([*range(50), *range(55, 76)], dtype="int32")
"""Offsets of 70 sequences."""
_DISCRETISATIONS: Final = (("discretize_zoh", ZOH), ("discretize_bilinear", BILINEAR))
_ROWS: Final[tuple[tuple[str, str, str, dict[str, Any]], ...]] = (
    # Groups that end inside a tile of channels, and more groups than one tile has.
    ("selective_scan", "groups-of-65", GROUPS, scan_inputs(2, 130, 5, 3, g_B=2, g_C=65)),
    ("selective_scan", "rows-257", EDGE, scan_inputs(257, 2, 3, 2)),
    ("selective_scan", "states-257", EDGE, scan_inputs(1, 3, 5, 257)),
    ("selective_scan", "longer-complex", EDGE, scan_inputs(1, 2, 2053, 2, complex_=True, g_B=2)),
    (
        "selective_scan",
        "longer-zoh",
        EDGE,
        scan_inputs(1, 2, 2053, 2, constant="BC", b_discretization="zoh"),
    ),
    (
        "selective_scan",
        "longer-offsets",
        EDGE,
        scan_inputs(1, 2, 2054, 2, cu_seqlens=fixed([0, 1030, 2054], dtype="int32")),
    ),
    *(
        ("selective_state_update", f"states-{n}", EDGE, step_inputs(2, 3, n))
        for n in (15, 17, 33, 64, 65, 129, 257)
    ),
    ("selective_state_update", "rows-129", EDGE, step_inputs(129, 2, 2)),
    ("selective_state_update", "groups-of-65", GROUPS, step_inputs(2, 130, 3, g=2)),
    ("ssd", "groups-of-5", EDGE, ssd_inputs(1, 70, 10, 3, 65, g=2)),
    ("ssd", "states-129", EDGE, ssd_inputs(1, 7, 2, 2, 129)),
    ("ssd", "widths-129", EDGE, ssd_inputs(1, 7, 2, 129, 2)),
    ("ssd_update", "rows-65", EDGE, update_inputs(65, 2, 2, 3)),
    ("ssd_update", "states-129", EDGE, update_inputs(2, 4, 65, 129, g=2)),
    # Groups, packed sequences, rows of a pool and taps past a block.
    (
        "selective_scan",
        "sequences-70",
        OFFSETS,
        scan_inputs(1, 3, 75, 2, initial_state=states(70, 3, 2), cu_seqlens=_MANY),
    ),
    ("selective_state_update", "groups-67", GROUPS, step_inputs(2, 134, 3, g=67)),
    ("ssd", "groups-67", HEADS, ssd_inputs(1, 5, 134, 1, 3, g=67)),
    ("ssd_update", "groups-67", HEADS, update_inputs(2, 134, 1, 3, g=67)),
    (
        "selective_state_update",
        "pool-67",
        SLOTS,
        step_inputs(67, 2, 3, slots=90, state_indices=_POOL),
    ),
    ("ssd_update", "pool-67", DUAL_SLOTS, update_inputs(67, 2, 2, 3, slots=90, state_indices=_POOL)),
    (
        "causal_conv1d_update",
        "pool-67",
        POOL,
        conv_step_inputs(67, 2, 4, slots=90, state_indices=_POOL),
    ),
    ("causal_conv1d", "taps-67", OUTPUT, conv_inputs(2, 3, 90, 67, initial=True)),
    ("causal_conv1d_update", "taps-67", STEP_OUTPUT, conv_step_inputs(2, 3, 67)),
    ("mamba3_siso", "layer", EDGE, siso_inputs(1, 70, 4, 33, 66, a=16, g=2)),
    ("causal_conv1d", "widths-129", EDGE, conv_inputs(3, 129, 66, 4, initial=True)),
    ("causal_conv1d", "rows-65", EDGE, conv_inputs(65, 2, 5, 4)),
    ("causal_convolution", "widths-67", CONVOLUTION, _convolution(33, 67, 9, 9)),
    ("causal_convolution", "longer-than-its-kernel", CONVOLUTION, _convolution(1, 2, 1500, 700)),
    ("causal_convolution", "shorter-than-its-kernel", CONVOLUTION, _convolution(1, 2, 300, 1500)),
    ("ssm_recurrence", "dense-long", RECURRENCE, system_inputs(n=5) | {"u": Draw((1, 1, 517))}),
    ("ssm_recurrence", "states-65", RECURRENCE, system_inputs(n=65, m=2, p=3) | {"u": Draw((3, 2, 19))}),
    ("ssm_recurrence", "systems-67", RECURRENCE, diagonal_system(67, n=3) | {"u": Draw((5, 67, 1, 9))}),
    ("s4d", "widths-67", EDGE, s4d_inputs(3, 67, 19, 65, True)),
    ("s5", "widths-33", EDGE, s5_inputs(3, 33, 9, 17, True)),
    ("lssl", "widths-33", EDGE, lssl_inputs(3, 33, 19, 17, 5)),
    ("h3", "widths-70", EDGE, h3_inputs(3, 70, 19, 35, 17, True)),
    # Rows past a block, in calls that have few of everything else.
    ("causal_convolution", "rows-67", CONVOLUTION, _convolution(67, 2, 5, 5)),
    ("ssm_recurrence", "rows-67", RECURRENCE, diagonal_system(2, n=3) | {"u": Draw((67, 2, 1, 5))}),
    ("s4d", "rows-67", EDGE, s4d_inputs(67, 2, 5, 2, True)),
    ("s5", "rows-67", EDGE, s5_inputs(67, 2, 5, 2, True)),
    ("lssl", "rows-67", EDGE, lssl_inputs(67, 2, 5, 2, 1)),
    ("h3", "rows-67", EDGE, h3_inputs(67, 2, 5, 2, 2, True)),
    # States and modes past a block.
    (
        "ssm_recurrence",
        "modes-67",
        RECURRENCE,
        diagonal_system(2, n=67, complex_=True) | {"u": Draw((1, 2, 1, 9))},
    ),
    ("ssm_kernel", "modes-67", KERNEL, diagonal_system(2, n=67, complex_=True) | {"length": 9}),
    ("s4d_kernel", "modes-67", EDGE, modal_inputs(2, 67, True, length=5)),
    ("s4_kernel", "states-65", EDGE, dplr_inputs(1, 65, True, 5)),
    ("lssl", "states-67", EDGE, lssl_inputs(1, 2, 9, 67, 2)),
    ("h3", "modes-67", EDGE, h3_inputs(1, 2, 9, 2, 67, True)),
    # Full matrices past a block, and inputs and outputs of one system.
    *((op, "matrices-67", clause, _MATRICES) for op, clause in _DISCRETISATIONS),
    ("ssm_recurrence", "matrices-67", RECURRENCE, system_inputs(67, n=4) | {"u": Draw((1, 67, 1, 70))}),
    ("ssm_kernel", "matrices-67", KERNEL, system_inputs(67, n=4) | {"length": 19}),
    (
        "ssm_recurrence",
        "inputs-70",
        RECURRENCE,
        diagonal_system(n=8, m=70, p=66, complex_=True) | {"u": Draw((1, 70, 20)), "D": Draw((66, 70))},
    ),
    ("ssm_kernel", "inputs-70", KERNEL, diagonal_system(n=8, m=70, p=66, complex_=True) | {"length": 7}),
    ("mamba3_siso", "widths-129", EDGE, siso_inputs(1, 20, 2, 129, 16, a=8)),
    ("mamba3_siso_step", "widths-129", EDGE, siso_step_inputs(2, 2, 129, 16, a=8)),
)
_RETURNS: Final = ("ssm_recurrence", "s4d", "s5", "lssl")
"""Operators whose last state is asked for here."""

WIDE: Final = tuple(
    Recipe(
        op,
        name,
        inputs | ({"return_last_state": True} if op in _RETURNS else {}),
        clause,
        "full",
        "robustness",
        dtypes=("float32",),
    )
    for op, name, clause, inputs in _ROWS
)
