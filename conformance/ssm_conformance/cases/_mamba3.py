"""Inputs of Mamba-3's recurrence and of its step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Check, Level, Recipe
from ssm_conformance.cases._selective import EDGE, MIXED, fixed
from ssm_conformance.draw import Draw

VALUE: Final = "mamba3-4: S_t = α S_{t−1} + (1 − λ)Δα v_{t−1} k̃_{t−1}ᵀ + λΔ v_t k̃_tᵀ"
TURNS: Final = "mamba3-1: θ_t = θ_{t−1} + Δ_t π tanh(angle_t) includes the angle of step t"
PAIRS: Final = "mamba3-2: R turns pairs; a pair without an angle stays; the bias is added before"
GROUPS: Final = "mamba3-3: head i belongs to group i // (h/g) of q and k"
STEP: Final = "mamba3-step-1: l steps equal one mamba3_siso of length l, its states included"
WIDER: Final = ("q", "k", "adt", "dt", "trap", "angles", "z")
"""The streams that may be in float32 where v is in 16 bits."""
_COMMON: Final = ("float32", "bfloat16")


def _states(b: int, h: int, p: int, n: int, a: int) -> dict[str, Draw]:
    return {
        "angle_state": Draw((b, h, a)),
        "ssm_state": Draw((b, h, p, n)),
        "k_state": Draw((b, h, n)),
        "v_state": Draw((b, h, p)),
    }


def _inputs(
    b: int, times: tuple[int, ...], h: int, p: int, n: int, a: int, g: int, bare: bool
) -> dict[str, Any]:
    """A call like a Mamba-3 layer's; `times` is (l,), or () for a step."""
    inputs: dict[str, Any] = {
        "q": Draw((b, *times, g, n)),
        "k": Draw((b, *times, g, n)),
        "v": Draw((b, *times, h, p)),
        "adt": Draw((b, h, *times), "log_uniform", parameters={"low": 1e-3, "high": 1.0, "sign": -1.0}),
        "dt": Draw((b, h, *times), "log_uniform", parameters={"low": 1e-2, "high": 0.5}),
        "trap": Draw((b, h, *times)),
        "q_bias": Draw((h, n)),
        "k_bias": Draw((h, n)),
        "angles": Draw((b, *times, h, a)),
    }
    return inputs if bare else inputs | {"D": Draw((h,)), "z": Draw((b, *times, h, p))}


def siso_inputs(
    b: int, l: int, h: int, p: int, n: int, *, a: int = 1, g: int = 1, initial: bool = False,
    bare: bool = False, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """A call of the recurrence; keywords add or replace."""
    states = _states(b, h, p, n, a) if initial else {}
    return _inputs(b, (l,), h, p, n, a, g, bare) | {"return_final_states": True} | states | more


def step_inputs(
    b: int, h: int, p: int, n: int, *, a: int = 1, g: int = 1, bare: bool = False, **more: Any
) -> dict[str, Any]:
    """One decode step."""
    return _states(b, h, p, n, a) | _inputs(b, (), h, p, n, a, g, bare) | more


def _wider(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    return inputs | {name: replace(inputs[name], dtype="float32") for name in names}


_PACKED: Final = fixed([[0] * 9 + [1] * 1 + [0] * 6 + [7] * 7, [3] * 22 + [2] * 1], dtype="int32")
"""A sequence of length one; an id that comes back; a reset at the last step."""
_WEAK: Final = {"low": 1e-4, "high": 1e-2, "sign": -1.0}

Row = tuple[str, Level, Check, str, dict[str, Any]]
_ROWS: Final[tuple[Row, ...]] = (
    ("typical", "smoke", "value", VALUE, siso_inputs(2, 23, 4, 3, 6, a=2)),
    ("plain", "quick", "value", VALUE, siso_inputs(2, 17, 3, 2, 4, bare=True)),
    ("groups", "smoke", "value", GROUPS, siso_inputs(2, 13, 6, 2, 4, g=3)),
    ("every-pair-turns", "quick", "value", PAIRS, siso_inputs(1, 15, 2, 3, 6, a=3)),
    ("no-angles", "quick", "value", PAIRS, siso_inputs(1, 15, 2, 3, 5, a=0)),
    ("initial", "smoke", "value", VALUE, siso_inputs(2, 16, 3, 2, 4, a=2, initial=True)),
    ("packed", "smoke", "value", VALUE, siso_inputs(2, 23, 3, 2, 4, initial=True, seq_idx=_PACKED)),
    # θ goes round many times: modulo 2π it means the same.
    (
        "many-turns",
        "quick",
        "value",
        TURNS,
        siso_inputs(1, 90, 2, 2, 4, a=2, angles=Draw((1, 90, 2, 2), parameters={"scale": 3.0})),
    ),
    # Past chunks of 64, with decays that must be carried on.
    (
        "long",
        "quick",
        "value",
        VALUE,
        siso_inputs(1, 150, 2, 2, 4, initial=True, adt=Draw((1, 2, 150), "log_uniform", parameters=_WEAK)),
    ),
    ("empty", "quick", "robustness", EDGE, siso_inputs(2, 0, 3, 2, 4, initial=True)),
    ("single", "quick", "robustness", EDGE, siso_inputs(2, 1, 3, 2, 4)),
    ("no-batch", "quick", "robustness", EDGE, siso_inputs(0, 5, 3, 2, 4)),
    ("ones", "quick", "robustness", EDGE, siso_inputs(1, 1, 1, 1, 1, a=0)),
    ("longer", "full", "value", VALUE, siso_inputs(1, 515, 2, 2, 4, a=2)),
)
_STEP_ROWS: Final[tuple[Row, ...]] = (
    ("typical", "smoke", "value", STEP, step_inputs(3, 4, 3, 6, a=2)),
    ("plain", "quick", "value", STEP, step_inputs(2, 3, 2, 4, bare=True)),
    ("groups", "quick", "value", GROUPS, step_inputs(2, 6, 2, 4, g=3)),
    ("every-pair-turns", "quick", "value", PAIRS, step_inputs(2, 3, 2, 4, a=2)),
    ("no-batch", "quick", "robustness", EDGE, step_inputs(0, 3, 2, 4)),
    ("ones", "quick", "robustness", EDGE, step_inputs(1, 1, 1, 1, a=0)),
)

SISO: Final = (
    *(
        Recipe("mamba3_siso", name, inputs, clause, level, check)
        for name, level, check, clause, inputs in _ROWS
    ),
    Recipe("mamba3_siso", "mixed", _wider(siso_inputs(2, 15, 4, 3, 4, g=2), *WIDER), MIXED, dtypes=HALF),
)
SISO_STEP: Final = (
    *(
        Recipe("mamba3_siso_step", name, inputs, clause, level, check)
        for name, level, check, clause, inputs in _STEP_ROWS
    ),
    Recipe("mamba3_siso_step", "mixed", _wider(step_inputs(2, 4, 3, 4, g=2), *WIDER), MIXED, dtypes=HALF),
)
