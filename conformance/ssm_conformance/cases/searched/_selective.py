"""Calls of the selective scan and of its step that a search draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ssm_conformance.cases._selective import fixed, scan_inputs
from ssm_conformance.cases._step import step_inputs
from ssm_conformance.cases.searched._space import (
    COUNTS,
    LENGTHS,
    NUMBERS,
    ROWS,
    STATES,
    Chosen,
    Space,
    divided,
)
from ssm_conformance.draw import Draw

CLAUSE: Final = "scan-4: y_t = (γ Re Σ_n C_t h_t + D u_t) · silu(z_t)"
DELTAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "usual": {"parameters": {"scale": 0.5}},
    "small": {"kind": "uniform", "parameters": {"low": -26.0, "high": -12.0}},
    "large": {"kind": "uniform", "parameters": {"low": 15.0, "high": 40.0}},
    "far": {"kind": "choice", "parameters": {"values": (-1e4, -88.0, -20.0, 0.0, 20.0, 88.0)}},
}
"""Name → how delta is drawn before softplus; without softplus it is a positive step."""
MODES: Final[Mapping[str, tuple[float, float]]] = {
    "usual": (0.5, 16.0),
    "weak": (1e-4, 1e-2),
    "strong": (10.0, 1e3),
    "mixed": (1e-4, 1e3),
}
"""Name → the least and the largest −A."""
_NAMES: Final = {"u": tuple(NUMBERS), "delta": tuple(DELTAS), "A": tuple(MODES)}
_GROUPS: Final = (0, *COUNTS)


def resets(chosen: Chosen) -> Draw:
    """An index of packed sequences, (b, l): other resets in each row."""
    index = [[t // (chosen.l // (2 + row) + 1) for t in range(chosen.l)] for row in range(chosen.b)]
    return fixed(index, (chosen.b, chosen.l), dtype="int32")


def _common(chosen: Chosen, inputs: dict[str, Any], time: tuple[int, ...]) -> dict[str, Any]:
    words, (low, high) = chosen.words, MODES[chosen.names["A"]]
    softplus = "softplus" in words
    inputs["u"] = chosen.draw(*time)
    inputs["delta"] = (
        Draw(time, **DELTAS[chosen.names["delta"]])
        if softplus
        else Draw(time, "log_uniform", parameters={"low": 1e-3, "high": 0.3})
    )
    modes = {"low": low, "high": high, "sign": -1.0}
    inputs["A"] = Draw((chosen.d, chosen.n), "log_uniform", "complex" in words, parameters=modes)
    for name in ("D", "z"):
        inputs.pop(name, None)
        if name in words:
            inputs[name] = Draw(time if name == "z" else (chosen.d,))
    if "bias" in words:
        inputs["delta_bias"] = Draw((chosen.d,), "uniform", parameters={"low": -0.2, "high": 0.2})
    if softplus:
        inputs["delta_softplus"] = True
    if "zoh" in words:
        inputs["b_discretization"] = "zoh"
    return inputs


def _settled(chosen: Chosen) -> Chosen:
    words = chosen.words
    if {"seq_idx", "cu_seqlens"} <= words:
        words -= {"seq_idx"}
    constant = {f"g{name}": 0 for name in "BC" if f"{name}-constant" in words}
    rows = {"b": 1} if "cu_seqlens" in words else {}
    return divided(chosen.instead(words, **rows, **constant), "d", "gB", "gC")


def _scan(chosen: Chosen) -> dict[str, Any]:
    words, time = chosen.words, (chosen.b, chosen.d, chosen.l)
    inputs = scan_inputs(
        *(*time, chosen.n),
        g_B=chosen.gB or None,
        g_C=chosen.gC or None,
        constant="".join(name for name in "BC" if f"{name}-constant" in words),
        complex_="complex" in words,
        softplus=False,
    )
    inputs = _common(chosen, inputs, time)
    inputs["return_last_state"] = "last" in words
    rows = chosen.b
    if "cu_seqlens" in words:
        cuts = sorted({0, chosen.l // 3, chosen.l // 2, chosen.l})
        inputs["cu_seqlens"] = fixed([*cuts[:1], *cuts], dtype="int32")
        rows = len(cuts)
    if "seq_idx" in words:
        inputs["seq_idx"] = resets(chosen)
    if "initial" in words:
        inputs["initial_state"] = Draw((rows, chosen.d, chosen.n), complex="complex" in words)
    return inputs


def _step(chosen: Chosen) -> dict[str, Any]:
    complex_ = "complex" in chosen.words
    inputs = step_inputs(chosen.b, chosen.d, chosen.n, complex_=complex_, softplus=False)
    for name, groups in (("B", chosen.gB), ("C", chosen.gC)):
        shape = (chosen.b, groups, chosen.n) if groups else (chosen.b, chosen.n)
        inputs[name] = Draw(shape, complex=complex_)
    return _common(chosen, inputs, (chosen.b, chosen.d))


SELECTIVE: Final = (
    Space(
        "selective_scan",
        CLAUSE,
        {"b": ROWS, "d": COUNTS, "l": LENGTHS, "n": STATES, "gB": _GROUPS, "gC": _GROUPS},
        _scan,
        _NAMES,
        (
            *("D", "z", "bias", "softplus", "last", "initial", "seq_idx", "cu_seqlens", "zoh", "complex"),
            *("B-constant", "C-constant"),
        ),
        _settled,
    ),
    Space(
        "selective_state_update",
        CLAUSE,
        {"b": ROWS, "d": COUNTS, "l": (1,), "n": STATES, "gB": _GROUPS, "gC": _GROUPS},
        _step,
        _NAMES,
        ("D", "z", "bias", "softplus", "zoh", "complex"),
        _settled,
    ),
)
