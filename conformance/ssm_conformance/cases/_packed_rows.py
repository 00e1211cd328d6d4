"""Packed sequences in many rows, each with boundaries of its own, and boundaries one step off a block."""

from __future__ import annotations

from typing import Any, Final

from ssm_conformance.case import Recipe
from ssm_conformance.cases._duality import RESET as SSD_RESET
from ssm_conformance.cases._duality import ssd_inputs
from ssm_conformance.cases._mamba3 import VALUE as SISO_VALUE
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._selective import OFFSETS, RESET, fixed, scan_inputs, states
from ssm_conformance.cases._short_convolution import RESET as CONVOLUTION_RESET
from ssm_conformance.cases._short_convolution import conv_inputs
from ssm_conformance.draw import Draw

_SINGLE: Final = ("float32",)
_DECAYS: Final = {"low": 0.05, "high": 0.3, "sign": -1.0}
"""Rates of which something is left after many steps."""
_SLOW: Final = {"A": Draw((2, 2), "log_uniform", parameters=_DECAYS)}
_SLOW_HEADS: Final = {"A": Draw((2,), "log_uniform", parameters=_DECAYS)}
_SLOW_STEPS: Final = {
    "adt": Draw((8, 2, 520), "log_uniform", parameters={"low": 1e-4, "high": 1e-2, "sign": -1.0})
}
_BOUNDARIES: Final = ((), (255,), (256,), (257,), (127, 383), (63, 511), (31, 512), (129, 513))
"""Where sequences begin in eight rows: at a block of any size up to 512, a step before it, a step after it.

In blocks of up to 256 the boundary is the only one, so that nothing but that one step tells the two
sequences apart.
"""


def _ids(l: int, boundaries: tuple[tuple[int, ...], ...]) -> Draw:
    """The ids of rows in which sequences begin at these steps; neighbouring rows have no id in common."""
    rows = [[10 * row + sum(t >= start for start in starts) for t in range(l)] for row, starts in
            enumerate(boundaries)]  # fmt: skip
    return fixed(rows, dtype="int32")


_AROUND: Final = _ids(520, _BOUNDARIES)
_ROWS: Final = _ids(6, tuple((1 + row % 5,) if row % 6 else () for row in range(67)))
"""More rows than a block has, whose boundaries are those of no other row of the same place in a warp."""
_OFFSETS: Final = fixed([0, 127, 257, 383, 511, 513, 513, 513, 513, 640], dtype="int32")
"""Sequences that begin and end beside blocks, and more than two empty ones after each other."""

_AT_BLOCKS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("selective_scan", RESET, scan_inputs(8, 2, 520, 2, initial_state=states(8, 2, 2)) | _SLOW),
    ("ssd", SSD_RESET, ssd_inputs(8, 520, 2, 2, 2, initial_states=Draw((8, 2, 2, 2))) | _SLOW_HEADS),
    ("mamba3_siso", SISO_VALUE, siso_inputs(8, 520, 2, 2, 2, initial=True) | _SLOW_STEPS),
    ("causal_conv1d", CONVOLUTION_RESET, conv_inputs(8, 2, 520, 4, initial=True)),
)
_MANY: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("selective_scan", RESET, scan_inputs(67, 2, 6, 2, initial_state=states(67, 2, 2))),
    ("ssd", SSD_RESET, ssd_inputs(67, 6, 2, 2, 2, initial_states=Draw((67, 2, 2, 2)))),
    ("mamba3_siso", SISO_VALUE, siso_inputs(67, 6, 2, 2, 2, initial=True)),
    ("causal_conv1d", CONVOLUTION_RESET, conv_inputs(67, 2, 6, 4, initial=True)),
)

PACKED_ROWS: Final = (
    *(
        Recipe(op, f"packed-{name}", inputs | {"seq_idx": ids}, clause, "full", dtypes=_SINGLE)
        for name, ids, calls in (("around-blocks", _AROUND, _AT_BLOCKS), ("rows-67", _ROWS, _MANY))
        for op, clause, inputs in calls
    ),
    Recipe(
        "selective_scan",
        "offsets-around-blocks",
        scan_inputs(1, 2, 640, 2, initial_state=states(9, 2, 2), cu_seqlens=_OFFSETS) | _SLOW,
        OFFSETS,
        "full",
        dtypes=_SINGLE,
    ),
)
