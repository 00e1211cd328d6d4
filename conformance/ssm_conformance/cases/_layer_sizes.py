"""Sizes of real layers: where a kernel has a path for many channels, heads, states and steps at once.

Elsewhere one size at a time is large. The scan's own are in `_selective`.
"""

from __future__ import annotations

import cmath
from collections.abc import Iterator
from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._convolution_step import HALF_STATE as ROUNDED
from ssm_conformance.cases._dual_step import HALF_STATE as UPDATE_HALF_STATE
from ssm_conformance.cases._dual_step import SLOTS as UPDATE_SLOTS
from ssm_conformance.cases._dual_step import STEP as UPDATE
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import GROUPS, SKIP, ssd_inputs
from ssm_conformance.cases._duality import VALUE as SSD
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
from ssm_conformance.cases._linear import (
    BILINEAR,
    CONVOLUTION,
    KERNEL,
    RECURRENCE,
    ZOH,
    diagonal_system,
    system_inputs,
)
from ssm_conformance.cases._mamba3 import GROUPS as TURNED
from ssm_conformance.cases._mamba3 import PAIRS, siso_inputs
from ssm_conformance.cases._mamba3 import STEP as SISO_STEP
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import STATE, fixed, halves
from ssm_conformance.cases._short_convolution import OUTPUT, RESET, STEP_OUTPUT, conv_inputs
from ssm_conformance.cases._short_convolution import step_inputs as conv_step_inputs
from ssm_conformance.cases._step import HALF_STATE, step_inputs
from ssm_conformance.draw import Draw

Row = tuple[str, str, str, Level, dict[str, Any]]
"""Operator, name, clause, smallest level, inputs."""

_SINGLE: Final = ("float32",)
_COMMON: Final = ("float32", "bfloat16")
_CHEAP: Final = ("causal_conv1d", "causal_conv1d_update", "selective_state_update")
"""What costs little, and reads eight numbers of 16 bits at once: asked in bfloat16 as soon."""
_FAST: Final = (*_CHEAP, "ssd", "ssd_update", "mamba3_siso", "mamba3_siso_step")
_RUN: Final = ("ssm_recurrence", "causal_convolution")
"""Operators that kernels of 16 bits are written for, and what their layers run: asked in bfloat16 at full."""
_LAYERS: Final = ("s4d", "s5", "lssl", "h3")
_HEADS: Final = (
    ("mamba3_siso", "layer-initial"),
    ("mamba3_siso_step", "layer"),
    ("ssd", "layer-groups"),
    ("causal_conv1d", "layer-packed"),
)
"""Layers, heads and filters that models run in either type of 16 bits: asked in both at full."""
_LAST: Final = {"return_last_state": True}
_POOL: Final = fixed([33, -1, 39, 0, 17], dtype="int32")
_SERVED: Final = fixed([3, -1, 0], dtype="int32")
"""A pool in 16 bits that is written in place, as an engine keeps it."""
_LATE: Final = fixed([[0] * 64 + [1] * 6, [0] * 30 + [1] * 37 + [0] * 3], dtype="int32")
"""Sequences that begin with a chunk of 64, and inside of the first and of the last."""
_LASTING: Final = {"low": 0.9, "high": 0.999}
_SLOW: Final = Draw((1, 2, 2053), "log_uniform", parameters={"low": 1e-4, "high": 1e-2, "sign": -1.0})
"""Δ A of which something is left after a thousand steps."""


