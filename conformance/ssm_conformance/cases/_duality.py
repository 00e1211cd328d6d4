"""Inputs of SSD, the scan of Mamba-2."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._selective import EDGE, MIXED, fixed, wider
from ssm_conformance.draw import Draw

VALUE: Final = "ssd-7: S_t = exp(Δ_t A) S_{t−1} + Δ_t x_t B_tᵀ, y_t = (S_t C_t + D x_t) · silu(z_t)"
LIMITS: Final = "ssd-1: Δ = dt + dt_bias, through softplus if asked for, then always clamped to dt_limit"
GROUPS: Final = "ssd-3: head i belongs to group i // (h/g); B and C have the same g"
SKIP: Final = "ssd-4: D is (h,), one number a head, or (h, p)"
RESET: Final = "ssd-5: a reset is where seq_idx[t] ≠ seq_idx[t−1]; initial_states belong to t = 0"
GATE: Final = "ssd-6: there is no norm; the gate comes last and reaches no state"

WIDER: Final = ("dt", "B", "C", "z")
"""The streams that may be in float32 where x is in 16 bits."""


def raw_steps(*shape: int, softplus: bool) -> Draw:
    """dt before softplus, or as it is."""
    if softplus:
        return Draw(shape, parameters={"scale": 0.5})
    return Draw(shape, "log_uniform", parameters={"low": 1e-3, "high": 0.3})


def of_layer(
    h: int, p: int, *, gate: bool, feedthrough: bool, softplus: bool, z: tuple[int, ...]
) -> dict[str, Any]:
    """What does not stream in, and the gate, of that shape."""
    inputs: dict[str, Any] = {"A": rates(h, 0.5, 16.0)}
    if feedthrough:
        inputs["D"] = Draw((h,))
    if gate:
        inputs["z"] = Draw(z)
    if softplus:
        bias = {"low": 1e-3, "high": 0.1}
        inputs |= {"dt_bias": Draw((h,), "inverse_softplus", parameters=bias), "dt_softplus": True}
    return inputs


def ssd_inputs(
    b: int,
    l: int,
    h: int,
    p: int,
    n: int,
    *,
    g: int = 1,
    gate: bool = True,
    feedthrough: bool = True,
    softplus: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """A call like a Mamba-2 layer's; keywords take pieces away or add them."""
    inputs = {
        "x": Draw((b, l, h, p)),
        "dt": raw_steps(b, l, h, softplus=softplus),
        "B": Draw((b, l, g, n)),
        "C": Draw((b, l, g, n)),
    } | of_layer(h, p, gate=gate, feedthrough=feedthrough, softplus=softplus, z=(b, l, h, p))
    return inputs | {"return_final_states": True} | more


def _plain(b: int, l: int, h: int, p: int, n: int, **more: Any) -> dict[str, Any]:
    return ssd_inputs(b, l, h, p, n, gate=False, feedthrough=False, softplus=False, **more)


def _ssd(name: str, inputs: dict[str, Any], clause: str, level: Level = "quick", **more: Any) -> Recipe:
    return Recipe("ssd", name, inputs, clause, level, **more)


def rates(h: int, low: float, high: float) -> Draw:
    """A of each head."""
    return Draw((h,), "log_uniform", parameters={"low": low, "high": high, "sign": -1.0})


def at_limits(*shape: int) -> Draw:
    """Steps below, at, between and above the limits ``EXACT``."""
    return Draw(shape, "choice", parameters={"values": (-0.25, 0.0, 0.125, 0.5, 0.75)})


