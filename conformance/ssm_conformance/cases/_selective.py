"""Inputs of the selective scan: what each recipe is there to catch stands beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Level, Recipe
from ssm_conformance.draw import Draw

STATE: Final = "scan-3: h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t"
OUTPUT: Final = "scan-4: y_t = (γ Re Σ_n C_t h_t + D u_t) · silu(z_t)"
GROUPS: Final = "scan-6: channel i belongs to group i // (d/g)"
COMPLEX: Final = "scan-5: γ = 2 for complex A: one mode of each conjugate pair"
ZOH: Final = "scan-2: b̄ = expm1(ΔA)/A · B, its limit ΔB at A = 0"
INITIAL: Final = (
    "scan-7: initial_state is the state before the first step; the last state is returned before output work"
)
RESET: Final = (
    "scan-8: a reset is exactly where seq_idx[t] ≠ seq_idx[t−1]; it selects, it does not multiply by zero"
)
OFFSETS: Final = "scan-9: cu_seqlens: one state a sequence, empty sequences allowed"
EDGE: Final = "common-2: b, d, l may be 0 or 1"
MIXED: Final = "common-1: the inputs are the numbers given, each in a dtype of its own"
SOFTPLUS: Final = "scan-1: Δ = log(1 + exp(delta + delta_bias)) for every argument, exactly"


def fixed(values: Any, shape: tuple[int, ...] | None = None, dtype: str | None = None) -> Draw:
    """An array of given values, broadcast to a shape."""
    array = np.asarray(values)
    return Draw(shape or array.shape, "fixed", dtype=dtype, parameters={"values": values})


def scan_inputs(
    b: int,
    d: int,
    l: int,
    n: int,
    *,
    g_B: int | None = None,
    g_C: int | None = None,
    constant: str = "",
    complex_: bool = False,
    gate: bool = True,
    feedthrough: bool = True,
    softplus: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """A call like a Mamba layer's; keywords take pieces away or add them."""

    def matrix(name: str, groups: int | None) -> Draw:
        if name in constant:
            shape: tuple[int, ...] = (d, n)
        else:
            shape = (b, n, l) if groups is None else (b, groups, n, l)
        return Draw(shape, complex=complex_)

    inputs: dict[str, Any] = {
        "u": Draw((b, d, l)),
        "delta": Draw((b, d, l), parameters={"scale": 0.5})
        if softplus
        else Draw((b, d, l), "log_uniform", parameters={"low": 1e-3, "high": 0.3}),
        "A": Draw((d, n), "s4d_lin" if complex_ else "s4d_real", complex=complex_),
        "B": matrix("B", g_B),
        "C": matrix("C", g_C),
    }
    if feedthrough:
        inputs["D"] = Draw((d,))
    if gate:
        inputs["z"] = Draw((b, d, l))
    if softplus:
        bias = {"low": 1e-3, "high": 0.1}
        inputs |= {"delta_bias": Draw((d,), "inverse_softplus", parameters=bias), "delta_softplus": True}
    return inputs | {"return_last_state": True} | more


def scan(name: str, inputs: dict[str, Any], clause: str, level: Level = "quick", **more: Any) -> Recipe:
    """One recipe of this operator."""
    return Recipe("selective_scan", name, inputs, clause, level, **more)


def plain(b: int, d: int, l: int, n: int, **more: Any) -> dict[str, Any]:
    """A call of what every scan has: no gate, no D, Δ as it is."""
    return scan_inputs(b, d, l, n, gate=False, feedthrough=False, softplus=False, **more)


def states(b: int, d: int, n: int, complex_: bool = False) -> Draw:
    return Draw((b, d, n), complex=complex_)


