"""Sizes past a block of which a thousandth part is seen, in float32 too: few sums, of terms of one sign.

A call that is large in every way has sums so long that their bounds hide what one block of many adds. Here
one size is past a block and the others are as small as they can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ssm_conformance.cases._layers import (
    COMPRESS,
    H3,
    LSSL,
    S4_KERNEL,
    S4D,
    S4D_KERNEL,
    S5,
    dplr_inputs,
    h3_inputs,
    lssl_inputs,
    modal_inputs,
    s4d_inputs,
    s5_inputs,
)
from ssm_conformance.cases._linear import KERNEL, RECURRENCE
from ssm_conformance.cases._rows import Row, growing
from ssm_conformance.cases._selective import fixed
from ssm_conformance.draw import Draw

_SLOW: Final = {"low": 1e-4, "high": 1e-3, "sign": -1.0}


def _system(n: int, m: int, p: int, rate: float) -> dict[str, Any]:
    return {"A_bar": growing(n, n, rate=rate), "B_bar": Draw((n, m)), "C": Draw((p, n))}


def _lssl(b: int, l: int, n: int, m: int) -> dict[str, Any]:
    return lssl_inputs(b, 2, l, n, m) | {"A": growing(2, n, n, rate=0.25)}


def rows() -> Iterator[Row]:
    """Rows, states and modes, inputs and outputs, taps, and steps, each past a block by itself."""
    for op, clause, inputs in (
        ("s4d", S4D, s4d_inputs(67, 2, 5, 2, False)),
        ("s5", S5, s5_inputs(67, 2, 5, 2, False)),
        ("lssl", LSSL, _lssl(67, 5, 2, 1)),
        ("h3", H3, h3_inputs(67, 2, 5, 2, 2, False)),
    ):
        yield op, "rows-67", clause, "full", inputs
    for op, clause, inputs in (
        ("s4d", S4D, s4d_inputs(1, 2, 5, 67, False)),
        ("s4d_kernel", S4D_KERNEL, modal_inputs(2, 67, False, length=5)),
        ("s5", S5, s5_inputs(1, 2, 5, 67, False)),
        ("h3", H3, h3_inputs(1, 2, 5, 2, 67, False)),
    ):
        yield op, "modes-67", clause, "full", inputs
    yield "lssl", "states-67", LSSL, "full", _lssl(1, 5, 67, 2)
    yield "lssl", "outputs-67", LSSL, "full", _lssl(1, 5, 2, 67)
    low_rank = {"Q": Draw((1, 65), "log_uniform", parameters=_SLOW)}
    yield "s4_kernel", "states-65", S4_KERNEL, "full", dplr_inputs(1, 65, False, 5, **low_rank)
    yield "h3", "taps-35", H3, "full", h3_inputs(1, 2, 40, 2, 2, False, shift=Draw((2, 35)))
    yield "h3", "projected-67", H3, "full", h3_inputs(1, 4, 5, 2, 2, False, out_proj=Draw((67, 4)))
    lasting = {"A_bar": fixed([[0.6, 0.39], [0.39, 0.6]])}
    for name, m, l, given in (("inputs-67", 67, 7, {}), ("steps-1030", 1, 1030, lasting)):
        system = _system(2, m, m, 0.5) | given
        yield "ssm_kernel", name, KERNEL, "full", system | {"length": l}
        yield "ssm_recurrence", name, RECURRENCE, "full", system | {"u": Draw((1, m, l))}
    slow = {
        "A": Draw((2,), "log_uniform", parameters=_SLOW),
        "delta": Draw((2,), "log_uniform", parameters={"low": 0.3, "high": 0.9}),
    }
    yield "s5", "steps-1030", S5, "full", s5_inputs(1, 2, 1030, 2, False) | slow
    # Zeros lose no digits: what comes late comes in short steps, in which LegS cancels little.
    late = {"f": fixed([[0.0] * 60 + [1.0]], (3, 61)), "n": 33}
    yield "hippo_legs_compress", "late", COMPRESS, "full", late