def _steps() -> Iterator[Row]:
    """Decoding: more channels than a block; many rows; a pool larger than the batch; heads of 64."""
    step, update = "selective_state_update", "ssd_update"
    yield step, "layer", STATE, "quick", step_inputs(2, 1544, 16)
    yield step, "layer-pool", STATE, "quick", step_inputs(5, 72, 16, slots=40, state_indices=_POOL)
    yield step, "layer-128-states", STATE, "quick", step_inputs(2, 200, 128, g=2)
    yield step, "layer-batch", STATE, "full", step_inputs(32, 1100, 16)
    served: dict[str, Any] = {"state_indices": _SERVED, "inplace": True}
    served["state"] = Draw((5, 72, 16), dtype="bfloat16")
    yield step, "layer-served", HALF_STATE, "quick", step_inputs(3, 72, 16, **served)
    yield update, "layer", UPDATE, "quick", update_inputs(2, 10, 64, 128, g=2)
    yield update, "layer-heads", GROUPS, "quick", update_inputs(2, 80, 16, 16, g=8)
    pool = update_inputs(5, 10, 64, 16, g=2, slots=40, state_indices=_POOL)
    yield update, "layer-pool", UPDATE_SLOTS, "quick", pool
    held = {**served, "state": Draw((5, 4, 64, 128), dtype="bfloat16")}
    yield update, "layer-served", UPDATE_HALF_STATE, "quick", update_inputs(3, 4, 64, 128, **held)
    yield update, "layer-wide-skip", SKIP, "full", update_inputs(2, 2, 129, 16, D=Draw((2, 129)))
    yield "mamba3_siso_step", "layer", SISO_STEP, "quick", siso_step_inputs(2, 10, 64, 128, a=32, g=2)
    yield "mamba3_siso_step", "layer-turned", PAIRS, "full", siso_step_inputs(2, 2, 8, 128, a=64)
    yield "mamba3_siso_step", "layer-groups", TURNED, "full", siso_step_inputs(2, 16, 3, 6, a=2, g=8)
    yield "causal_conv1d_update", "layer", STEP_OUTPUT, "quick", conv_step_inputs(3, 1544, 4)
    served["state"] = Draw((5, 72, 5), dtype="bfloat16")
    yield "causal_conv1d_update", "layer-served", ROUNDED, "full", conv_step_inputs(3, 72, 4, **served)


def _heads() -> Iterator[Row]:
    """Heads of 16 to 128, past a chunk of 64 and of 256, with 16 to 256 states; eight groups of ten heads."""
    yield "ssd", "layer-groups", SSD, "quick", ssd_inputs(1, 66, 4, 64, 64, g=2)
    yield "ssd", "layer-long", SSD, "quick", ssd_inputs(1, 261, 2, 64, 16)
    yield "ssd", "layer-heads", GROUPS, "quick", ssd_inputs(1, 20, 80, 8, 16, g=8)
    yield "ssd", "layer-128-long", SSD, "full", ssd_inputs(1, 261, 2, 64, 128, g=2)
    # A compiler makes another kernel of each of these, and may get one of them wrong.
    yield "ssd", "layer-32-128", SSD, "quick", ssd_inputs(1, 70, 2, 32, 128)
    for p, n in ((16, 16), (16, 64), (16, 128), (32, 16), (32, 64), (64, 32), (128, 64), (32, 256)):
        yield (
            "ssd",
            f"layer-{p}-{n}",
            SSD,
            "full",
            ssd_inputs(1, 70, 2, p, n, initial_states=Draw((1, 2, p, n))),
        )
    yield "ssd", "layer-wide-skip", SKIP, "full", ssd_inputs(2, 70, 4, 129, 3, g=2, D=Draw((4, 129)))
    yield "mamba3_siso", "layer-64-128", SISO, "quick", siso_inputs(1, 70, 1, 64, 128, a=32)
    yield "mamba3_siso", "layer-heads", SISO, "quick", siso_inputs(1, 20, 32, 16, 16, a=4)
    yield "mamba3_siso", "layer-long", SISO, "full", siso_inputs(1, 261, 1, 64, 64, a=16)
    yield "mamba3_siso", "layer-turned", PAIRS, "full", siso_inputs(1, 20, 2, 8, 128, a=64)
    yield "mamba3_siso", "layer-groups", TURNED, "full", siso_inputs(2, 20, 16, 3, 6, a=2, g=8)
    yield "mamba3_siso", "layer-segments", SISO, "full", siso_inputs(1, 2053, 2, 2, 4, adt=_SLOW)
    packed: dict[str, Any] = {"initial": True, "seq_idx": _LATE, "g": 2}
    yield "mamba3_siso", "layer-packed", SISO, "full", siso_inputs(2, 70, 2, 64, 32, a=16, **packed)
    yield "mamba3_siso", "layer-plain", SISO, "full", siso_inputs(2, 70, 2, 64, 32, a=8, bare=True)
    # As wide as it has states: a state that is read the other way round has the same shape.
    initial = siso_inputs(1, 70, 1, 64, 64, a=16, initial=True)
    yield "mamba3_siso", "layer-initial", SISO, "full", initial


