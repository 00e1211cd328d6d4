"""Packed sequences of every kind: ids of any sign and size, many sequences in a call, and long ones."""

from __future__ import annotations

from typing import Any, Final

from ssm_conformance.case import Recipe
from ssm_conformance.cases._duality import RESET as SSD_RESET
from ssm_conformance.cases._duality import ssd_inputs
from ssm_conformance.cases._mamba3 import VALUE as SISO_VALUE
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._selective import EDGE, OFFSETS, RESET, fixed, scan_inputs, states
from ssm_conformance.cases._short_convolution import RESET as CONVOLUTION_RESET
from ssm_conformance.cases._short_convolution import conv_inputs
from ssm_conformance.cases._step import SLOTS, step_inputs
from ssm_conformance.draw import Draw

_SINGLE: Final = ("float32",)
_IDS: Final = fixed([[-1] + [0] * 3 + [256] * 4 + [65536] * 5, [-7] * 6 + [-2] * 5 + [3] * 2], dtype="int64")
"""A reset at the first step there can be one; negative ids; ids that are one in 8 and in 16 bits."""
_AT_BLOCKS: Final = fixed([[t // 64 for t in range(300)], [t // 65 for t in range(300)]], dtype="int32")
"""Resets at the first step of blocks of 64, and near it."""
_MANY: Final = fixed([*range(34), 33, 100, 170], dtype="int32")
"""33 sequences of one step, an empty one, and two longer than a block of 64."""
_LONG: Final = fixed([0, 300, 301, 301, 701], dtype="int32")
_WIDE_IDS: Final = fixed(
    [[0] * 4 + [2**32] * 5 + [-(2**32)] * 4, [7] * 6 + [7 + 2**40] * 6 + [7]], dtype="int64"
)
"""Ids that are one in 32 bits."""
_EACH: Final = fixed([range(300), [t // 2 for t in range(300)]], dtype="int32")
"""More sequences in a row than 8 bits count: each of one step, and of two."""
_SCAN_BLOCKS: Final = fixed([[t // 64 for t in range(330)], [t // 128 for t in range(330)]], dtype="int32")
_LATE: Final = fixed([[t // 512 for t in range(1100)]], dtype="int32")
_EMPTY: Final = fixed([0, 0, 0, 64, 128, 128, 128, 256, 320, 320, 320], dtype="int32")
"""Two empty sequences in front, two in the middle, two at the end; the others begin where blocks do."""
_SLOTS: Final = step_inputs(4, 3, 2, slots=6, state_indices=fixed([5, 0, 3, 1], dtype="int64"))
_IDLE: Final = step_inputs(2, 3, 2, slots=3, state_indices=fixed([-1, -1], dtype="int32"))
_AGAIN: Final = fixed([[9] * 30 + [5] * 10 + [9] * 170, [9] * 140 + [5] * 10 + [9] * 60], dtype="int32")
"""An id, not zero, that comes back within a block of 64: the first, and the third."""
_DECAYS: Final = {"low": 0.05, "high": 0.3, "sign": -1.0}


def _slowly(inputs: dict[str, Any], d: int, n: int) -> dict[str, Any]:
    """The call with decays of which something is left after hundreds of steps."""
    return inputs | {"A": Draw((d, n), "log_uniform", parameters=_DECAYS)}


_SLOW_HEADS: Final = {"A": Draw((2,), "log_uniform", parameters=_DECAYS)}

PACKED: Final = (
    *(
        Recipe(op, "packed-again", inputs | {"seq_idx": _AGAIN}, clause, dtypes=_SINGLE)
        for op, clause, inputs in (
            (
                "selective_scan",
                RESET,
                _slowly(scan_inputs(2, 2, 210, 2, initial_state=states(2, 2, 2)), 2, 2),
            ),
            ("ssd", SSD_RESET, ssd_inputs(2, 210, 2, 2, 2, initial_states=Draw((2, 2, 2, 2))) | _SLOW_HEADS),
        )
    ),
    *(
        Recipe(op, "packed-wide-ids", inputs | {"seq_idx": _WIDE_IDS}, clause, dtypes=_SINGLE)
        for op, clause, inputs in (
            ("selective_scan", RESET, scan_inputs(2, 3, 13, 2)),
            ("ssd", SSD_RESET, ssd_inputs(2, 13, 3, 2, 2)),
            ("mamba3_siso", SISO_VALUE, siso_inputs(2, 13, 3, 2, 2)),
            ("causal_conv1d", CONVOLUTION_RESET, conv_inputs(2, 3, 13, 4)),
        )
    ),
    *(
        Recipe(op, "packed-each-step", inputs | {"seq_idx": _EACH}, clause, "full", dtypes=_SINGLE)
        for op, clause, inputs in (
            ("selective_scan", RESET, _slowly(scan_inputs(2, 2, 300, 2), 2, 2)),
            ("ssd", SSD_RESET, ssd_inputs(2, 300, 2, 2, 2)),
            ("mamba3_siso", SISO_VALUE, siso_inputs(2, 300, 2, 2, 2)),
            ("causal_conv1d", CONVOLUTION_RESET, conv_inputs(2, 2, 300, 4)),
        )
    ),
    Recipe(
        "selective_scan",
        "packed-at-blocks",
        _slowly(scan_inputs(2, 2, 330, 2, seq_idx=_SCAN_BLOCKS), 2, 2),
        RESET,
        "full",
        dtypes=_SINGLE,
    ),
    Recipe(
        "selective_scan",
        "packed-late",
        _slowly(scan_inputs(1, 2, 1100, 2, seq_idx=_LATE), 2, 2),
        RESET,
        "full",
        dtypes=_SINGLE,
    ),
    Recipe(
        "selective_scan",
        "offsets-at-blocks",
        _slowly(scan_inputs(1, 2, 320, 2, initial_state=states(10, 2, 2), cu_seqlens=_EMPTY), 2, 2),
        OFFSETS,
        dtypes=_SINGLE,
    ),
    Recipe(
        "selective_scan",
        "offsets-of-one",
        scan_inputs(1, 2, 9, 2, initial_state=states(1, 2, 2), cu_seqlens=fixed([0, 9], dtype="int32")),
        OFFSETS,
        dtypes=_SINGLE,
    ),
    Recipe("selective_scan", "packed-ids", scan_inputs(2, 3, 13, 2, seq_idx=_IDS), RESET, first=_SINGLE),
    Recipe("ssd", "packed-ids", ssd_inputs(2, 13, 3, 2, 2, seq_idx=_IDS), SSD_RESET, first=_SINGLE),
    Recipe("mamba3_siso", "packed-ids", siso_inputs(2, 13, 3, 2, 2, seq_idx=_IDS), SISO_VALUE, first=_SINGLE),
    Recipe(
        "causal_conv1d",
        "packed-ids",
        conv_inputs(2, 3, 13, 4, seq_idx=_IDS),
        CONVOLUTION_RESET,
        first=_SINGLE,
    ),
    Recipe(
        "causal_conv1d",
        "packed-at-blocks",
        conv_inputs(2, 3, 300, 4, seq_idx=_AT_BLOCKS),
        CONVOLUTION_RESET,
        "full",
        dtypes=_SINGLE,
    ),
    Recipe(
        "mamba3_siso",
        "packed-at-blocks",
        siso_inputs(2, 300, 2, 2, 2, seq_idx=_AT_BLOCKS),
        SISO_VALUE,
        "full",
        dtypes=_SINGLE,
    ),
    Recipe(
        "selective_scan",
        "offsets-many",
        scan_inputs(1, 2, 170, 2, initial_state=states(36, 2, 2), cu_seqlens=_MANY),
        OFFSETS,
        first=_SINGLE,
        dtypes=("float32", "bfloat16"),
    ),
    Recipe(
        "selective_scan",
        "offsets-long",
        _slowly(scan_inputs(1, 2, 701, 2, initial_state=states(4, 2, 2), cu_seqlens=_LONG), 2, 2),
        OFFSETS,
        "full",
        dtypes=_SINGLE,
    ),
    Recipe(
        "selective_scan",
        "offsets-empty",
        scan_inputs(1, 2, 0, 2, initial_state=states(2, 2, 2), cu_seqlens=fixed([0, 0, 0], dtype="int32")),
        EDGE,
        check="robustness",
        first=_SINGLE,
    ),
    Recipe(
        "selective_scan",
        "packed-empty",
        scan_inputs(
            2,
            2,
            0,
            2,
            initial_state=states(2, 2, 2),
            seq_idx=Draw((2, 0), "fixed", dtype="int32", parameters={"values": 0}),
        ),
        EDGE,
        check="robustness",
        first=_SINGLE,
    ),
    Recipe("selective_state_update", "pool-permuted", _SLOTS, SLOTS, first=_SINGLE),
    Recipe("selective_state_update", "pool-inplace", _SLOTS | {"inplace": True}, SLOTS, first=_SINGLE),
    Recipe("selective_state_update", "pool-idle", _IDLE, EDGE, check="robustness", first=_SINGLE),
)
