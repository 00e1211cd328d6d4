"""Real data: a recorded signal, text as bytes, and streams of tokens, packed line by line."""

from __future__ import annotations

from typing import Final

from ssm_conformance.case import Recipe
from ssm_conformance.cases._linear import CONVOLUTION, RECURRENCE, diagonal_system
from ssm_conformance.cases._selective import OUTPUT, RESET, STATE, scan_inputs
from ssm_conformance.draw import Draw

_TOKENS: Final = Draw((2, 8, 90), "tokens")
_LINES: Final = Draw((2, 90), "lines", dtype="int32")

REAL: Final = (
    Recipe(
        "selective_scan",
        "signal",
        scan_inputs(1, 4, 240, 4) | {"u": Draw((1, 4, 240), "signal")},
        STATE,
        first=("float32",),
    ),
    # What a language model does: the tokens' embeddings go in, and B and C are functions of them.
    Recipe(
        "selective_scan",
        "tokens",
        scan_inputs(2, 8, 90, 4)
        | {"u": _TOKENS, "B": Draw((2, 4, 90), "tokens"), "C": Draw((2, 4, 90), "tokens")},
        OUTPUT,
        first=("float32", "bfloat16"),
    ),
    Recipe(
        "selective_scan",
        "lines",
        scan_inputs(2, 8, 90, 4) | {"u": _TOKENS, "seq_idx": _LINES},
        RESET,
        first=("float32", "bfloat16"),
    ),
    Recipe(
        "selective_scan",
        "signal-long",
        scan_inputs(1, 2, 800, 16) | {"u": Draw((1, 2, 800), "signal")},
        STATE,
        "full",
    ),
    Recipe(
        "ssm_recurrence",
        "signal",
        diagonal_system(2, n=8, complex_=True)
        | {"u": Draw((1, 2, 1, 400), "signal"), "return_last_state": True},
        RECURRENCE,
        "full",
    ),
    Recipe(
        "causal_convolution",
        "signal",
        {
            "u": Draw((1, 4, 400), "signal"),
            "K": Draw((4, 400), "log_uniform", parameters={"low": 1e-6, "high": 1.0}),
        },
        CONVOLUTION,
        "full",
    ),
)