def _filters() -> Iterator[Row]:
    """More channels than a block of 64; whole vectors of eight steps and not; more steps than 1024."""
    conv = "causal_conv1d"
    yield conv, "layer", OUTPUT, "quick", conv_inputs(2, 1544, 43, 4)
    yield conv, "layer-long", OUTPUT, "quick", conv_inputs(2, 72, 1040, 4, initial=True)
    yield conv, "layer-taps-2", OUTPUT, "quick", conv_inputs(2, 72, 272, 2)
    yield conv, "layer-taps-3", OUTPUT, "quick", conv_inputs(2, 72, 272, 3)
    yield conv, "layer-packed", RESET, "quick", conv_inputs(2, 72, 272, 4, seq_idx=halves(2, 272))


def _systems() -> Iterator[Row]:
    """More systems than a block, more steps than 1024, more states than a tile."""
    sizes: tuple[tuple[str, int, Level], ...] = (("layer", 270, "quick"), ("layer-long", 1030, "full"))
    diagonal, dense = diagonal_system(66, n=16, complex_=True), system_inputs(n=64, m=2, p=3)
    for name, l, level in sizes:
        run = diagonal | {"u": Draw((1, 66, 1, l))} | _LAST
        yield "ssm_recurrence", name, RECURRENCE, level, run
    yield "ssm_recurrence", "layer-dense", RECURRENCE, "quick", dense | {"u": Draw((2, 2, 130)), **_LAST}
    yield "ssm_kernel", "layer", KERNEL, "quick", diagonal | {"length": 1030}
    lasting = diagonal_system(66, n=4) | {"A_bar": Draw((66, 4), "uniform", parameters=_LASTING)}
    yield "ssm_kernel", "layer-real", KERNEL, "full", lasting | {"length": 1030}
    yield "ssm_kernel", "layer-dense-long", KERNEL, "full", system_inputs(n=3) | {"length": 1030}
    late = {"u": Draw((1, 1, 2053)), **_LAST}
    yield "ssm_recurrence", "layer-dense-late", RECURRENCE, "full", system_inputs(n=3) | late
    yield "ssm_kernel", "layer-dense", KERNEL, "quick", system_inputs(n=64) | {"length": 130}
    long = {"u": Draw((1, 130, 1030)), "K": Draw((130, 1030))}
    yield "causal_convolution", "layer", CONVOLUTION, "quick", long
    legs = {"A": Draw((64, 64), "legs"), "B": Draw((64, 1))}
    few, many = _small_steps(3), _small_steps(130)
    modes = {"A": Draw((130, 64), "s4d_real"), "B": Draw((130, 64, 1)), "delta": many, "diagonal": True}
    for op, clause in (("discretize_zoh", ZOH), ("discretize_bilinear", BILINEAR)):
        yield op, "layer", clause, "quick", modes
        yield op, "layer-legs", clause, "full", legs | {"delta": few}


def _small_steps(*shape: int) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": 1e-3, "high": 1e-1})


def _lasting(*shape: int) -> Draw:
    """Complex modes of which something is left after two thousand steps."""
    return Draw(shape, "uniform", complex=True, parameters={"low": -0.02, "high": -0.001})


