"""The selective scan at the ends of what it may be given: of the numbers, and of the sizes."""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_conformance.case import Level
from ssm_conformance.cases._selective import (
    COMMON,
    EDGE,
    OUTPUT,
    SOFTPLUS,
    STATE,
    ZOH,
    fixed,
    plain,
    scan,
    scan_inputs,
    small_step,
    states,
)
from ssm_conformance.draw import Draw

_FAR: Final = (-1e4, -88.0, -20.0, 0.0, 20.0, 88.0, 1e4)
_BOUNDARIES: Final = (31, 32, 63, 64, 127, 128, 255, 256)


EXTREME: Final = (
    # log(exp(x) + 1) loses all of small x; exp overflows at large x; −∞ means no step at all.
    scan(
        "softplus-far",
        scan_inputs(2, 4, 19, 2)
        | {
            "delta": Draw(
                (2, 4, 19),
                "choice",
                parameters={"values": (-1e4, -88.0, -20.0, -17.0, 0.0, 17.0, 20.0, 88.0, -np.inf)},
            ),
            "A": Draw((4, 2), "log_uniform", parameters={"low": 1e-4, "high": 2.0, "sign": -1.0}),
        },
        SOFTPLUS,
        check="extreme",
    ),
    # Every step is tiny, so that nothing larger hides what log(exp(x) + 1) loses.
    scan(
        "softplus-small",
        scan_inputs(2, 4, 19, 2, gate=False, feedthrough=False) | {"delta": small_step((2, 4, 19))},
        SOFTPLUS,
        check="extreme",
    ),
    # A threshold at 20 is wrong by 2e-9, which float64 sees; exp(x) overflows at 89 and at 710.
    scan(
        "softplus-large",
        scan_inputs(2, 4, 19, 2)
        | {
            "delta": Draw(
                (2, 4, 19), "choice", parameters={"values": (17.0, 24.0, 27.0, 31.0, 35.0, 96.0, 1e4)}
            ),
            "A": Draw((4, 2), "log_uniform", parameters={"low": 1e-4, "high": 2.0, "sign": -1.0}),
        },
        SOFTPLUS,
        check="extreme",
    ),
    scan(
        "decay-strong-and-weak",
        scan_inputs(2, 6, 31, 4)
        | {"A": Draw((6, 4), "log_uniform", parameters={"low": 1e-4, "high": 1e3, "sign": -1.0})},
        STATE,
        check="extreme",
    ),
    # What is left of a large state after ten nats and more: no input hides a digit that its exponent lacks,
    # and the last state shows it in float32 where streams have 16 bits.
    scan(
        "decay-of-a-state",
        plain(2, 3, 2, 2, initial_state=Draw((2, 3, 2), "log_uniform", parameters={"low": 1e6, "high": 1e7}))
        | {
            "A": Draw((3, 2), "log_uniform", parameters={"low": 4.0, "high": 6.0, "sign": -1.0}),
            "delta": Draw((2, 3, 2), "log_uniform", parameters={"low": 1.0, "high": 1.25}),
        },
        STATE,
        check="extreme",
    ),
    scan("no-decay", plain(1, 3, 40, 2) | {"A": fixed(0.0, (3, 2))}, STATE, check="extreme"),
    scan(
        "large-input",
        scan_inputs(1, 3, 25, 3) | {"u": Draw((1, 3, 25), parameters={"scale": 1e4})},
        STATE,
        check="extreme",
    ),
    scan(
        "negative-step",
        plain(1, 3, 12, 2) | {"delta": Draw((1, 3, 12), "uniform", parameters={"low": -0.5, "high": 0.5})},
        STATE,
        check="extreme",
    ),
    # Quotients of what is zero: a B recovered from B u, an output from what passed the gate.
    scan(
        "zeros",
        scan_inputs(2, 3, 12, 2, softplus=False)
        | {
            "u": Draw((2, 3, 12), "choice", parameters={"values": (0.0, 1.5, -0.5)}),
            "delta": Draw((2, 3, 12), "choice", parameters={"values": (0.0, 0.1, 0.3)}),
            "B": Draw((2, 2, 12), "choice", parameters={"values": (0.0, 0.5, -1.0)}),
            "C": Draw((2, 2, 12), "choice", parameters={"values": (0.0, 0.5, -1.0)}),
            "D": fixed([0.0, 1.0, -1.0]),
            "z": Draw((2, 3, 12), "choice", parameters={"values": (0.0, 0.7, -2.0)}),
        },
        STATE,
        check="extreme",
        first=("float32",),
    ),
    # Modes may grow: a rate that is clamped below zero is another one.
    scan(
        "growing",
        plain(1, 3, 12, 2) | {"A": Draw((3, 2), "uniform", parameters={"low": -0.5, "high": 0.8})},
        STATE,
        check="extreme",
        first=("float32",),
    ),
    # The state is forgotten exactly (exp underflows to 0), then recovers, across chunk boundaries.
    scan(
        "forget-and-recover",
        plain(1, 2, 300, 2)
        | {
            "delta": Draw((1, 2, 300), "choice", parameters={"values": (1e-2,) * 30 + (500.0,)}),
        },
        STATE,
        check="extreme",
    ),
    # The same, at the last and the first step of blocks of 32, 64, 128 and 256.
    scan(
        "forget-at-boundaries",
        plain(1, 2, 300, 2)
        | {"delta": fixed([500.0 if t in _BOUNDARIES else 1e-2 for t in range(300)], (1, 2, 300))},
        STATE,
        "full",
        check="extreme",
    ),
    # Differences of a cumulative sum reach 1e5 in one chunk: exponentials of unclamped numbers overflow.
    scan(
        "strong-decay",
        plain(1, 3, 270, 2)
        | {
            "A": Draw((3, 2), "log_uniform", parameters={"low": 10.0, "high": 1e3, "sign": -1.0}),
            "delta": Draw((1, 3, 270), "log_uniform", parameters={"low": 0.1, "high": 1.0}),
        },
        STATE,
        check="extreme",
        first=COMMON,
    ),
    scan(
        "gate-far",
        scan_inputs(2, 4, 19, 2) | {"z": Draw((2, 4, 19), "choice", parameters={"values": _FAR})},
        OUTPUT,
        check="extreme",
    ),
    # Subnormal in float32 and bfloat16: flushed to zero or not, both are right.
    scan(
        "subnormal",
        plain(2, 3, 17, 2) | {"u": Draw((2, 3, 17), parameters={"scale": 3e-40})},
        STATE,
        check="extreme",
    ),
    scan(
        "zoh-near-zero-complex",
        plain(1, 6, 9, 2, b_discretization="zoh")
        | {
            "A": Draw(
                (6, 2), "choice", True, parameters={"values": (0.0, -1e-9 + 1e-8j, -1e-5j, 1e-7j, -1 + 3j)}
            ),
            "delta": Draw((1, 6, 9), "log_uniform", parameters={"low": 1e-7, "high": 1e-2}),
        },
        ZOH,
    ),
)

_SIZES: Final[tuple[tuple[str, tuple[int, int, int, int], Level], ...]] = (
    ("empty", (2, 3, 0, 2), "smoke"),
    ("single", (2, 3, 1, 2), "smoke"),
    ("no-batch", (0, 3, 5, 2), "quick"),
    ("no-channels", (2, 0, 5, 2), "quick"),
    ("ones", (1, 1, 1, 1), "quick"),
    ("primes", (3, 7, 41, 5), "quick"),
)
EDGES: Final = (
    # So few elements that each may lie far from the next.
    scan(
        "small",
        scan_inputs(2, 2, 3, 2, initial_state=states(2, 2, 2)),
        EDGE,
        check="robustness",
        first=("float32",),
    ),
    # Wider than a block of 64 and of 32, by a little: where sums over blocks race or lose their edge.
    scan("uneven", scan_inputs(2, 67, 17, 3), EDGE, check="robustness", first=("float32",)),
    *(
        scan(name, scan_inputs(b, d, l, n), EDGE, level, check="robustness")
        for name, (b, d, l, n), level in _SIZES
    ),
    scan(
        "empty-initial",
        scan_inputs(2, 3, 0, 2, initial_state=states(2, 3, 2)),
        EDGE,
        check="robustness",
    ),
)
