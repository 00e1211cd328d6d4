"""Real layers whose sums do not cancel: gradients of parameters, judged in float32 at these sizes too.

A gradient of A, of a bias or of D sums over times, rows and channels. Of terms of either sign little may be
left, no more than what honest arithmetic in float32 is granted for all of them; only float64 then sees that
some are missing. Streams and cotangents of one sign leave all of it.

So do matrices without a negative entry, of which neither the exponential nor the resolvent has one: where a
matrix is large and decays, what comes back to a step through it is no more than its bound. LegS is given, and
cancels in every step; of a signal that rises each sample outweighs what the coefficients forget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Recipe
from ssm_conformance.cases import _narrow, _resolved
from ssm_conformance.cases._dual_step import STEP as UPDATE
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import VALUE as SSD
from ssm_conformance.cases._duality import ssd_inputs
from ssm_conformance.cases._layers import (
    COMPRESS,
    H3,
    LSSL,
    S4D,
    S5,
    h3_inputs,
    lssl_inputs,
    s4d_inputs,
    s5_inputs,
)
from ssm_conformance.cases._linear import BILINEAR, ZOH
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._rows import Row, growing
from ssm_conformance.cases._selective import OUTPUT as SCAN
from ssm_conformance.cases._selective import fixed, scan_inputs
from ssm_conformance.cases._short_convolution import OUTPUT as CONV
from ssm_conformance.cases._short_convolution import conv_inputs
from ssm_conformance.draw import Draw

_STREAMS: Final = {
    "selective_scan": ("u", "B", "C", "D", "z"),
    "ssd": ("x", "B", "C", "D", "z"),
    "ssd_update": ("x", "B", "C", "D", "z", "state"),
    "mamba3_siso": ("q", "k", "v", "D", "z"),
    "causal_conv1d": ("x",),
    "s4d": ("u", "B", "C", "D"),
    "lssl": ("u", "B", "C", "D"),
    "s5": ("u", "B", "C", "D"),
    "h3": ("q", "k", "v", "shift", "shift_D", "B", "C", "out_proj"),
    "ssm_recurrence": ("u", "B_bar", "C"),
    "ssm_kernel": ("B_bar", "C"),
    "discretize_zoh": ("B",),
    "discretize_bilinear": ("B",),
    "hippo_legs_compress": (),
    "s4d_kernel": ("B", "C"),
    "s4_kernel": ("B", "C", "P"),
}
"""What is drawn of one sign; steps, decays and angles stay as they are."""

_COMMON: Final = ("float32", "bfloat16")
_SUMMED: Final = {
    **dict.fromkeys(
        (("s4d", "layer-long"), ("s5", "layer"), ("lssl", "layer-long"), ("h3", "layer-heads")), _COMMON
    ),
    **dict.fromkeys((("ssd", "layer-groups"), ("ssd", "layer-wide"), ("ssd", "layer-few-steps")), _COMMON),
    **dict.fromkeys((("ssd", "layer-long"), ("ssd", "layer-heads")), ("float32", *HALF)),
    **dict.fromkeys((("selective_scan", "layer"), ("selective_scan", "layer-long")), ("float32", *HALF)),
    ("causal_conv1d", "layer-long"): ("float32", *HALF),
    ("ssd_update", "layer"): _COMMON,
}
"""Asked in 16 bits too: there sums over blocks may be kept in the type of the streams."""


def _rows() -> Iterator[Row]:
    """More steps than a chunk of 64, of 256, than a program's 1024; more channels than a block."""
    yield "selective_scan", "layer", SCAN, "quick", scan_inputs(2, 96, 150, 16)
    yield "selective_scan", "layer-long", SCAN, "quick", scan_inputs(1, 16, 2100, 16)
    yield "ssd", "layer-groups", SSD, "quick", ssd_inputs(1, 66, 4, 64, 64, g=2)
    yield "ssd", "layer-long", SSD, "quick", ssd_inputs(1, 261, 2, 64, 16)
    yield "ssd", "layer-heads", SSD, "quick", ssd_inputs(1, 70, 66, 4, 8, g=2)
    # dA of a wide head sums over steps, channels and states: of few of them its bound is near.
    yield "ssd", "layer-wide", SSD, "quick", ssd_inputs(1, 66, 4, 64, 2, g=2)
    yield "ssd", "layer-few-steps", SSD, "quick", ssd_inputs(2, 5, 4, 64, 16, g=2)
    yield "ssd_update", "layer", UPDATE, "quick", update_inputs(2, 10, 64, 64, g=2)
    yield "mamba3_siso", "layer-64-128", SISO, "quick", siso_inputs(1, 70, 1, 64, 128, a=32)
    yield "mamba3_siso", "layer-long", SISO, "full", siso_inputs(1, 261, 1, 64, 64, a=16)
    # With real modes: complex ones that turn cancel. Those that hardly do are in `_narrow`.
    yield "s4d", "layer-long", S4D, "quick", s4d_inputs(1, 66, 1030, 4, False)
    yield "s5", "layer", S5, "full", s5_inputs(1, 66, 70, 8, False)
    yield "h3", "layer-long", H3, "full", h3_inputs(1, 66, 1030, 66, 2, False)
    yield "h3", "layer-heads", H3, "quick", h3_inputs(1, 72, 40, 9, 8, False)
    yield "lssl", "layer", LSSL, "quick", lssl_inputs(1, 66, 40, 32, 1) | {"A": growing(66, 32, 32)}
    long = lssl_inputs(1, 66, 1030, 4, 1) | {"A": growing(66, 4, 4, rate=1 / 32)}
    yield "lssl", "layer-long", LSSL, "full", long
    # Small C keep the cotangent of the exponential small: a large one is asked about by itself.
    C = Draw((34, 2, 17), "log_uniform", parameters={"low": 2.0**-16, "high": 2.0**-13})
    hold = {"A": growing(34, 17, 17, rate=1 / 16), "C": C, "discretization": "zoh"}
    yield "lssl", "layer-zoh", LSSL, "quick", lssl_inputs(1, 34, 130, 17, 2) | hold
    C = Draw((4, 1, 33), "log_uniform", parameters={"low": 2.0**-16, "high": 2.0**-13})
    hold = {"A": growing(4, 33, 33, rate=1 / 4), "C": C, "discretization": "zoh"}
    yield "lssl", "layer-zoh-states", LSSL, "full", lssl_inputs(1, 4, 20, 33, 1) | hold
    steps = Draw((3,), "log_uniform", parameters={"low": 0.1, "high": 1.0})
    system = {"A": growing(40, 40), "B": Draw((40, 2)), "delta": steps}
    yield "discretize_zoh", "layer", ZOH, "quick", system
    yield "discretize_bilinear", "layer", BILINEAR, "quick", system
    rising = fixed([1.5 ** (k - 70) for k in range(70)], (66, 70))
    yield "hippo_legs_compress", "rising", COMPRESS, "quick", {"f": rising, "n": 17}
    yield "causal_conv1d", "layer-long", CONV, "quick", conv_inputs(2, 72, 1040, 4)


def _signed(inputs: Mapping[str, Any], stream: str) -> bool:
    """Whether a stream is there, and drawn of either sign."""
    return stream in inputs and inputs[stream].kind == "normal"


ONE_SIGN: Final = tuple(
    Recipe(
        op,
        f"{name}-of-one-sign",
        inputs | {stream: inputs[stream].positive() for stream in _STREAMS[op] if _signed(inputs, stream)},
        clause,
        level,
        dtypes=_SUMMED.get((op, name), ("float32",)),
        first=("float32",),
        one_sign=True,
    )
    for op, name, clause, level, inputs in chain(
        _rows(),
        _resolved.rows(),
        _narrow.layers(),
        _narrow.systems(),
        _narrow.kernels_of_s4(),
        _narrow.turned_pairs(),
    )
)