def _layers() -> Iterator[Row]:
    """Linear layers: more channels than a block, 32 modes or 64 states, more steps than 1024."""
    weak = {name: Draw((4, 8), complex=True, parameters={"scale": 0.1}) for name in ("P", "Q")}
    yield "s4d_kernel", "layer", S4D_KERNEL, "quick", modal_inputs(130, 32, True, length=1030)
    yield "s4d_kernel", "layer-real", S4D_KERNEL, "full", modal_inputs(66, 4, False, length=1030)
    yield "s4_kernel", "layer", S4_KERNEL, "quick", dplr_inputs(66, 4, True, 70, paired=True)
    # So weak a low-rank part leaves the modes where they are: none grows over 1024 lags.
    yield "s4_kernel", "layer-long", S4_KERNEL, "quick", dplr_inputs(4, 8, True, 1030, paired=True, **weak)
    yield "s4_kernel", "layer-long-whole", S4_KERNEL, "full", dplr_inputs(4, 8, True, 1030, **weak)
    yield "s4_kernel", "layer-states", S4_KERNEL, "quick", dplr_inputs(2, 32, True, 70)
    # P = Q, as S4 has it, makes no vector longer; of 72 systems of this size drawn apart 63 grow, to 1e21.
    turning = [0.5 * cmath.exp(1j * k) for k in range(32)]
    same = {name: Draw((2, 32), "fixed", complex=True, parameters={"values": turning}) for name in ("P", "Q")}
    yield "s4_kernel", "layer-pairs", S4_KERNEL, "full", dplr_inputs(2, 32, True, 40, paired=True, **same)
    yield "s4d", "layer", S4D, "quick", s4d_inputs(1, 130, 70, 32, True) | _LAST
    yield "s4d", "layer-long", S4D, "full", s4d_inputs(1, 66, 1030, 4, True) | _LAST
    yield "lssl", "layer", LSSL, "quick", lssl_inputs(1, 66, 40, 32, 1) | _LAST
    yield "lssl", "layer-outputs", LSSL, "full", lssl_inputs(2, 2, 20, 4, 70) | _LAST
    yield "s5", "layer-modes", S5, "full", s5_inputs(2, 3, 20, 70, True) | _LAST
    # The oracle takes a matrix exponential of all inputs for each mode: seconds.
    yield "s5", "layer", S5, "full", s5_inputs(1, 66, 70, 8, True) | _LAST
    yield "h3", "layer", H3, "quick", h3_inputs(1, 72, 70, 72, 32, True)
    yield "h3", "layer-heads", H3, "quick", h3_inputs(1, 72, 40, 9, 8, True)
    yield "h3", "layer-long", H3, "full", h3_inputs(1, 66, 1030, 66, 2, True)
    yield "h3", "layer-wide-heads", H3, "full", h3_inputs(1, 66, 20, 2, 4, True)
    yield "h3", "layer-projected", H3, "full", h3_inputs(2, 6, 20, 2, 4, True, out_proj=Draw((130, 6)))
    yield "h3", "layer-shift", H3, "full", h3_inputs(1, 66, 140, 66, 2, True, s=131)
    # Past a program's 1024 steps, and past 2048.
    yield "s4d", "layer-late", S4D, "full", s4d_inputs(1, 66, 2053, 2, True, A=_lasting(66, 2)) | _LAST
    yield "s5", "layer-late", S5, "full", s5_inputs(1, 34, 2053, 4, True) | {"A": _lasting(4)} | _LAST
    yield "s5", "layer-late-real", S5, "full", s5_inputs(1, 4, 2053, 4, False) | _LAST
    yield "h3", "layer-late", H3, "full", h3_inputs(1, 66, 2053, 66, 2, True, A=_lasting(66, 2))
    late = lssl_inputs(1, 66, 2053, 4, 1) | {"A": Draw((66, 4, 4), "legs")}
    yield "lssl", "layer-late", LSSL, "full", late | _LAST
    # Of 64 coefficients a tenth is granted, and what the first of 70 samples leaves is not more.
    yield "hippo_legs_compress", "layer", COMPRESS, "quick", {"f": Draw((66, 70)), "n": 32}
    yield "hippo_legs_compress", "layer-states", COMPRESS, "quick", {"f": Draw((6, 30)), "n": 64}


def _dtypes(op: str, name: str) -> tuple[str, ...]:
    if op in _LAYERS or (op, name) in _HEADS:
        return (*_SINGLE, *HALF)
    return _COMMON if op in (*_FAST, *_RUN) else _SINGLE


LAYER_SIZES: Final = tuple(
    Recipe(
        op,
        name,
        inputs,
        clause,
        level,
        dtypes=_dtypes(op, name),
        first=_COMMON if op in _CHEAP else _SINGLE,
    )
    for rows in (_steps(), _heads(), _filters(), _systems(), _layers())
    for op, name, clause, level, inputs in rows
)