_SINGLE: Final = ("float32",)
_COMMON: Final = ("float32", "bfloat16")
_FAR: Final = (-1e4, -88.0, -20.0, 0.0, 20.0, 88.0, 1e4)
LIMIT: Final = (0.02, 0.6)
EXACT: Final = (0.0, 0.5)
_PACKED: Final = fixed([[0] * 9 + [1] * 1 + [0] * 6 + [7] * 7, [3] * 22 + [2] * 1], dtype="int32")
"""A sequence of length one; an id that comes back; a reset at the last step."""
_CHUNKS: Final = fixed([[t // 64 for t in range(200)], [t // 65 for t in range(200)]], dtype="int32")
"""Resets at the first step of chunks of 64, and near it."""

ORDINARY: Final = (
    _ssd("typical", ssd_inputs(2, 37, 4, 3, 5), VALUE, "smoke"),
    _ssd("plain", _plain(2, 19, 3, 2, 3), VALUE, "smoke"),
    # Groups expanded by repeat instead of repeat_interleave agree unless 1 < g < h.
    _ssd("groups", ssd_inputs(2, 17, 6, 2, 3, g=3), GROUPS, "smoke"),
    _ssd("group-a-head", ssd_inputs(1, 13, 4, 2, 3, g=4), GROUPS),
    _ssd("wide-skip", ssd_inputs(2, 11, 3, 4, 2, D=Draw((3, 4))), SKIP),
    _ssd("limits", ssd_inputs(2, 23, 4, 2, 3, dt_limit=LIMIT), LIMITS, "smoke"),
    # Without softplus a step may be negative: the default limit is 0, and it acts.
    _ssd(
        "clamped-at-zero",
        _plain(2, 21, 3, 2, 3) | {"dt": Draw((2, 21, 3), "uniform", parameters={"low": -0.3, "high": 0.3})},
        LIMITS,
    ),
    _ssd(
        "any-sign",
        _plain(2, 21, 3, 2, 3, dt_limit=(-inf, inf))
        | {"dt": Draw((2, 21, 3), "uniform", parameters={"low": -0.2, "high": 0.2})},
        LIMITS,
    ),
    # A step that is its limit has the slope 1 there: numbers that are exact in every dtype.
    _ssd(
        "at-limits",
        _plain(2, 21, 3, 2, 3, dt_limit=EXACT) | {"dt": at_limits(2, 21, 3)},
        LIMITS,
        first=_SINGLE,
    ),
    _ssd("initial", ssd_inputs(2, 16, 3, 4, 3, initial_states=Draw((2, 3, 4, 3))), RESET, "smoke"),
    _ssd(
        "packed",
        ssd_inputs(2, 23, 3, 2, 3, initial_states=Draw((2, 3, 2, 3)), seq_idx=_PACKED),
        RESET,
        "smoke",
    ),
    _ssd(
        "packed-at-chunks",
        _plain(2, 200, 2, 2, 3, initial_states=Draw((2, 2, 2, 3)), seq_idx=_CHUNKS)
        | {"A": rates(2, 0.02, 0.3)},
        RESET,
        first=_COMMON,
    ),
    _ssd(
        "tokens-packed",
        ssd_inputs(2, 90, 2, 4, 3, seq_idx=Draw((2, 90), "lines", dtype="int32")),
        RESET,
        first=_SINGLE,
    ),
    # Kernels that dot two operands of two dtypes fail, or round the wider one.
    _ssd("mixed", wider(ssd_inputs(2, 15, 4, 3, 3, g=2), *WIDER), MIXED, dtypes=HALF),
    *(
        _ssd(f"mixed-{name}", wider(ssd_inputs(1, 9, 2, 3, 3), name), MIXED, dtypes=HALF, first=HALF[:1])
        for name in WIDER
    ),
    # Past chunks of 64 and of 256, with decays of 0.02 to 0.5 over a chunk, which must be carried on.
    _ssd(
        "long",
        _plain(1, 517, 2, 2, 3, initial_states=Draw((1, 2, 2, 3))) | {"A": rates(2, 0.05, 0.3)},
        VALUE,
        first=_COMMON,
    ),
    _ssd("long-gated", ssd_inputs(1, 300, 3, 2, 4), VALUE, first=_COMMON),
    _ssd("wide-state", ssd_inputs(1, 9, 2, 3, 64), VALUE),
    _ssd("wide-head", ssd_inputs(1, 9, 2, 64, 4), VALUE),
    _ssd("one-state", ssd_inputs(2, 33, 3, 2, 1), VALUE),
    _ssd("layer", ssd_inputs(1, 130, 8, 32, 32), VALUE, "full"),
    _ssd("longer", ssd_inputs(1, 4099, 2, 2, 4), VALUE, "full", first=_COMMON),
)

EXTREME: Final = (
    _ssd(
        "softplus-far",
        ssd_inputs(2, 19, 4, 2, 2)
        | {
            "dt": Draw(
                (2, 19, 4),
                "choice",
                parameters={"values": (-1e4, -88.0, -20.0, -17.0, 0.0, 17.0, 20.0, 88.0, -np.inf)},
            ),
            "A": rates(4, 1e-4, 2.0),
        },
        LIMITS,
        check="extreme",
    ),
    # Differences of a cumulative sum reach 1e5 in one chunk: exponentials of unclamped numbers overflow.
    _ssd(
        "strong-decay",
        _plain(1, 270, 3, 2, 3)
        | {
            "A": rates(3, 10.0, 1e3),
            "dt": Draw((1, 270, 3), "log_uniform", parameters={"low": 0.1, "high": 1.0}),
        },
        VALUE,
        check="extreme",
        first=_COMMON,
    ),
    _ssd(
        "no-decay", _plain(1, 140, 3, 2, 2) | {"A": fixed(0.0, (3,))}, VALUE, check="extreme", first=_COMMON
    ),
    # The state is forgotten exactly (exp underflows to 0), then recovers, across chunk boundaries.
    _ssd(
        "forget-and-recover",
        _plain(1, 300, 2, 2, 2)
        | {"dt": Draw((1, 300, 2), "choice", parameters={"values": (1e-2,) * 30 + (500.0,)})},
        VALUE,
        check="extreme",
        first=_COMMON,
    ),
    _ssd(
        "large-input",
        ssd_inputs(1, 25, 2, 3, 3) | {"x": Draw((1, 25, 2, 3), parameters={"scale": 1e4})},
        VALUE,
        check="extreme",
    ),
    _ssd(
        "gate-far",
        ssd_inputs(2, 19, 2, 3, 2) | {"z": Draw((2, 19, 2, 3), "choice", parameters={"values": _FAR})},
        GATE,
        check="extreme",
    ),
    _ssd(
        "subnormal",
        _plain(2, 17, 2, 3, 2) | {"x": Draw((2, 17, 2, 3), parameters={"scale": 3e-40})},
        VALUE,
        check="extreme",
    ),
)

_SIZES: Final[tuple[tuple[str, tuple[int, int, int, int, int], Level], ...]] = (
    ("empty", (2, 0, 3, 2, 2), "smoke"),
    ("single", (2, 1, 3, 2, 2), "smoke"),
    ("no-batch", (0, 5, 3, 2, 2), "quick"),
    ("no-heads", (2, 5, 0, 2, 2), "quick"),
    ("no-width", (2, 5, 3, 0, 2), "quick"),
    ("ones", (1, 1, 1, 1, 1), "quick"),
    ("primes", (3, 41, 7, 5, 3), "quick"),
    ("rows-65", (65, 3, 2, 1, 2), "full"),
    ("heads-65", (1, 5, 65, 1, 3), "full"),
    *((f"length-{l}", (2, l, 2, 2, 3), "full") for l in (2, 15, 16, 17, 31, 33, 63, 64, 65)),
    *((f"length-{l}", (1, l, 2, 2, 2), "full") for l in (127, 128, 129, 255, 256, 257, 513)),
)
EDGES: Final = (
    *(
        _ssd(
            name,
            ssd_inputs(*sizes),
            EDGE,
            level,
            check="robustness",
            first=_SINGLE if level == "full" else (),
        )
        for name, sizes, level in _SIZES
    ),
    _ssd(
        "empty-initial",
        ssd_inputs(2, 0, 3, 2, 2, initial_states=Draw((2, 3, 2, 2))),
        EDGE,
        check="robustness",
    ),
)

ROWS: Final = (
    "D z",
    "wide-D bias softplus limits",
    "z softplus initial",
    "wide-D z limits initial seq_idx",
    "bias groups",
    "D bias softplus seq_idx groups",
    "z bias limits last",
    "D limits initial groups last",
    "z softplus groups last",
    "wide-D groups seq_idx last",
    "bias initial seq_idx",
    "D softplus seq_idx z",
)
"""Optional arguments, each present and absent; every pair of options occurs in some call."""
_SOON: Final = (ROWS[3], ROWS[8])
"""Rows that the level quick has of whole chunks too: between them initial states, seq_idx and groups."""
OPTIONS: Final = ("z", "bias", "softplus", "limits", "initial", "seq_idx", "groups", "last")


def with_options(row: str, kind: str = "", level: Level = "quick") -> Recipe:
    """A call that has exactly the options named.

    A "long" one goes past chunks of 64 and of 128; a "whole" one is two chunks of 64, or one of 128; a "wide"
    one has more heads, channels and states than a block; a "large" one has heads of 64 past a chunk of 64, a
    "triple" one is of its length, 70, with small heads; a "single" one is one step, for which a kernel may
    have a path of its own, an "empty" one none.
    """
    words = row.split()
    sizes = {
        "": (11, 3, 6), "long": (150, 64, 129), "whole": (128, 64, 32), "wide": (7, 3, 5),
        "large": (70, 64, 67), "triple": (70, 35, 65), "single": (1, 0, 0), "empty": (0, 0, 0),
    }  # fmt: skip
    b, (l, first, second) = 2, sizes[kind]
    h, p, n = {"wide": (12, 33, 65), "large": (4, 64, 17)}.get(kind, (4, 2, 3))
    inputs = _plain(b, l, h, p, n, g=2 if "groups" in words else 1)
    inputs["return_final_states"] = "last" in words
    given: dict[str, dict[str, Any]] = {
        "D": {"D": Draw((h,))},
        "wide-D": {"D": Draw((h, p))},
        "z": {"z": Draw((b, l, h, p))},
        "bias": {"dt_bias": Draw((h,), "uniform", parameters={"low": -0.2, "high": 0.2})},
        "softplus": {"dt_softplus": True},
        # Softplus of what is drawn lies from 0.6 to 1.
        "limits": {"dt_limit": (0.68, 0.76) if "softplus" in words else (0.05, 0.2)},
        "initial": {"initial_states": Draw((b, h, p, n))},
        "seq_idx": {"seq_idx": fixed([_two(0, 1, first, l), _two(5, 4, second, l)], dtype="int32")},
    }
    for word in words:
        inputs |= given.get(word, {})
    name = "-".join(filter(None, [kind, "with", *words]))
    if kind:
        return _ssd(name, inputs, VALUE, level, first=_SINGLE, dtypes=_COMMON if kind == "large" else _SINGLE)
    return _ssd(name, inputs, VALUE, first=_SINGLE)


def _two(before: int, after: int, first: int, l: int) -> list[int]:
    """Ids of two sequences that share a row, the first one of so many steps."""
    return [before] * first + [after] * (l - first)


SSD: Final = (
    *ORDINARY,
    *EXTREME,
    *EDGES,
    *(with_options(row) for row in ROWS),
    *(with_options(row, "long", "full") for row in ROWS),
    *(with_options(row, "whole", "quick" if row in _SOON else "full") for row in ROWS),
    *(with_options(row, "wide", "quick" if row in _SOON else "full") for row in ROWS),
    *(with_options(row, kind, "full") for kind in ("single", "empty") for row in ROWS),
    *(with_options(row, "large", "quick" if row in _SOON else "full") for row in ROWS),
)
