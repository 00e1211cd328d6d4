"""One row, one state, one head, no row and no channel where options meet them; ids of 64 bits in long rows.

Serving a single request and training on one packed row are what a kernel's host takes short cuts for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ssm_conformance.case import Check, Level, Recipe
from ssm_conformance.cases._convolution_step import IN_PLACE as WRITTEN
from ssm_conformance.cases._convolution_step import LONGER, POOL, pooled
from ssm_conformance.cases._dual_step import IN_PLACE as HEADS_WRITTEN
from ssm_conformance.cases._dual_step import SLOTS as HEADS_POOL
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import RESET as HEADS_RESET
from ssm_conformance.cases._duality import SKIP, ssd_inputs
from ssm_conformance.cases._duality import VALUE as HEADS
from ssm_conformance.cases._layers import LSSL, S4D, lssl_inputs, s4d_inputs
from ssm_conformance.cases._linear import CONVOLUTION
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import EDGE, OFFSETS, RESET, STATE, fixed, scan_inputs, states
from ssm_conformance.cases._short_convolution import RESET as CONVOLUTION_RESET
from ssm_conformance.cases._short_convolution import conv_inputs
from ssm_conformance.cases._short_convolution import step_inputs as conv_step_inputs
from ssm_conformance.cases._step import IN_PLACE, SLOTS, step_inputs
from ssm_conformance.draw import Draw

Row = tuple[str, str, str, dict[str, Any]]
"""Operator, name, clause, inputs."""

_SLOTS: Final = {
    "one-row": (4, [2]),
    "one-slot": (1, [-1, 0]),
    "one-row-of-one": (1, [0]),
    "none": (0, [-1, -1]),
}
"""Slots of a pool, and those that a batch names: what is served with one request, and before the first."""
_SLOW: Final = {"low": 0.05, "high": 0.3, "sign": -1.0}
"""Rates of which something is left after many steps."""
_SLOW_STEPS: Final = {"low": 1e-4, "high": 1e-2, "sign": -1.0}


def _ids(dtype: str, *rows: tuple[int, ...]) -> Draw:
    """Ids of rows of 150 steps in which sequences begin at these steps; those of 64 bits differ above."""
    far = 2**32 if dtype == "int64" else 1
    ids = [[far * sum(t >= start for start in starts) for t in range(150)] for starts in rows]
    return fixed(ids, dtype=dtype)


def _pools() -> Iterator[Row]:
    """One row, whose slot is not the first; a pool of one slot, and of none."""
    for name, (slots, indices) in _SLOTS.items():
        for kind, inplace in (("pool", False), ("pool-inplace", True)):
            given: dict[str, Any] = {"slots": slots, "state_indices": fixed(indices, dtype="int32")}
            given |= {"inplace": True} if inplace else {}
            b = len(indices)
            step, heads = step_inputs(b, 4, 2, **given), update_inputs(b, 4, 2, 2, **given)
            conv = conv_step_inputs(b, 4, 4, **given)
            yield "selective_state_update", f"{kind}-{name}", IN_PLACE if inplace else SLOTS, step
            yield "causal_conv1d_update", f"{kind}-{name}", WRITTEN if inplace else POOL, conv
            yield "ssd_update", f"{kind}-{name}", HEADS_WRITTEN if inplace else HEADS_POOL, heads


def _written() -> Iterator[Row]:
    """States that are written in place, of one row and of more than a block."""
    for name, b in (("inplace-one-row", 1), ("inplace-rows-67", 67)):
        yield "selective_state_update", name, IN_PLACE, step_inputs(b, 3, 2, inplace=True)
        yield "causal_conv1d_update", name, WRITTEN, conv_step_inputs(b, 3, 4, inplace=True)
        yield "ssd_update", name, HEADS_WRITTEN, update_inputs(b, 3, 2, 2, inplace=True)


def _taps() -> Iterator[Row]:
    """More taps than kernels are compiled for, of states in a pool, and that hold more than is read."""
    for w in (5, 9):
        conv = pooled(3, 3, w, 5, [3, -1, 0])
        yield "causal_conv1d_update", f"taps-{w}-slots", POOL, conv
        conv = pooled(3, 3, w, 5, [3, -1, 0], k=w + 1, inplace=True)
        yield "causal_conv1d_update", f"taps-{w}-slots-longer-inplace", LONGER, conv


def _packed() -> Iterator[Row]:
    """A single packed row, as models train on, past a block; ids of 64 bits, in two rows."""
    for name, dtype, rows in (
        ("packed-alone-long", "int32", ((30, 64, 101),)),
        ("packed-wide-ids-long", "int64", ((30, 64, 101), (65, 127))),
    ):
        b, ids = len(rows), _ids(dtype, *rows)
        slow = {"A": Draw((2, 2), "log_uniform", parameters=_SLOW)}
        scan = scan_inputs(b, 2, 150, 2, initial_state=states(b, 2, 2), seq_idx=ids)
        yield "selective_scan", name, RESET, scan | slow
        dual = ssd_inputs(b, 150, 2, 2, 2, initial_states=Draw((b, 2, 2, 2)), seq_idx=ids)
        yield "ssd", name, HEADS_RESET, dual | {"A": Draw((2,), "log_uniform", parameters=_SLOW)}
        siso = siso_inputs(b, 150, 2, 2, 2, initial=True, seq_idx=ids)
        yield (
            "mamba3_siso",
            name,
            SISO,
            siso | {"adt": Draw((b, 2, 150), "log_uniform", parameters=_SLOW_STEPS)},
        )
        conv = conv_inputs(b, 2, 150, 4, initial=True, seq_idx=ids)
        yield "causal_conv1d", name, CONVOLUTION_RESET, conv


def _of_one() -> Iterator[Row]:
    """One state, as a number of each channel; one head, or heads of one channel, with a D of both axes."""
    two = fixed([[0] * 4 + [1] * 5, [5] * 6 + [4] * 3], dtype="int32")
    for kind, more in (("", {}), ("-zoh", {"b_discretization": "zoh"})):
        for complex_ in (False, True):
            name = f"one-state{'-complex' if complex_ else ''}{kind}"
            given: dict[str, Any] = {"complex_": complex_, **more}
            initial = states(2, 3, 1, complex_)
            scan = scan_inputs(2, 3, 9, 1, initial_state=initial, seq_idx=two, **given)
            yield "selective_scan", f"{name}-packed", RESET, scan
            if name != "one-state":  # which is among the layers' sizes
                yield "selective_state_update", name, STATE, step_inputs(2, 3, 1, **given)
    offsets = fixed([0, 4, 4, 9], dtype="int32")
    scan = scan_inputs(1, 3, 9, 1, initial_state=states(3, 3, 1), cu_seqlens=offsets)
    yield "selective_scan", "one-state-offsets", OFFSETS, scan
    scan = scan_inputs(1, 1, 9, 2, initial_state=states(3, 1, 2), cu_seqlens=offsets)
    yield "selective_scan", "one-channel-offsets", OFFSETS, scan
    yield "selective_scan", "one-state-constant", STATE, scan_inputs(2, 3, 9, 1, constant="BC")
    yield "selective_scan", "one-state-grouped", STATE, scan_inputs(2, 4, 9, 1, g_B=2, g_C=4)
    dual = ssd_inputs(2, 9, 3, 2, 1, initial_states=Draw((2, 3, 2, 1)), seq_idx=two)
    yield "ssd", "one-state-packed", HEADS_RESET, dual
    for name, h, p in (("one-head", 1, 3), ("one-channel", 3, 1)):
        yield "ssd", f"{name}-wide-D", SKIP, ssd_inputs(2, 9, h, p, 2, D=Draw((h, p)))
        yield "ssd_update", f"{name}-wide-D", SKIP, update_inputs(2, h, p, 2, D=Draw((h, p)))


def _wide_and_long() -> Iterator[Row]:
    """Many states and wide heads over more than sixteen blocks of 64 steps."""
    slow = {"A": Draw((2,), "log_uniform", parameters=_SLOW)}
    yield (
        "ssd",
        "wide-and-long",
        HEADS,
        ssd_inputs(1, 1100, 2, 17, 33, initial_states=Draw((1, 2, 17, 33))) | slow,
    )
    steps = {"adt": Draw((1, 2, 1100), "log_uniform", parameters=_SLOW_STEPS)}
    yield "mamba3_siso", "wide-and-long", SISO, siso_inputs(1, 1100, 2, 17, 34, a=9, initial=True) | steps
    slow = {"A": Draw((2, 33), "log_uniform", parameters=_SLOW)}
    yield (
        "selective_scan",
        "wide-and-long",
        STATE,
        scan_inputs(1, 2, 1100, 33, initial_state=states(1, 2, 33)) | slow,
    )


def _nothing() -> Iterator[Row]:
    """No rows with groups, with states and packed; no channels, no heads, no width."""
    none = fixed(0, (0, 5), dtype="int32")
    yield "selective_scan", "no-batch-grouped", EDGE, scan_inputs(0, 4, 5, 2, g_B=2, g_C=4)
    scan = scan_inputs(0, 3, 5, 2, initial_state=states(0, 3, 2), seq_idx=none)
    yield "selective_scan", "no-batch-packed", EDGE, scan
    scan = scan_inputs(0, 3, 5, 2, complex_=True, b_discretization="zoh")
    yield "selective_scan", "no-batch-complex-zoh", EDGE, scan
    yield "ssd", "no-batch-grouped", EDGE, ssd_inputs(0, 5, 4, 2, 2, g=2)
    dual = ssd_inputs(0, 5, 3, 2, 2, initial_states=Draw((0, 3, 2, 2)), seq_idx=none)
    yield "ssd", "no-batch-packed", EDGE, dual
    yield "mamba3_siso", "no-batch-grouped", EDGE, siso_inputs(0, 5, 4, 2, 4, g=2)
    yield "mamba3_siso", "no-batch-packed", EDGE, siso_inputs(0, 5, 3, 2, 4, initial=True, seq_idx=none)
    conv = conv_inputs(0, 3, 5, 4, initial=True, seq_idx=none)
    yield "causal_conv1d", "no-batch-packed", EDGE, conv
    yield "selective_state_update", "no-batch-grouped", EDGE, step_inputs(0, 4, 2, g=2)
    yield "ssd_update", "no-batch-grouped", EDGE, update_inputs(0, 4, 2, 2, g=2)
    yield "mamba3_siso_step", "no-batch-grouped", EDGE, siso_step_inputs(0, 4, 2, 4, g=2)
    yield "causal_conv1d", "no-channels", EDGE, conv_inputs(2, 0, 5, 4, initial=True)
    yield "causal_conv1d_update", "no-channels", EDGE, conv_step_inputs(2, 0, 4)
    yield "selective_state_update", "no-channels", EDGE, step_inputs(2, 0, 2)
    yield "causal_convolution", "no-channels", CONVOLUTION, {"u": Draw((2, 0, 5)), "K": Draw((0, 5))}
    yield "ssd_update", "no-heads", EDGE, update_inputs(2, 0, 2, 2)
    yield "ssd_update", "no-width", EDGE, update_inputs(2, 3, 0, 2)
    yield "mamba3_siso", "no-heads", EDGE, siso_inputs(2, 5, 0, 2, 4)
    yield "mamba3_siso", "no-width", EDGE, siso_inputs(2, 5, 3, 0, 4)
    yield "mamba3_siso_step", "no-heads", EDGE, siso_step_inputs(2, 0, 2, 4)
    yield "mamba3_siso_step", "no-width", EDGE, siso_step_inputs(2, 3, 0, 4)
    yield "s4d", "no-channels", S4D, s4d_inputs(2, 0, 7, 4, True)
    yield "lssl", "no-channels", LSSL, lssl_inputs(2, 0, 7, 4, 2)


def _recipes() -> Iterator[Recipe]:
    tables: tuple[tuple[Iterator[Row], Check, Level], ...] = (
        (_pools(), "value", "quick"),
        (_written(), "value", "quick"),
        (_taps(), "value", "full"),
        (_packed(), "value", "quick"),
        (_of_one(), "robustness", "full"),
        (_wide_and_long(), "value", "full"),
        (_nothing(), "robustness", "full"),
    )
    for rows, check, level in tables:
        for op, name, clause, inputs in rows:
            yield Recipe(op, name, inputs, clause, level, check, dtypes=("float32",))


FEW: Final = tuple(_recipes())