def halves(b: int, l: int) -> Draw:
    """Ids of two sequences that share each row."""
    return fixed(np.arange(l) // max(l // 2, 1), (b, l), dtype="int32")


def modes(*shape: int) -> Draw:
    """Complex modes that decay, each by a rate and at a speed of its own."""
    return Draw(shape, "uniform", complex=True, parameters={"low": -2.0, "high": -0.05})


def wider(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    """A call in 16 bits with some streams in float32."""
    return inputs | {name: replace(inputs[name], dtype="float32") for name in names}


def small_step(shape: tuple[int, ...]) -> Draw:
    """delta before softplus, of steps between 1e-14 and 1e-6 once the bias is added."""
    return Draw(shape, "uniform", parameters={"low": -26.0, "high": -12.0})


WIDER: Final = ("delta", "z", "B", "C")
"""The streams that may be in float32 where u is in 16 bits."""
COMMON: Final = ("float32", "bfloat16")
"""The dtypes that the longest calls are asked in before the full level."""

TYPICAL: Final = scan("typical", scan_inputs(2, 6, 37, 4), OUTPUT, "smoke")
"""A Mamba layer at an irregular size."""
PACKED: Final = scan(
    "packed",
    scan_inputs(
        2,
        3,
        23,
        2,
        initial_state=states(2, 3, 2),
        seq_idx=fixed([[0] * 9 + [1] * 1 + [0] * 6 + [7] * 7, [3] * 22 + [2] * 1], dtype="int32"),
    ),
    RESET,
    "smoke",
)
"""A sequence of length one; an id that comes back; a reset at the last step."""

ORDINARY: Final = (
    TYPICAL,
    scan("plain", plain(2, 3, 19, 2), STATE, "smoke"),
    scan("gate-only", scan_inputs(1, 3, 11, 2, feedthrough=False, softplus=False), OUTPUT),
    scan("feedthrough-only", scan_inputs(1, 3, 11, 2, gate=False, softplus=False), OUTPUT),
    # B and C expanded by repeat instead of repeat_interleave agree unless 1 < g < d.
    scan("groups", scan_inputs(2, 6, 17, 3, g_B=3, g_C=2), GROUPS, "smoke"),
    scan("group-a-channel", scan_inputs(1, 5, 13, 2, g_B=5, g_C=1), GROUPS),
    scan("constant", scan_inputs(2, 5, 17, 3, constant="BC"), STATE),
    scan("constant-B", scan_inputs(2, 4, 13, 3, constant="B", g_C=2), STATE),
    scan("constant-C", scan_inputs(1, 4, 13, 3, constant="C"), OUTPUT),
    scan("complex", scan_inputs(2, 4, 21, 3, complex_=True), COMPLEX, "smoke"),
    scan(
        "complex-real-BC",
        scan_inputs(1, 3, 15, 2) | {"A": Draw((3, 2), "s4d_lin", complex=True)},
        COMPLEX,
    ),
    # Modes that differ from channel to channel, and in their real parts.
    scan(
        "complex-groups",
        scan_inputs(1, 6, 15, 2, complex_=True, g_B=2, g_C=3) | {"A": modes(6, 2)},
        COMPLEX,
    ),
    scan("complex-real-C", scan_inputs(1, 3, 12, 2, complex_=True) | {"C": Draw((1, 2, 12))}, COMPLEX),
    scan(
        "complex-real-B",
        scan_inputs(1, 3, 12, 2, complex_=True) | {"B": Draw((1, 2, 12))},
        COMPLEX,
        dtypes=("float32",),
    ),
    scan("complex-modes", scan_inputs(1, 3, 12, 2, complex_=True) | {"A": modes(3, 2)}, COMPLEX),
    # Kernels that dot two operands of two dtypes fail, or round the wider one.
    scan("mixed", wider(scan_inputs(2, 4, 15, 3, g_B=2), *WIDER), MIXED, dtypes=HALF),
    *(
        scan(f"mixed-{name}", wider(scan_inputs(1, 4, 9, 3), name), MIXED, dtypes=HALF, first=HALF[:1])
        for name in WIDER
    ),
    scan("initial", scan_inputs(2, 5, 16, 3, initial_state=states(2, 5, 3)), INITIAL, "smoke"),
    scan(
        "complex-initial",
        scan_inputs(2, 3, 12, 2, complex_=True, initial_state=states(2, 3, 2, complex_=True)),
        INITIAL,
    ),
    PACKED,
    scan(
        "offsets",
        scan_inputs(
            1, 3, 20, 2, initial_state=states(4, 3, 2), cu_seqlens=fixed([0, 7, 7, 8, 20], dtype="int32")
        ),
        OFFSETS,
    ),
    scan(
        "offsets-empty-ends",
        scan_inputs(1, 2, 9, 2, cu_seqlens=fixed([0, 0, 4, 9, 9], dtype="int32")),
        OFFSETS,
    ),
    scan("zoh", scan_inputs(2, 5, 17, 3, b_discretization="zoh"), ZOH),
    scan("zoh-complex", scan_inputs(1, 3, 17, 3, complex_=True, b_discretization="zoh"), ZOH),
    # (exp(x) − 1)/A loses every digit here; at A = 0 it is 0/0.
    scan(
        "zoh-near-zero",
        plain(2, 6, 9, 3, b_discretization="zoh")
        | {
            "A": Draw((6, 3), "choice", parameters={"values": (0.0, -1e-9, -1e-5, 1e-7, -1.0)}),
            "delta": Draw((2, 6, 9), "log_uniform", parameters={"low": 1e-7, "high": 1e-2}),
        },
        ZOH,
    ),
    # Past two chunks of 256 and off their grid, with decays that a chunk's last state must carry.
    scan("long", scan_inputs(1, 2, 517, 2, initial_state=states(1, 2, 2)), STATE, first=COMMON),
    scan("long-weak-decay", plain(1, 3, 771, 2) | {"A": fixed(-1e-4, (3, 2))}, STATE, first=COMMON),
    # Decays of 0.02 to 0.5 over a chunk: what a chunk hands on differs from chunk to chunk, and is seen.
    scan(
        "long-moderate-decay",
        plain(1, 3, 771, 2)
        | {"A": Draw((3, 2), "log_uniform", parameters={"low": 0.05, "high": 0.3, "sign": -1.0})},
        STATE,
        first=COMMON,
    ),
    scan("wide-state", scan_inputs(1, 2, 9, 64), OUTPUT),
    # Sixteen states, and more channels and steps than a block of a kernel: what a fast path is made for.
    scan("layer", scan_inputs(2, 96, 150, 16), OUTPUT, first=COMMON),
    scan("layer-long", scan_inputs(1, 16, 2100, 16, g_B=1, g_C=1), STATE, first=COMMON),
    scan("layer-wide", scan_inputs(1, 1536, 40, 16, g_B=2, g_C=2), GROUPS, first=COMMON),
    scan(
        "layer-64-states",
        scan_inputs(1, 70, 133, 64, initial_state=states(1, 70, 64)),
        INITIAL,
        first=COMMON,
    ),
    scan("layer-batch", scan_inputs(8, 1600, 33, 16), OUTPUT, "full", dtypes=COMMON),
    # A program takes channels of one group and one row: here more than a GPU runs at once, or most of that.
    *(
        scan(
            f"layer-{64 * b}-groups",
            scan_inputs(b, 64, l, 9, g_B=64, g_C=64, initial_state=states(b, 64, 9)),
            GROUPS,
            "full",
            dtypes=COMMON,
        )
        for b, l in ((5, 385), (10, 257))
    ),
    scan("one-state", scan_inputs(2, 3, 33, 1), STATE),
    scan("text", scan_inputs(1, 8, 128, 4) | {"u": Draw((1, 8, 128), "text")}, OUTPUT),
    scan("wide", scan_inputs(1, 4096, 5, 2), OUTPUT, "full"),
    scan("longer", scan_inputs(1, 4, 4099, 4), STATE, "full"),
)
